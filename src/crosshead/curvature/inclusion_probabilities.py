"""Chances with which rows are drawn so that about so many are, each with at most certainty."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crosshead.losses.protocol import Array

STEPS = 8
ROWS_AT_ONCE = 1 << 14


def chances(wanted: Array, count: int) -> Array:
    """min(1, c·wanted) with c such that they add up to about ``count``, (N,).

    ``wanted`` (N,) ≥ 0 is overwritten.

    Example:
        >>> chances(np.array([1.0, 1.0, 8.0]), 2).round(2)
        array([0.5, 0.5, 1. ])
    """
    total = float(wanted.sum(dtype=np.float64))
    factor = count / total if total > 0 else 0.0
    for _ in range(STEPS):  # what those at 1 do not use goes to the others
        reached = sum(float(np.minimum(1.0, factor * wanted[rows]).sum()) for rows in parts(len(wanted)))
        if reached <= 0:
            break
        factor *= count / reached
    wanted *= wanted.dtype.type(factor)
    return np.minimum(wanted, 1.0, out=wanted)


def parts(count: int) -> Iterator[slice]:
    """So many rows, some at a time: copies of all would be as long as a column of X."""
    for first in range(0, count, ROWS_AT_ONCE):
        yield slice(first, first + ROWS_AT_ONCE)
