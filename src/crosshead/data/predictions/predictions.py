"""Predictions of any tool: one row of probabilities or scores per sample, with its label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosshead.data.checks import Place, class_positions
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.memmap import check_mapped, release
from crosshead.data.predictions.probabilities import first_fault

Kind = Literal["probabilities", "scores"]

TEXT_TOLERANCE = 1e-3
"""Tolerance of sums of probabilities that were written with few digits."""

BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Predictions:
    """The outputs of a classifier for N rows, with their labels if known.

    * ``outputs`` (N, C): probabilities or scores, as given by ``kind``; possibly memory-mapped
    * ``classes`` (C,): names of the columns
    * ``target`` (N,): the class index of each row, or None
    * ``row_names`` (N,): names of the rows; by default they are numbered from 1
    * ``tolerance``: tolerance of the sums of probabilities; by default 1e-6, and 1e-4 in float32
    * ``source``: where they were read from

    Raises DataError for invalid shapes or targets; probabilities are validated when they are read, see `blocks`.

    Examples
    --------
    >>> found = Predictions(np.array([[0.25, 0.75]]), np.array(["no", "yes"]), np.array([1]))
    >>> found.labels.tolist(), found.n_rows
    (['yes'], 1)
    """

    outputs: Array
    classes: Array
    target: NDArray[Any] | None = None
    kind: Kind = "probabilities"
    row_names: Array | None = None
    tolerance: float | None = None
    source: str = "predictions"
    below_header: bool = False

    def __post_init__(self) -> None:
        shape = np.shape(self.outputs)
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"{self.source}: outputs have shape {shape}; give (rows, classes), at least one of each")
        if self.outputs.dtype.kind not in "biuf":
            raise DataError(f"{self.source}: outputs are {self.outputs.dtype}, not numbers")
        if self.classes.shape != (shape[1],) or len(set(self.classes.tolist())) != shape[1]:
            raise DataError(f"{self.source}: {shape[1]} columns need as many distinct classes, not {self.classes.size}")
        for what, values in (("labels", self.target), ("row names", self.row_names)):
            if values is not None and values.shape != (shape[0],):
                raise DataError(f"{self.source}: {shape[0]} rows, but {what} of shape {values.shape}")
        if self.target is not None and not ((self.target >= 0) & (self.target < shape[1])).all():
            row = int(((self.target < 0) | (self.target >= shape[1])).argmax())
            raise DataError(
                f"{self.source}: class index {self.target[row]} at {self._place.row(row)} is not one of the classes"
            )

    @property
    def n_rows(self) -> int:
        """N, the number of rows."""
        return int(self.outputs.shape[0])

    @property
    def labels(self) -> Array:
        """The label of each row, (N,); DataError without labels."""
        return np.asarray(self.classes[self.known_target()])

    @property
    def _place(self) -> Place:
        return Place(self.source, self.below_header, [str(name) for name in self.classes.tolist()])

    def known_target(self) -> NDArray[Any]:
        """The class index of each row; DataError without labels."""
        if self.target is None:
            raise DataError(f"{self.source}: no labels to compare with; name their column with --target")
        return self.target

    def row_name(self, row: int) -> str:
        """The name of a row, or its number from 1."""
        return str(row + 1) if self.row_names is None else str(self.row_names[row])

    def blocks(self, block_rows: int | None = None) -> Iterator[tuple[int, Array]]:
        """Yield first row and outputs (n, C) of consecutive blocks, in float64.

        Raises DataError for the first row with NaN, a negative probability, probabilities that do not sum to 1 within
        the tolerance, or an infinite score; it names the row, and the column or the sum.
        """
        step = block_rows or max(1, BLOCK_ELEMENTS // self.outputs.shape[1])
        for first in range(0, self.n_rows, step):
            block = np.asarray(self.outputs[first : first + step])
            try:
                checked = self._checked(block.astype(np.float64, copy=False), first)
            finally:  # first, as missing pages read as zeros
                check_mapped(block)
            yield first, checked
            release(block)

    def fingerprint(self) -> str:
        """SHA-256 of the rows' names (or numbers) and labels, not of the outputs.

        Predictions of two models on the same rows have the same fingerprint. Labels are compared as text.

        Examples
        --------
        >>> one = Predictions(np.array([[0.25, 0.75]]), np.array([0, 1]), np.array([1]))
        >>> two = Predictions(np.array([[0.5, 0.5]]), np.array(["1", "0"]), np.array([0]))
        >>> one.fingerprint() == two.fingerprint()
        True
        """
        digest = hashlib.sha256(f"predictions of {self.n_rows} rows\n".encode())
        columns = [self.labels if self.target is not None else None, self.row_names]
        for column in columns:
            digest.update(b"none\n" if column is None else b"text\n")
            for text in [] if column is None else column.tolist():
                encoded = str(text).encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()

    def _checked(self, block: Array, first: int) -> Array:
        if self.kind == "scores":
            wrong = ~np.isfinite(block)
            if wrong.any():
                row, column = (int(k) for k in np.argwhere(wrong)[0])
                raise DataError(f"{self._cell(first + row, column)} is {block[row, column]}, not a finite score")
            return block
        fault = first_fault(block, self._allowed())
        if fault is None:
            return block
        if fault.column is not None:
            raise DataError(f"{self._cell(first + fault.row, fault.column)} {fault.what}; a probability is in [0, 1]")
        raise DataError(
            f"{self.source}: {self._row(first + fault.row)} {fault.what}; "
            "probabilities of a row must, unless they are scores (--scores)"
        )

    def _allowed(self) -> float:
        if self.tolerance is not None:
            return self.tolerance
        return 1e-4 if self.outputs.dtype in (np.float32, np.float16) else 1e-6

    def _row(self, row: int) -> str:
        name = "" if self.row_names is None or str(self.row_names[row]) == str(row + 1) else f" ({self.row_names[row]})"
        return self._place.row(row) + name

    def _cell(self, row: int, column: int) -> str:
        return f"{self.source}: {self._row(row)}, {self._place.column(column)}"


def target_of(labels: Array, classes: Array, place: Place) -> NDArray[np.int64]:
    """The position of each label (N,) among the classes (C,); DataError names the first that is not a class.

    Examples
    --------
    >>> target_of(np.array([12, 3]), np.array(["3", "12"]), Place("a.csv"))
    array([1, 0])
    """
    positions = class_positions(labels, classes)
    unknown = positions < 0
    if unknown.any():
        row = int(unknown.argmax())
        shown = ", ".join(str(name) for name in classes.tolist()[:10]) + (", …" if classes.size > 10 else "")
        raise DataError(
            f"{place.source}: label {str(labels[row])!r} at {place.row(row)} is not one of the classes {shown}"
        )
    return positions
