"""Make a dual point feasible through its three sums, without another pass over the data."""

from __future__ import annotations

import numpy as np

from crosshead.losses.protocol import DualPoint, Float

# Residual rows that sum to zero give bias sums of both signs. Sums of one sign are due to single precision or to
# a mistake; this is the limit between the two.
ROUNDING = 1e-7


def is_balanced(point: DualPoint) -> bool:
    """Whether the bias gradient is exactly zero."""
    return not point.bias_gradient.any()


def is_finite(point: DualPoint) -> bool:
    """Whether the sums are finite."""
    return bool(np.isfinite(point.bias_gradient).all() and np.isfinite(point.weight_gradient).all())


def settled(point: DualPoint) -> DualPoint | None:
    """If all bias sums have the same sign: the point with zeros instead if they are rounding errors, else None."""
    if float(np.abs(point.bias_gradient).max()) > ROUNDING:
        return None
    return DualPoint(point.value, point.weight_gradient, np.zeros_like(point.bias_gradient))


def mixed(point: DualPoint, share: float, value: float, weight_gradient: Float) -> DualPoint:
    """(1 − share) of a point plus share of an anchor, chosen such that their bias gradients cancel.

    The sums are linear in the residuals and −ℓ* is concave, so the mixed value is a lower bound of the value
    of the mixed residuals. The anchor's ``weight_gradient`` is overwritten: it may be as large as the features.
    """
    zeros = np.zeros_like(point.bias_gradient)
    if share >= 1:  # nothing of the point remains, not even a value of −inf
        return DualPoint(float(value), weight_gradient, zeros)
    weight_gradient -= point.weight_gradient
    weight_gradient *= share
    weight_gradient += point.weight_gradient
    return DualPoint(float((1 - share) * point.value + share * value), weight_gradient, zeros)
