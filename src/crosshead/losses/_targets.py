"""Validate scores and targets for the losses; errors name the row and the value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses.protocol import Array


def as_scores(scores: Any) -> Array:
    """Convert scores to an (n, C) float32 or float64 array; other dtypes become float64."""
    scores = np.asarray(scores)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores must have shape (samples, classes), not {scores.shape}")
    return np.asarray(scores)


def as_indices(target: Any, shape: tuple[int, ...], *, lowest: int = 0) -> Array:
    """Validate the target as class indices (n,) within lowest..C−1, for scores of the given shape (n, C)."""
    indices = np.asarray(target)
    samples, classes = shape
    if indices.shape != (samples,):
        raise ValueError(f"scores {shape} need class indices of shape {(samples,)}, not {indices.shape}")
    if samples == 0:
        return np.zeros(0, dtype=np.intp)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"class indices must be integers, not {indices.dtype}")
    wrong = (indices < lowest) | (indices >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"target {indices[row]} in row {row} is outside {lowest}..{classes - 1}")
    return indices.astype(np.intp, copy=False)


def as_rows(target: Any, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Validate the target as an (n, C) array of the given shape, without NaN or infinities."""
    rows = np.asarray(target).astype(dtype, copy=False)
    if rows.shape != shape:
        raise ValueError(f"scores of shape {shape} need targets of the same shape, not {rows.shape}")
    if not np.isfinite(rows).all():
        row = int((~np.isfinite(rows)).any(axis=1).argmax())
        raise ValueError(f"the target of row {row} is not finite")
    return np.asarray(rows)


def as_fractions(target: Any, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Validate the target as an (n, C) array of numbers in [0, 1]."""
    rows = as_rows(target, shape, dtype)
    outside = ((rows < 0) | (rows > 1)).any(axis=1)
    if outside.any():
        raise ValueError(f"the target of row {int(outside.argmax())} has an entry outside [0, 1]")
    return rows


def as_distributions(target: Any, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Validate the target as an (n, C) array of probabilities that sum to one in each row."""
    rows = as_fractions(target, shape, dtype)
    totals = rows.sum(axis=1, dtype=np.float64)
    wrong = np.abs(totals - 1) > probability_tolerance(np.asarray(target).dtype)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the target of row {row} sums to {round(float(totals[row]), 6)}, not to 1")
    return rows


def has_rows(target: Any) -> bool:
    """Whether the target is given as an (n, C) array rather than as class indices (n,)."""
    return np.ndim(target) == 2


def one_hot(indices: Array, classes: int, dtype: DTypeLike = np.float64) -> Array:
    """Convert class indices to one-hot rows of length C; index −1 becomes a row of zeros."""
    rows = np.zeros((len(indices), classes), dtype=dtype)
    known = np.flatnonzero(indices >= 0)
    rows[known, indices[known]] = 1
    return rows


def at(values: Array, indices: Array) -> Array:
    """The entry of each row in the column of its own class, (n,)."""
    return np.asarray(values[np.arange(len(indices)), indices])


def probability_tolerance(dtype: DTypeLike) -> float:
    """The tolerance of sums of probabilities that were typed in, or computed in this precision."""
    return 1e-4 if np.dtype(dtype) in (np.float32, np.float16) else 1e-6
