"""Validate probabilities and locate the first invalid entry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crosshead.data.dataset import Array


@dataclass(frozen=True)
class Fault:
    """The first invalid entry: its row, and its column or None if it is the row's sum."""

    row: int
    column: int | None
    what: str


def first_fault(p: Array, tolerance: float) -> Fault | None:
    """The first fault in probabilities ``p`` (n, C), or None: NaN first, then negative numbers, then sums.

    Examples
    --------
    >>> first_fault(np.array([[0.5, 0.5], [0.2, 0.9]]), 1e-6)
    Fault(row=1, column=None, what='sums to 1.1, not to 1 within 1e-06')
    """
    totals = p @ np.ones(p.shape[1])  # NaN shows in the sums, which suffice for most blocks
    if p.size == 0 or (p.min() >= 0 and (np.abs(totals - 1) <= tolerance).all()):
        return None
    for entries, what in ((np.isnan(p), "is NaN"), (p < 0, "is negative")):
        if entries.any():
            row, column = (int(k) for k in np.argwhere(entries)[0])
            value = "" if what == "is NaN" else f", {float(p[row, column]):.6g}"
            return Fault(row, column, what + value)
    row = int((~(np.abs(totals - 1) <= tolerance)).argmax())
    return Fault(row, None, f"sums to {float(totals[row]):.6g}, not to 1 within {tolerance:g}")
