"""Read the svmlight / libsvm text format, ``label index:value index:value …``, as CSR float64."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.data.checks import Place, as_labels, check_finite
from crosshead.data.dataset import Dataset
from crosshead.data.errors import DataError, load_package
from crosshead.data.files import UNPACKING_ERRORS, open_unpacked
from crosshead.data.limits import check_width

MAX_SHOWN = 80
"""Characters of a field shown in an error."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)"
_PAIR = re.compile(rf"(\d{{1,18}}):(?:{_NUMBER})", re.IGNORECASE)  # indices have at most 18 digits
_LABEL = re.compile(_NUMBER, re.IGNORECASE)


def read_svmlight(path: Path, *, encoding: Mapping[str, Any] | None = None) -> Dataset:
    """Read a file, gzipped or not, with feature indices from 1 (the convention) or from 0 (if one occurs).

    With an earlier `encoding`, the number of features and the first index are those of training.
    """
    source = str(path)
    learned = encoding if encoding is not None and encoding.get("kind") == "svmlight" else None
    features, values = _parse(path)
    if features.shape[0] == 0:
        raise DataError(f"{source}: the file has no rows")
    check_finite(features, Place(source, first_index=0))
    has_index_zero = bool(features.nnz) and int(features.indices.min()) == 0
    first_index = int(learned["first_index"]) if learned else 0 if has_index_zero else 1
    if first_index == 1 and has_index_zero:
        row = int(np.searchsorted(features.indptr, np.flatnonzero(features.indices == 0)[0], side="right"))
        raise DataError(f"{source}: row {row} has feature index 0; in training the indices began at 1")
    n_features = None if encoding is None else encoding.get("n_features")
    shifted = _shift(features, first_index, n_features, path)
    return Dataset(
        shifted,
        as_labels(values, "label", Place(source)),
        encoding={"kind": "svmlight", "first_index": first_index},
        source=source,
    )


def looks_like_svmlight(lines: list[str]) -> bool:
    """Whether lines of text are in this format; at least one must have an index:value pair.

    Examples
    --------
    >>> looks_like_svmlight(["+1 3:0.5 7:1 # a comment", "-1"])
    True
    >>> looks_like_svmlight(["height,weight", "1,2"])
    False
    """
    fields = [line.partition("#")[0].split() for line in lines]
    fields = [line for line in fields if line]
    return any(len(line) > 1 for line in fields) and all(_fault(line) is None for line in fields)


def _fault(fields: list[str]) -> str | None:
    """The fault in the fields of one line, if any."""
    if not _LABEL.fullmatch(fields[0]):
        return f"{fields[0][:MAX_SHOWN]!r} is not one number for a label"
    previous = -1
    for field in fields[1:]:
        if field.startswith("qid:"):
            continue
        if not _PAIR.fullmatch(field):
            return f"{field[:MAX_SHOWN]!r} is not index:value"
        index = int(field.partition(":")[0])
        if index <= previous:
            return f"index {index} follows {previous}: indices must increase"
        previous = index
    return None


def _parse(path: Path) -> tuple[Any, Any]:
    datasets = load_package("sklearn.datasets", "scikit-learn", "reading svmlight files")
    try:
        with open_unpacked(path) as stream:
            # Reading indices as if they began at 0 does not change them; `_shift` moves them.
            matrix, values = datasets.load_svmlight_file(stream, zero_based=True, dtype=np.float64)
    except DataError:
        raise
    except UNPACKING_ERRORS as error:
        raise DataError(f"{path}: not readable ({error}); is it truncated?") from error
    except (ValueError, OverflowError) as error:
        raise DataError(_locate(path, error)) from error
    return sparse.csr_array(matrix), np.asarray(values)


def _locate(path: Path, error: Exception) -> str:
    """Find the line that the fast parser rejected without reporting it."""
    with open_unpacked(path) as stream:
        for number, raw in enumerate(stream, start=1):
            fields = raw.decode("utf-8", "replace").partition("#")[0].split()
            fault = _fault(fields) if fields else None
            if fault is not None:
                return f"{path}: line {number}: {fault}"
    return f"{path}: not a readable svmlight file ({error})"


def _shift(features: Any, first_index: int, n_features: int | None, path: Path) -> Any:
    indices = features.indices - first_index
    found = int(indices.max()) + 1 if features.nnz else 0
    if n_features is None:
        check_width(str(path), found, path.stat().st_size)
        n_features = found
    if found > n_features:
        position = int(np.flatnonzero(indices >= n_features)[0])
        row = int(np.searchsorted(features.indptr, position, side="right"))
        raise DataError(
            f"{path}: row {row} has feature index {int(features.indices[position])}, "
            f"but training had {n_features} features"
        )
    if n_features == 0:
        raise DataError(f"{path}: 0 features: no line holds an index:value pair")
    return sparse.csr_array((features.data, indices, features.indptr), shape=(features.shape[0], n_features))
