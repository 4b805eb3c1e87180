"""Vectors that a method remembers: long ones in single precision, which halves what they hold.

They steer and certify nothing, and a change of the gradient is known to no more digits after passes in single
precision. Products and sums with them are taken in double precision, a part at a time.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import daxpy

from crosshead.losses.protocol import Array
from crosshead.solvers.protocol import Float

LONG = 1 << 18  # numbers from which on a vector is long; many pairs of shorter ones fit as they are
SMALLEST, LARGEST = 1e-25, 1e30  # of a long vector's largest entry: beyond, single precision would lose it
PART = 1 << 15


def remembered(vector: Float) -> Array:
    """A vector to be kept, in single precision if it is long.

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
