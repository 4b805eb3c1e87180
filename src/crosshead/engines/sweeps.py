"""Parts shared by coordinate descents: a coordinate's minimum, and when sweeps end (`native/descent/sweeps.hpp`)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def coordinate_minimum(here: float, slope: float, curvature: float, l1: float) -> float:
    """The t that minimises slope·(t − here) + curvature/2·(t − here)² + l1·|t|.

    Example:
        >>> coordinate_minimum(1.0, 2.0, 1.0, 0.5), coordinate_minimum(0.0, 0.3, 1.0, 0.5)
        (-0.5, -0.0)
    """
    if curvature <= 0:  # a constant column affects the penalty only
        return 0.0 if abs(slope) <= l1 else here
    target = here - slope / curvature
    return float(np.copysign(max(abs(target) - l1 / curvature, 0.0), target))


def sweep_until_converged(sweep: Callable[[bool], float], tolerance: float, most_sweeps: int, seconds: float) -> int:
    """Repeat ``sweep(everywhere)`` = Σ curvature·move² until one moves ``tolerance`` times as far as the first did.

    The last sweep is over all coordinates; those in between skip coordinates at zero. None begins after ``seconds``.
    Returns the number of sweeps.
    """
    until = time.perf_counter() + seconds
    first = sweep(True)
    enough, sweeps = tolerance**2 * first, 1
    while sweeps < most_sweeps and time.perf_counter() < until:
        last = first
        while sweeps < most_sweeps and last > enough and time.perf_counter() < until:
            last = sweep(False)
            sweeps += 1
        sweeps += 1
        if time.perf_counter() >= until or sweep(True) <= enough:
            break
    return sweeps
