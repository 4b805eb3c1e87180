"""Elementary functions without overflow or loss of small values, in the precision of their arguments."""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses.protocol import Array


def x_log_x(p: Array) -> Array:
    """p·log p with 0·log 0 = 0; tiny negative values, due to rounding, count as zero."""
    return x_log_y(p, p)


def x_log_y(x: Array, y: Array) -> Array:
    """x·log y for x ≥ 0, zero where x = 0 and −inf where y = 0 < x."""
    product = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.result_type(x, y))
    used = np.broadcast_to(x > 0, product.shape)
    with np.errstate(divide="ignore"):
        np.log(y, out=product, where=used)
    return np.asarray(np.multiply(x, product, out=product, where=used))


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^−z), computed such that no exponential overflows."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, small) / (1 + small))


def log_sigmoid(z: Array) -> Array:
    """log(1 / (1 + e^−z)), accurate in both tails."""
    return np.asarray(np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))))


def log_softmax(z: Array, axis: int = -1) -> Array:
    """Z − log Σ e^z along an axis, shifted so that the largest exponent is zero."""
    shifted = z - z.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def softmax(z: Array, axis: int = -1) -> Array:
    """e^z / Σ e^z along an axis, shifted so that the largest exponent is zero."""
    power = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(power / power.sum(axis=axis, keepdims=True))


def domain_tolerance(dtype: DTypeLike) -> float:
    """The tolerance within which a residual outside a conjugate's domain counts as inside."""
    return 1e-5 if np.dtype(dtype) == np.float32 else 1e-9


def where_inside(inside: Array, value: Array) -> Array:
    """The value of each row inside the domain and +inf outside, in the dtype of the value."""
    return np.asarray(np.where(inside, value, np.asarray(np.inf, dtype=value.dtype)))


def unit_interval(name: str, number: float) -> float:
    """Validate a parameter in [0, 1]; a Python float, unlike NumPy's, does not widen float32 arrays."""
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {number}")
    return float(number)


def positive(name: str, number: float) -> float:
    """Validate a positive finite parameter, as a Python float."""
    if not (isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, not {number}")
    return float(number)


def log_ratio(wanted: Array, found: Array) -> Array:
    """log(wanted/found) of shares, bounded by the range of the dtype if rounding has made one of them zero, (C,)."""
    tiny = float(np.finfo(np.float64).tiny)
    return np.asarray(np.log(np.maximum(wanted, tiny)) - np.log(np.maximum(found, tiny)))
