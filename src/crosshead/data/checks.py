"""Validation of features and labels, shared by all readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.data.dataset import Array, row_blocks
from crosshead.data.errors import DataError


@dataclass(frozen=True)
class Place:
    """The origin of values, for errors. Rows and columns are counted from 1.

    ``first_index`` is the first column number of formats that number columns in the file.

    Examples
    --------
    >>> Place("a.csv", below_header=True).row(0)
    'row 1 below the header'
    """

    source: str
    below_header: bool = False
    column_names: Sequence[str] | None = None
    first_index: int | None = None

    def row(self, index: int) -> str:
        """The row at `index` (from 0), for messages."""
        return f"row {index + 1} below the header" if self.below_header else f"row {index + 1}"

    def column(self, index: int) -> str:
        """The column at `index` (from 0), by name if it has one, else by number."""
        if self.column_names is not None:
            return f"column {self.column_names[index]!r}"
        return f"column {index + 1}" if self.first_index is None else f"index {index + self.first_index}"


def as_features(values: Array, name: str, source: str) -> tuple[Array, list[int] | None]:
    """Convert an array of rows to features (N, D), and return the shape of one row if it had one.

    float32 and float64 are not changed (also memory-mapped); float16, bool and uint8 become float32, which represents
    them exactly; other integers become float64.

    Examples
    --------
    >>> features, shape = as_features(np.zeros((2, 28, 28), np.uint8), "X", "digits.npz")
    >>> features.shape, str(features.dtype), shape
    ((2, 784), 'float32', [28, 28])
    """
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{source}: array {name!r} holds {_kind_in_words(values.dtype)}, not numbers; "
            "store features as a numeric array"
        )
    if values.ndim < 2:
        raise DataError(
            f"{source}: array {name!r} has shape {values.shape}; features need rows and columns, "
            "reshape a single feature to (N, 1)"
        )
    if values.shape[0] == 0:
        raise DataError(f"{source}: array {name!r} has no rows (shape {values.shape})")
    if 0 in values.shape:
        raise DataError(f"{source}: array {name!r} has 0 features (shape {values.shape})")
    shape = [int(size) for size in values.shape[1:]] if values.ndim > 2 else None
    # NumPy does not infer a -1 beside a 0.
    flat = values.reshape(values.shape[0], int(np.prod(values.shape[1:])))
    dtype = feature_dtype(flat.dtype)
    return (flat if flat.dtype == dtype else flat.astype(dtype)), shape


def feature_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of features read from `dtype`: the smaller of float32 and float64 that is exact.

    Examples
    --------
    >>> [str(feature_dtype(np.dtype(name))) for name in ("uint8", "float16", ">f4", "int16", "float64")]
    ['float32', 'float32', 'float32', 'float64', 'float64']
    """
    small = dtype.kind == "b" or dtype == np.uint8 or (dtype.kind == "f" and dtype.itemsize <= 4)
    return np.dtype(np.float32 if small else np.float64)


def check_finite(features: Any, place: Place) -> None:
    """Raise DataError for a feature that is NaN or infinite, with its row and column; reads blocks of rows."""
    if sparse.issparse(features):
        _check_finite_csr(features, place)
        return
    for start, stop in row_blocks(features):
        finite = np.isfinite(features[start:stop])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            _refuse_value(features[start + row, column], start + int(row), int(column), place)


def _check_finite_csr(features: Any, place: Place) -> None:
    finite = np.isfinite(features.data)
    if not finite.all():
        position = int(np.flatnonzero(~finite)[0])
        row = int(np.searchsorted(features.indptr, position, side="right")) - 1
        _refuse_value(features.data[position], row, int(features.indices[position]), place)


def _refuse_value(value: Any, row: int, column: int, place: Place) -> None:
    what = "NaN" if np.isnan(value) else "an infinite value"
    raise DataError(
        f"{place.source}: {what} at {place.row(row)}, {place.column(column)}; "
        "fill in or remove such rows before training"
    )


