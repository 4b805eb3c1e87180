"""Validation of arrays, one block of rows at a time; errors name the row and the value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.checks import class_positions
from crosshead.data.predictions.probabilities import first_fault
from crosshead.losses._targets import probability_tolerance
from crosshead.losses.protocol import Array, Float

BLOCK_ELEMENTS = 1 << 20
"""Numbers in one block of rows, so that memory does not grow with rows × classes."""


def block_rows(n_classes: int) -> int:
    """The number of rows of a block."""
    return max(1, BLOCK_ELEMENTS // max(1, n_classes))


def as_probability_block(block: Any, first: int, tolerance: float | None = None) -> Float:
    """Validate probabilities as float64 (n, C); ValueError names the row (from 0) and the column or the sum.

    ``tolerance`` is that of the sums: by default 1e-6, and 1e-4 for float32 or float16.
    """
    values = np.asarray(block)
    allowed = probability_tolerance(values.dtype) if tolerance is None else tolerance
    p = values.astype(np.float64, copy=False)
    fault = first_fault(p, allowed)
    if fault is None:
        return np.asarray(p)
    row = first + fault.row
    if fault.column is None:
        raise ValueError(f"row {row} of the probabilities {fault.what}")
    raise ValueError(f"the probability in row {row}, column {fault.column} {fault.what}")


def as_score_block(block: Any, first: int) -> Float:
    """Validate scores as float64 (n, C) without NaN or infinities."""
    z = np.asarray(block).astype(np.float64, copy=False)
    finite = np.isfinite(z)
    if not finite.all():
        row, column = (int(k) for k in np.argwhere(~finite)[0])
        raise ValueError(f"the score in row {first + row}, column {column} is {z[row, column]}, not a finite number")
    return np.asarray(z)


def as_matrix(name: str, values: Any) -> Array:
    """Validate outputs of all rows, (N, C) with at least one row and one class; memory-mapped arrays are not copied."""
    matrix = values if isinstance(values, np.ndarray) else np.asarray(values)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be numbers of shape (rows, classes) with at least one of each, "
            f"not {matrix.dtype} of shape {matrix.shape}"
        )
    return matrix


def as_target(target: Any, n_rows: int, n_classes: int, classes: Array | None) -> NDArray[np.intp]:
    """Convert the target to class indices (N,), from indices or from labels among ``classes`` (C,)."""
    found = np.asarray(target)
    if found.shape != (n_rows,):
        raise ValueError(f"{n_rows} rows need a target of shape {(n_rows,)}, not {found.shape}")
    if classes is not None:
        return _known_positions(found, classes)
    if found.dtype.kind not in "iu":
        raise ValueError(f"targets of type {found.dtype} need `classes`; without it they are class indices")
    if found.min() < 0 or found.max() >= n_classes:
        row = int(((found < 0) | (found >= n_classes)).argmax())
        raise ValueError(f"target {found[row]} in row {row} is outside 0..{n_classes - 1}")
    return found.astype(np.intp, copy=False)


def as_rows(
    outputs: Any, target: Any, classes: Any, sample_weight: Any
) -> tuple[Array, NDArray[np.intp], Array | None]:
    """Validate outputs (N, C), class indices (N,) and weights (N,) or None."""
    matrix = as_matrix("outputs", outputs)
    n_rows, n_classes = matrix.shape
    indices = as_target(target, n_rows, n_classes, None if classes is None else as_classes(classes, n_classes))
    weights = None if sample_weight is None else np.asarray(sample_weight)
    if weights is not None and weights.shape != (n_rows,):
        raise ValueError(f"{n_rows} rows need weights of shape {(n_rows,)}, not {weights.shape}")
    return matrix, indices, weights


def as_classes(classes: Any, n_classes: int) -> Array:
    """Validate distinct names of C classes; by default 0 to C − 1."""
    if classes is None:
        return np.arange(n_classes)
    names = np.asarray(classes)
    if names.shape != (n_classes,) or len(set(names.tolist())) != n_classes:
        raise ValueError(f"{n_classes} columns need as many distinct classes, not {names.tolist()}")
    return names


def _known_positions(labels: Array, classes: Array) -> NDArray[np.intp]:
    positions = class_positions(labels, classes)
    if (positions < 0).any():
        row = int((positions < 0).argmax())
        shown = ", ".join(str(name) for name in classes.tolist()[:10])
        raise ValueError(f"label {labels[row]!s} in row {row} is not one of the classes {shown}")
    return positions
