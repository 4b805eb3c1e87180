"""Elementary functions that neither overflow nor lose what is small, in the precision they are given."""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses.protocol import Array


def x_log_x(p: Array) -> Array:
    """p·log p with 0·log 0 = 0; tiny negatives, which are rounding, count as zero."""
    return x_log_y(p, p)


def x_log_y(x: Array, y: Array) -> Array:
    """x·log y for x ≥ 0, zero where x = 0 and −inf where y = 0 < x."""
    product = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.result_type(x, y))
    used = np.broadcast_to(x > 0, product.shape)
    with np.errstate(divide="ignore"):
        np.log(y, out=product, where=used)
    return np.asarray(np.multiply(x, product, out=product, where=used))


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^−z), from the side on which e^±z stays below one."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, small) / (1 + small))


def log_sigmoid(z: Array) -> Array:
    """log(1 / (1 + e^−z)), exact to rounding in both tails."""
    return np.asarray(np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))))


def log_softmax(z: Array, axis: int = -1) -> Array:
    """The scores less log Σ e^z along an axis, shifted so that the largest exponent is zero."""
    shifted = z - z.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def softmax(z: Array, axis: int = -1) -> Array:
    """The weights e^z / Σ e^z along an axis, shifted so that the largest exponent is zero."""
    power = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(power / power.sum(axis=axis, keepdims=True))


def domain_tolerance(dtype: DTypeLike) -> float:
    """How far outside a conjugate's domain a residual may lie and still count as rounded into it."""
    return 1e-5 if np.dtype(dtype) == np.float32 else 1e-9


def where_inside(inside: Array, value: Array) -> Array:
    """The value of each row inside the domain and +inf outside it, in the value's precision."""
    return np.asarray(np.where(inside, value, np.asarray(np.inf, dtype=value.dtype)))


def unit_interval(name: str, number: float) -> float:
    """A parameter in [0, 1] as a Python float, which unlike NumPy's leaves float32 arrays as they are."""
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {number}")
    return float(number)


def positive(name: str, number: float) -> float:
    """A positive finite parameter as a Python float."""
    if not (isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, not {number}")
    return float(number)


def log_ratio(wanted: Array, found: Array) -> Array:
    """log(wanted/found) of shares, at most the range of a number where rounding has left one of them nothing, (C,)."""
    tiny = float(np.finfo(np.float64).tiny)
    return np.asarray(np.log(np.maximum(wanted, tiny)) - np.log(np.maximum(found, tiny)))
