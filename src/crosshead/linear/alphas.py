"""Which alphas to try: a grid from the strongest that makes sense down to the weakest."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.engines import TrainingData, make_engine
from crosshead.losses.protocol import Float, Loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise

SPARSE_RATIO, RIDGE_RATIO = 1e-4, 1e-6  # the weakest alpha of a grid over its strongest
BIAS_TOL = 1e-14
BIAS_STEPS = 4
MARGIN = 1e-6  # by which the strongest alpha exceeds the closed form, so that rounding moves no weight
KINK_WIDTH = 1e-3  # hinges are smoothed by this much where their gradient at W = 0 is wanted


def given_alphas(alphas: Any) -> Float:
    """Alphas in falling order, (A,); ValueError where they are no finite numbers ≥ 0, or there are none."""
    try:
        values = np.unique(np.asarray(alphas, dtype=np.float64).ravel())[::-1]
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not values.size or not np.isfinite(values).all() or values[-1] < 0:
        raise ValueError(f"alphas must be a whole number, or finite numbers that are not negative, not {alphas!r}")
    return np.ascontiguousarray(values)


def count_of(alphas: Any) -> int | None:
    """The number of alphas where one asks for a grid, None where the alphas themselves are given."""
    if isinstance(alphas, bool) or not isinstance(alphas, (int, np.integer)):
        return None
    if alphas < 1:
        raise ValueError(f"alphas must be at least 1, not {alphas}")
    return int(alphas)


def grid(strongest: float, count: int, l1_ratio: float) -> Float:
    """``count`` log-spaced alphas from ``strongest`` down, (count,).

    They span four decades with an L1 part, six without.

    Examples
    --------
    >>> grid(2.0, 3, 1.0).tolist()
    [2.0, 0.02, 0.0002]
    """
    ratio = SPARSE_RATIO if l1_ratio > 0 else RIDGE_RATIO
    values = strongest * ratio ** (np.arange(count) / max(1, count - 1))
    return np.asarray(values)


def best_bias(data: TrainingData, loss: Loss, fit_intercept: bool) -> Float:
    """The optimal b (C,) at W = 0: zeros without an intercept."""
    if not fit_intercept:
        return np.zeros(data.n_classes)
    flat = TrainingData(np.zeros((data.n_rows, 1)), data.target, data.n_classes, data.sample_weight)
    objective = Objective(make_engine("auto", flat), loss, ElasticNet(1.0))
    result = minimise(objective, np.zeros(objective.size), tol=BIAS_TOL, max_iter=200)
    evaluation = objective.evaluate(result.point)
    for _ in range(BIAS_STEPS):  # the gap is of second order in b, and what is left to gain of first
        moved = objective.evaluate(objective.move_bias(evaluation))
        if not np.abs(moved.gradient).max() < np.abs(evaluation.gradient).max():
            break
        evaluation = moved
    return objective.unpack(evaluation.point)[1].copy()


def alpha_max(objective: Objective, l1_ratio: float) -> float:
    """The strongest alpha of a grid, from one pass at W = 0 with the optimal intercept.

    With an L1 part ‖G‖∞/ρ, G = ∂L/∂W (C, D): the smallest alpha at which W = 0 is optimal. For the hinges, whose
    subgradient at W = 0 is not unique, an alpha at which it is, which need not be the smallest.

    Without, the largest eigenvalue of the loss's curvature there: from it on every direction of W is shrunk to less
    than half of what it would be. Features multiplied by c give c² times this alpha, and the same solutions.
    """
    smooth = objective if objective.smooth else objective.smoothed(KINK_WIDTH)
    bias = best_bias(smooth.engine.data, smooth.loss, smooth.fit_intercept)
    evaluation = smooth.evaluate(smooth.pack(np.zeros((smooth.n_classes, smooth.n_features)), bias))
    if l1_ratio > 0:
        gradient, _ = smooth.unpack(evaluation.gradient)
        strongest = (1 + MARGIN) * float(np.abs(gradient).max(initial=0.0)) / l1_ratio
    else:
        metric = smooth.metric(evaluation)
        strongest = float(metric.classes.values.max(initial=0.0) * metric.features.values.max(initial=0.0))
    return strongest if strongest > 0 else 1.0  # features that say nothing: any alpha will do
