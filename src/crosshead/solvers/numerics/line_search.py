"""A line search that tries the unit step first and uses few passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crosshead.solvers.protocol import Float

DECREASE = 1e-4  # Armijo's constant
SLOPE = 0.9  # Wolfe's constant
TRIALS = 20
NOISE_SINGLE, NOISE_DOUBLE = 1e-7, 1e-14  # relative rounding error of a value


def search(evaluate: Callable[[Float], Any], here: Any, direction: Float, *, exact: bool) -> Any | None:
    """Find a point along ``direction`` that satisfies the weak Wolfe conditions; None if there is none.

    If values differ by no more than rounding, the slope decides (the approximate Wolfe conditions of Hager and
    Zhang, SIAM Journal on Optimization 16, 2005).
    """
    slope = float(direction @ here.gradient)
    if not np.isfinite(slope) or slope >= 0:
        return None
    noise = (NOISE_DOUBLE if exact else NOISE_SINGLE) * max(abs(here.surrogate), 1e-300)
    low, high, step = 0.0, np.inf, 1.0
    low_slope, fallback = slope, None
    for _ in range(TRIALS):
        point = step * direction
        point += here.point
        there = evaluate(point)
        del point  # vectors may be as large as X
        there_slope = float(direction @ there.gradient)
        # If the required decrease is below rounding, an equal value would satisfy it: then the slope decides.
        decreased = here.surrogate > there.surrogate <= here.surrogate + DECREASE * step * slope
        as_good = there.surrogate <= here.surrogate + noise and there_slope <= (2 * DECREASE - 1) * slope
        if not np.isfinite(there.surrogate) or not (decreased or as_good):
            high, step = step, _between(low, step, low_slope, there_slope, there.surrogate)
        elif there_slope < SLOPE * slope:
            fallback = there
            low, low_slope = step, there_slope
            step = min(_extrapolated(step, slope, there_slope), 10 * step) if np.isinf(high) else (low + high) / 2
        else:
            return there
        del there
        if high - low <= 1e-12 * max(high, 1.0):
            break
    return fallback


def is_stationary(here: Any, there: Any) -> bool:
    """Whether a Newton step changed nothing in double precision: neither the value, nor the gradient by half."""
    if not abs(there.surrogate - here.surrogate) <= NOISE_DOUBLE * abs(here.surrogate):
        return False
    return largest(there.gradient) > 0.5 * largest(here.gradient)


def largest(vector: Float) -> float:
    """The largest absolute value; 0 for an empty vector."""
    return max(float(vector.max(initial=0.0)), -float(vector.min(initial=0.0)))


def _between(low: float, high: float, low_slope: float, high_slope: float, value: float) -> float:
    """The zero of the slope by the secant, kept away from both ends; the midpoint if the slopes are inconsistent."""
    width = high - low
    if np.isfinite(value) and high_slope > 0 and high_slope - low_slope > 0:
        share = -low_slope / (high_slope - low_slope)
        return low + width * min(max(share, 0.1), 0.9)
    return low + width * 0.5 if np.isfinite(value) else low + width * 0.1


def _extrapolated(step: float, slope: float, there_slope: float) -> float:
    """The zero of the linearly extrapolated slope, at least twice the step."""
    if there_slope > slope:
        return max(2.0 * step, step * slope / (slope - there_slope))
    return 4.0 * step
