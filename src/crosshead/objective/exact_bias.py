"""The optimal bias for given weights: Newton's method on stored scores, at a small fraction of a pass.

A bound needs residuals that sum to zero over the rows, Σ sᵢ rᵢ = 0; at the optimal bias they do. With W fixed the
scores X Wᵀ are computed once; a step of b then costs a loss and a residual for each of the N·C scores, about 1/D of a
pass. Its Hessian Σ sᵢ Hᵢ is summed over some rows. If the optimal bias is infinite, as for a class without rows under
the softmax loss, the bias is set such that the residuals of the class vanish.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, Loss

MAX_STEPS, MAX_STALLS = 60, 12
STALE, STALLED = 0.1, 0.5  # of the residuals' sums: a step that leaves more used an outdated Hessian; made no progress
SHORTER, SHORTEST = 0.25, 1e-3  # factor of a step that increased F, and the smallest share of it that is tried
MIN_ROWS, ROWS_PER_CLASS = 1024, 64  # rows that the Hessian is summed over
DENSE_CLASSES = 2048  # with more, only its diagonal is used
ROUNDINGS = 4.0  # rounding errors of a sum of residuals
NOISE = 10.0  # rounding errors of a value
RIDGE = 1e-9
UNSOLVED = 1e-6  # sums of residuals per row that mean that the steps have failed
STAGED_SCORES = 1 << 17  # with more, hundreds of sums over all scores would cost many passes
NARROW, WIDENING = 4.0, 2.0  # the range of scores in the first stage, and its factor from stage to stage
MIN_REACH = 2.0  # smallest limit of a step beyond the scores' own range
FAR = 1000.0  # a score that much below all others has probability zero in any precision


def best_bias(engine: Engine, loss: Loss, scores: Array, bias: Float, frequencies: Float) -> Float:
    """The shift (C,) of scores (N, C), which include ``bias`` (C,), that makes the residuals sum to zero over the rows.

    ``frequencies`` (C,) are the means of the targets. If steps from the given bias fail, as no row is curved when
    scores are far apart, the range of the scores is increased from a small one in stages.
    """
    limits = loss.bias_limits(frequencies)
    free = limits == 0
    spread = float(scores.max(initial=0.0) - scores.min(initial=0.0))
    shift, left = _balanced(engine, loss, scores, np.where(free, 0.0, _beyond(scores, limits)), free, frequencies)
    few = scores.size <= STAGED_SCORES and np.isfinite(spread)
    if left <= UNSOLVED or not few or loss.bias_step(frequencies, np.zeros_like(bias)) is None:
        return shift
    stages = int(np.ceil(np.log(max(spread / NARROW, 1.0)) / np.log(WIDENING)))
    other = np.where(free, 0.0, _beyond(scores, limits)) / WIDENING**stages
    for stage in range(stages, -1, -1):
        other, rest = _balanced(engine, loss, scores * WIDENING**-stage, other, free, frequencies)
        other = other * (WIDENING if stage else 1.0)
    return other if rest < left else shift


def _balanced(
    engine: Engine, loss: Loss, scores: Array, shift: Float, free: Array, frequencies: Float
) -> tuple[Float, float]:
    """Minimise over the shift from a first one; return it, and the largest remaining sum of residuals."""
    total, precision = engine.data.total_weight, float(np.finfo(scores.dtype).eps)
    best, least = shift, np.inf
    curvature: Any = None
    last = np.zeros_like(shift)
    value, step, length, stalls = np.inf, np.zeros_like(shift), 1.0, 0
    reach = MIN_REACH + float(scores.max(initial=0.0) - scores.min(initial=0.0))
    for _ in range(MAX_STEPS):
        sums = engine.sum_scores(scores, shift, loss)
        gradient = np.where(free, sums.bias_gradient / total, 0.0)
        here, size = sums.surrogate / total, float(np.abs(gradient).max(initial=0.0))
        if not here <= value + NOISE * precision * abs(value):  # the step is too long
            shift, length = shift - (1 - SHORTER) * length * step, SHORTER * length
            if length >= SHORTEST:
                continue
            safe = None if curvature is None else loss.bias_step(frequencies, last)
            if safe is None:
                break
            shift, length, curvature = shift - length * step, 1.0, None
            step = np.where(free, safe, 0.0)
            shift = shift + step
            continue
        stale = size > STALE * least
        stalls += int(size > STALLED * least)
        if size < least:
            best, least = shift, size
        if size <= ROUNDINGS * precision or stalls > MAX_STALLS:
            break
        if curvature is None or stale:
            curvature = _curvature(engine, loss, scores, shift, free)
        value, length, last, step = here, 1.0, gradient, _within(-curvature(gradient), reach)
        shift = shift + step
    return best, least


def _within(step: Float, reach: float) -> Float:
    size = float(np.abs(step).max(initial=0.0))
    return step * (reach / size) if size > reach else step


def _beyond(scores: Array, limits: Float) -> Float:
    """Shifts that move the scores of a class by `FAR` beyond all others, (C,)."""
    low, high = scores.min(axis=0).astype(np.float64), scores.max(axis=0).astype(np.float64)
    reach = FAR + float(max(high.max(initial=0.0), 0.0) - min(low.min(initial=0.0), 0.0))
    return np.asarray(np.where(limits < 0, -reach - high, reach - low))


def _curvature(engine: Engine, loss: Loss, scores: Array, shift: Float, free: Array) -> Any:
    """A solver of ∂²F/∂b² · x = g for a gradient (C,), from evenly spaced rows."""
    data, classes = engine.data, len(shift)
    every = max(1, data.n_rows // max(MIN_ROWS, ROWS_PER_CLASS * classes))
    weight = data.weights[::every]
    if not weight.any():
        every, weight = 1, data.weights
    rows = scores[::every] + shift.astype(scores.dtype)
    matrix = loss.curvature(rows, data.target[::every], weight / weight.sum()).classes
    if matrix.ndim == 1 or classes > DENSE_CLASSES:
        diagonal = matrix if matrix.ndim == 1 else np.diag(matrix)
        floor = RIDGE * float(diagonal.max(initial=0.0)) + float(np.finfo(np.float64).tiny)
        return lambda gradient: np.where(free, gradient / np.maximum(diagonal, floor), 0.0)
    matrix = matrix[np.ix_(free, free)]
    largest = float(np.diag(matrix).max(initial=0.0))
    floor = RIDGE * (largest if largest > 0 else 1.0)
    matrix = matrix + floor * np.eye(len(matrix))
    if loss.shift_invariant:  # the null vector of H; any curvature along it will do
        matrix = matrix + float(np.trace(matrix)) / max(1, len(matrix)) ** 2
    try:
        factor = linalg.cho_factor(matrix, check_finite=False)
    except linalg.LinAlgError:
        factor = (np.diag(np.sqrt(np.maximum(np.diag(matrix), floor))), False)  # rounding may have made it negative

    def solved(gradient: Float) -> Float:
        step = np.zeros_like(gradient)
        found = linalg.cho_solve(factor, gradient[free], check_finite=False)
        step[free] = found - found.mean() if loss.shift_invariant else found
        return step

    return solved
