"""The grid of alphas, from the strongest that makes sense to the weakest."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.engines import TrainingData, make_engine
from crosshead.losses.protocol import Float, Loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise

SPARSE_RATIO, RIDGE_RATIO = 1e-4, 1e-6  # ratio of the weakest to the strongest alpha
BIAS_TOL = 1e-14
BIAS_STEPS = 4
MARGIN = 1e-6  # relative excess of the strongest alpha over the closed form, to allow for rounding
KINK_WIDTH = 1e-3  # smoothing of hinges for their gradient at W = 0


def given_alphas(alphas: Any) -> Float:
    """Validate alphas and sort them in falling order, (A,); ValueError unless they are finite and ≥ 0."""
    try:
        values = np.unique(np.asarray(alphas, dtype=np.float64).ravel())[::-1]
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not values.size or not np.isfinite(values).all() or values[-1] < 0:
        raise ValueError(f"alphas must be a whole number, or finite numbers that are not negative, not {alphas!r}")
    return np.ascontiguousarray(values)


def count_of(alphas: Any) -> int | None:
    """The number of alphas of a requested grid; None if the alphas themselves are given."""
    if isinstance(alphas, bool) or not isinstance(alphas, (int, np.integer)):
        return None
    if alphas < 1:
        raise ValueError(f"alphas must be at least 1, not {alphas}")
    return int(alphas)


def grid(strongest: float, count: int, l1_ratio: float) -> Float:
    """Return ``count`` log-spaced alphas from ``strongest`` downwards, (count,).

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
    """The optimal b (C,) at W = 0, zeros without an intercept."""
    if not fit_intercept:
        return np.zeros(data.n_classes)
    flat = TrainingData(np.zeros((data.n_rows, 1)), data.target, data.n_classes, data.sample_weight)
    objective = Objective(make_engine("auto", flat), loss, ElasticNet(1.0))
    result = minimise(objective, np.zeros(objective.size), tol=BIAS_TOL, max_iter=200)
    evaluation = objective.evaluate(result.point)
    for _ in range(BIAS_STEPS):  # the gap is of second order in the error of b
        moved = objective.evaluate(objective.move_bias(evaluation))
        if not np.abs(moved.gradient).max() < np.abs(evaluation.gradient).max():
            break
        evaluation = moved
    return objective.unpack(evaluation.point)[1].copy()


def alpha_max(objective: Objective, l1_ratio: float) -> float:
    """The strongest alpha of a grid, from one pass at W = 0 with the optimal intercept.

    With an L1 part it is ‖G‖∞/ρ, G = ∂L/∂W (C, D): the smallest alpha at which W = 0 is optimal. For the hinges, whose
    subgradient at W = 0 is not unique, W = 0 is optimal at it, but it need not be the smallest such alpha.

    Without an L1 part it is the largest eigenvalue of the loss's curvature at W = 0: at this alpha every direction of W
    is shrunk by at least half. Features multiplied by c give c² times this alpha, and the same predictions.
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
    return strongest if strongest > 0 else 1.0  # features without information: any alpha will do
