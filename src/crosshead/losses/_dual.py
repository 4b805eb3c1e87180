"""Repairing a dual point through its three sums, without another pass over the data."""

from __future__ import annotations

import numpy as np

from crosshead.losses.protocol import DualPoint, Float

# Residual rows that sum to zero give bias sums of both signs. Sums of one sign only are what single
# precision leaves behind, or a mistake; this is the line between the two.
ROUNDING = 1e-7


def is_balanced(point: DualPoint) -> bool:
    """Whether the bias gradient is exactly zero already."""
    return not point.bias_gradient.any()


def is_finite(point: DualPoint) -> bool:
    """Whether the sums are numbers at all."""
    return bool(np.isfinite(point.bias_gradient).all() and np.isfinite(point.weight_gradient).all())


def settled(point: DualPoint) -> DualPoint | None:
    """For bias sums all of one sign: the point with zeros in their place if they are rounding, else None."""
    if float(np.abs(point.bias_gradient).max()) > ROUNDING:
        return None
    return DualPoint(point.value, point.weight_gradient, np.zeros_like(point.bias_gradient))


def mixed(point: DualPoint, share: float, value: float, weight_gradient: Float) -> DualPoint:
    """(1 − share) of a point and share of an anchor chosen so that their bias gradients cancel.

    The sums are linear in the residuals and −ℓ* is concave, so the mixed value is a lower bound of the value
    of the mixed residuals. The anchor's ``weight_gradient`` is overwritten: it may be as large as the features.
    """
    zeros = np.zeros_like(point.bias_gradient)
    if share >= 1:  # nothing of the point is left, not even a value of −inf
        return DualPoint(float(value), weight_gradient, zeros)
    weight_gradient -= point.weight_gradient
    weight_gradient *= share
    weight_gradient += point.weight_gradient
    return DualPoint(float((1 - share) * point.value + share * value), weight_gradient, zeros)
