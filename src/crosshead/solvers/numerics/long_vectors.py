"""Vectors that a method stores: long ones in single precision, to halve their memory.

They affect only the speed, and after passes in single precision the gradient is no more accurate. Products and sums
with them are computed in double precision, one part at a time.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import daxpy

from crosshead.losses.protocol import Array
from crosshead.solvers.protocol import Float

LONG = 1 << 18  # length from which on a vector is long
SMALLEST, LARGEST = 1e-25, 1e30  # range of the largest entry of a long vector: single precision would lose others
PART = 1 << 15


def remembered(vector: Float) -> Array:
    """Convert a vector for storage, to single precision if it is long.

    Example:
        >>> remembered(np.zeros(3)).dtype, remembered(np.ones(LONG)).dtype
        (dtype('float64'), dtype('float32'))
    """
    if vector.size < LONG:
        return vector
    largest = max(float(vector.max()), -float(vector.min()))
    return vector.astype(np.float32) if SMALLEST < largest < LARGEST else vector


def dot(kept: Array, vector: Float) -> float:
    """⟨kept, v⟩."""
    if kept.dtype == np.float64:
        return float(kept @ vector)
    total = 0.0
    for first in range(0, kept.size, PART):
        total += float(kept[first : first + PART].astype(np.float64) @ vector[first : first + PART])
    return total


def add_multiple(kept: Array, factor: float, vector: Float) -> None:
    """V += factor · kept, in place."""
    if kept.dtype == np.float64:
        daxpy(kept, vector, a=factor)
        return
    for first in range(0, kept.size, PART):
        vector[first : first + PART] += kept[first : first + PART].astype(np.float64) * factor