def as_labels(values: Array, name: str, place: Place) -> Array:
    """Validate labels and convert them to int64, bool or str; integral floats become integers.

    Examples
    --------
    >>> as_labels(np.array([0.0, 2.0]), "y", Place("digits.npz"))
    array([0, 2])
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"{place.source}: labels {name!r} have shape {values.shape}; give one label per row, shape (N,)"
        )
    kind = values.dtype.kind
    if kind == "b":
        return np.asarray(values)
    if kind in "iu":
        return _integer_labels(values, name, place)
    if kind == "f":
        return _integral_labels(values, name, place)
    if kind in "SUT":
        return _text_labels(values, name, place)
    raise DataError(
        f"{place.source}: labels {name!r} hold {_kind_in_words(values.dtype)}; store them as integers or strings"
    )


def class_positions(labels: Array, classes: Array) -> NDArray[np.int64]:
    """The position of each label (N,) among distinct classes (C,), in any order; −1 for others.

    Labels and classes are compared as text: 7 in one file equals "7" as the name of a folder.

    Examples
    --------
    >>> class_positions(np.array([12, 3, 5]), np.array(["3", "12"]))
    array([ 1,  0, -1])
    """
    if not classes.size:
        return np.full(labels.size, -1, dtype=np.int64)
    if labels.dtype.kind != classes.dtype.kind:
        labels, classes = labels.astype(np.str_), classes.astype(np.str_)
    order = np.argsort(classes, kind="stable")
    place = np.minimum(np.searchsorted(classes, labels, sorter=order), classes.size - 1)
    found = order[place]
    return np.where(classes[found] == labels, found, -1).astype(np.int64)


def _integer_labels(values: Array, name: str, place: Place) -> Array:
    if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{place.source}: labels {name!r} exceed the largest 64-bit integer; use strings")
    return np.asarray(values, dtype=np.int64)


def _integral_labels(values: Array, name: str, place: Place) -> Array:
    row = _first(np.isnan(values))
    if row is not None:
        raise DataError(f"{place.source}: label {name!r} is NaN at {place.row(row)}; {_REMOVE_ROW}")
    exact = np.float64(1 << 53)  # explicitly float64: in float16, which values may be, it is infinite
    row = _first(~np.isfinite(values) | (values != np.floor(values)) | (np.abs(values) > exact))
    if row is not None:
        raise DataError(
            f"{place.source}: label {name!r} is {values[row]} at {place.row(row)}: labels are floats, "
            "is this a regression? crosshead classifies; give integer or string labels"
        )
    return values.astype(np.int64)


def _text_labels(values: Array, name: str, place: Place) -> Array:
    try:
        text = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else np.asarray(values, dtype=np.str_)
    except UnicodeDecodeError as error:
        raise DataError(f"{place.source}: labels {name!r} are not UTF-8 text; store them as UTF-8") from error
    row = _first(text == "")
    if row is not None:
        raise DataError(f"{place.source}: label {name!r} is empty at {place.row(row)}; {_REMOVE_ROW}")
    return np.asarray(text)


def as_names(values: Array, name: str, place: Place) -> Array:
    """Validate names of rows, (N,), numbers or text; DataError for anything else."""
    if values.ndim != 1 or values.dtype.kind not in "biufSU":
        raise DataError(f"{place.source}: {name!r} holds {values.dtype} of shape {values.shape}; give one name per row")
    if values.dtype.kind != "S":
        return values
    try:
        return np.asarray(np.char.decode(values, "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place.source}: {name!r} is not UTF-8 text; store it as UTF-8") from error


_REMOVE_ROW = "fill it in or remove the row"


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, sorted.

    Examples
    --------
    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)


def check_names(names: Sequence[str], source: str) -> None:
    """Raise DataError for duplicate column names."""
    twice = repeated(names)
    if twice:
        raise DataError(f"{source}: column {twice[0]!r} occurs more than once; rename one of them")


def check_lengths(n_rows: int, n_labels: int, names: tuple[str, str], source: str) -> None:
    """Raise DataError if features and labels differ in number.

    Examples
    --------
    >>> check_lengths(3, 2, ("X", "y"), "digits.npz")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: digits.npz: X has 3 rows but y has 2 labels; each row needs one label
    """
    if n_rows != n_labels:
        raise DataError(
            f"{source}: {names[0]} has {n_rows} rows but {names[1]} has {n_labels} labels; each row needs one label"
        )


def _first(mask: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(mask)
    return int(found[0]) if found.size else None


def _kind_in_words(dtype: np.dtype[Any]) -> str:
    words = {"O": "Python objects", "U": "text", "S": "bytes", "T": "text", "c": "complex numbers"}
    words |= {"M": "dates", "m": "durations", "V": "records"}
    return words.get(dtype.kind, str(dtype))
