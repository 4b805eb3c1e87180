"""Arguments of the plain functions: one sample or many, valid probabilities, reductions."""

from __future__ import annotations

from math import e, log
from typing import Any, Literal

import numpy as np

from crosshead.losses._targets import as_indices, one_hot, probability_tolerance
from crosshead.losses.protocol import Array

Reduction = Literal["mean", "sum", "none"]


def as_samples(name: str, values: Any) -> Array:
    """Convert values to an (n, C) floating-point array without NaN; shape (C,) is one sample."""
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (classes,) or (samples, classes), not {array.shape}")
    array = np.atleast_2d(array)
    broken = np.isnan(array).any(axis=1)
    if broken.any():
        raise ValueError(f"{name} contain NaN in row {int(broken.argmax())}")
    return np.asarray(array)


def as_fractions(name: str, values: Any) -> Array:
    """Convert values to an (n, C) floating-point array of numbers in [0, 1]."""
    array = as_samples(name, values)
    wrong = (array < 0) | (array > 1)
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(f"{name} must lie in [0, 1], but row {row} contains {float(array[row, column])}")
    return array


def as_probabilities(name: str, values: Any) -> Array:
    """Convert values to an (n, C) floating-point array of probabilities that sum to one in each row."""
    array = as_samples(name, values)
    negative = array < 0
    if negative.any():
        row, column = (int(k) for k in np.argwhere(negative)[0])
        raise ValueError(f"{name} must not be negative, but row {row} contains {float(array[row, column])}")
    check_sums(name, array.sum(axis=1, dtype=np.float64), array)
    return array


def check_sums(name: str, totals: Array, array: Array) -> None:
    """Raise ValueError for rows that do not sum to one, in the precision of the original array."""
    wrong = ~(np.abs(totals - 1) <= probability_tolerance(array.dtype))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{name} must sum to 1, but row {row} sums to {round(float(totals[row]), 6)}")


def target_rows(target: Any, outputs: Any, classes: int) -> Array:
    """Convert the target, class indices or rows of probabilities, to rows of probabilities (n, C).

    A number is the index of one sample. One dimension has indices, unless ``outputs`` is a single sample of the same
    length.
    """
    given = np.asarray(target)
    samples = 1 if np.ndim(outputs) == 1 else len(outputs)
    one_row = np.ndim(outputs) == 1 and given.ndim == 1 and (given.dtype.kind == "f" or len(given) == classes)
    if given.ndim == 2 or one_row:
        rows = as_probabilities("target probabilities", given)
        if rows.shape != (samples, classes):
            raise ValueError(f"target probabilities must have shape {(samples, classes)}, not {rows.shape}")
        return rows
    return one_hot(as_indices(np.atleast_1d(given), (samples, classes)), classes)


def nats_to(base: float) -> float:
    """The factor from nats to logarithms to this base: 1 for e (nats), 1/ln 2 for 2 (bits)."""
    if not (np.isfinite(base) and base > 1):
        raise ValueError(f"the base of the logarithm must be above 1, as e, 2 or 10, not {base}")
    return 1.0 if base == e else 1 / log(base)


def reduced(losses: Array, reduction: Reduction) -> Any:
    """The mean or the sum of the losses as a number or, for "none", the losses themselves (n,)."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return float(losses.sum())
    if reduction != "mean":
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    if len(losses) == 0:
        raise ValueError("there are no samples to average; use reduction='sum' or 'none'")
    return float(losses.mean())
