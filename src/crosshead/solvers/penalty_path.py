"""From a strong penalty to the weak one that is asked for: Newton's method for features of very different scale.

What is scaled up is hardly penalised, so that rows which such a feature sets apart are fitted until their residuals are
tiny. There the loss falls exponentially and its curvature with it: Newton's method, or any that trusts the curvature
where it stands, overshoots by orders of magnitude or moves by one unit of the scores at a time. Along the path

    W(μ) = argmin F(W) + ½ Σ (μ vⱼ − α)₊ ‖W_·j‖²,    vⱼ the variance of feature j,

the scores of those rows are nearly linear in log μ. So the path's tangent carries far, and from one μ to the next two
or three Newton corrections suffice (predictor and corrector: Allgower and Georg, Numerical Continuation Methods, 1990).
Newton's equation is solved by conjugate gradients over all rows, preconditioned by a factorised Hessian.

It costs a factorisation every few passes, and is turned to only where quasi-Newton passes have cost as much as one
without the gap coming near.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

import numpy as np

from crosshead.solvers.conjugate_gradients import conjugate_gradients
from crosshead.solvers.lbfgs import LBFGS, LBFGSState
from crosshead.solvers.line_search import search
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective

FIRST_LEVEL = 1e-3  # of the penalty beside a loss whose curvature is about 1: from zero a few steps lead there
LEVEL_FACTOR = 3.0
NEAR = 0.3  # Newton's decrement, in the share of one row: nearer the path than that, the penalty may fall
FORCING, MOST_PRODUCTS = 0.3, 7  # steps that are shortened anyway need not be exact
LEAST_PASSES, SETTLED_PASSES = 120, 60
SETTLED = 0.01  # of the gap: where half of the passes brought F no more, it is the bound that does not follow
LONG_WAY = 2.0  # times the passes so far: further than that is too far
FAR, PATIENCE = 0.5, 10.0  # a gap that has hardly begun to close; else so many factorisations' worth of passes are made


@dataclass(frozen=True)
class Charged:
    """An evaluation of F with the penalty of a level: what a line search asks for."""

    evaluation: Any
    surrogate: float
    gradient: Float

    @property
    def point(self) -> Float:
        """Where it is."""
        return np.asarray(self.evaluation.point)


def charged(objective: Objective, evaluation: Any, level: float) -> Charged:
    """F and its gradient at a point, with the penalty of a level."""
    extra = (objective.levels.charge(level) - objective.levels.charge(0.0)) * evaluation.point
    return Charged(evaluation, evaluation.surrogate + float(extra @ evaluation.point) / 2, evaluation.gradient + extra)


@dataclass
class PathState:
    """Where the method is, the level it is at, the factor it uses, and whether the last step failed."""

    evaluation: Any
    level: float
    factor: Any = None
    stuck: bool = False


@final
@dataclass(frozen=True)
class PenaltyPath:
    """Minimise a smooth objective with an L2 penalty from the strong end of its path."""

    def start(self, run: Run, point: Float) -> PathState:
        """Evaluate the start, which should be near the path's strong end."""
        evaluation = run.evaluate(point)
        if not run.exact:
            run.go_exact()  # values of different levels are compared to less than single precision
        return PathState(evaluation, max(FIRST_LEVEL, run.objective.levels.last))

    def step(self, run: Run, state: PathState) -> PathState:
        """One Newton step, to the same level or to the next."""
        objective, levels = run.objective, run.objective.levels
        evaluation, factor = run.current(state.evaluation), state.factor
        state = replace(state, evaluation=evaluation)
        if factor is None:
            factor = levels.factored(evaluation.point, state.level, run.factorisations)
            run.factorisations += 1
            if factor is None:
                return replace(state, stuck=True)
        level, right = state.level, -charged(objective, evaluation, state.level).gradient
        near = float(right @ factor.precondition(right)) <= NEAR * levels.row_share
        if near and level > levels.last:
            level = max(level / LEVEL_FACTOR, levels.last)
            right = right + tangent(objective, evaluation.point, state.level, level)
        hessian = levels.products(evaluation.point, state.level, factor, exact=run.exact, count=run.count)
        direction = objective.without_shift(conjugate_gradients(hessian, right, FORCING, MOST_PRODUCTS))
        here = charged(objective, evaluation, level)
        there = search(lambda point: charged(objective, run.evaluate(point), level), here, direction, exact=run.exact)
        if there is None and state.factor is None and level != state.level:
            return PathState(evaluation, level)  # the tangent led nowhere: Newton's steps go on at the next level
        if there is None:
            # At the same level with a new factor nothing is left to try.
            return replace(state, factor=None, stuck=state.factor is None)
        whole = np.array_equal(there.point, evaluation.point + direction)
        stale = not whole or level != state.level
        return PathState(there.evaluation, level, None if stale else factor)

    def stuck(self, state: PathState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


def tangent(objective: Objective, point: Float, level: float, next_level: float) -> Float:
    """What the path's tangent adds to Newton's equation on the way to another level, in its logarithm."""
    before, after = objective.levels.charge(level), objective.levels.charge(next_level)
    ratio = np.ones_like(before)
    np.divide(before, after, out=ratio, where=after > 0)
    return np.asarray(np.log(ratio) * before * point)


class Seen(NamedTuple):
    """What a fit had come to after so many passes."""

    passes: int
    gap: float
    value: float = np.inf


@dataclass
class GuardedState:
    """The state of whichever method is at work, what was seen so far, and whether the path has led nowhere."""

    inner: LBFGSState | PathState
    seen: list[Seen] = field(default_factory=list)
    returned: bool = False


@final
@dataclass(frozen=True)
class GuardedLBFGS:
    """`LBFGS`, until it has cost what a factorisation does and is not halfway there: then `PenaltyPath`.

    Where that is stuck, `LBFGS` goes on from the best point and is not left again.
    """

    def start(self, run: Run, point: Float) -> GuardedState:
        """Evaluate the start."""
        return GuardedState(LBFGS().start(run, point))

    def step(self, run: Run, state: GuardedState) -> GuardedState:
        """One step of the method at work."""
        if isinstance(state.inner, PathState):
            if state.inner.stuck:
                return replace(state, inner=LBFGS().start(run, run.best.point), returned=True)
            return replace(state, inner=PenaltyPath().step(run, state.inner))
        state.seen.append(Seen(run.passes, run.gap, run.best.value))
        if not state.returned and hopeless(state.seen, run.tol, run.objective.levels.factor_passes):
            if not run.exact:
                run.go_exact()  # values of different levels are compared to less than single precision
            return replace(state, inner=PenaltyPath().start(run, np.zeros_like(run.best.point)))
        return replace(state, inner=LBFGS().step(run, state.inner))

    def stuck(self, state: GuardedState) -> bool:
        """Whether `LBFGS` is stuck."""
        return state.inner.stuck and not isinstance(state.inner, PathState)


def hopeless(seen: list[Seen], tol: float, factor_passes: float) -> bool:
    """Whether the gap, falling on as it did in the latter half of the passes, is too far from ``tol``.

    A gap that has begun to close often falls at once after a long rest, and a path takes some ten factorisations.
    Where F has settled and the gap is wide open, half as many passes say it.

    >>> hopeless([Seen(50, 0.9), Seen(100, 0.9), Seen(200, 0.9)], 1e-4, 90.0)
    True
    >>> hopeless([Seen(30, 0.99, 0.2001), Seen(60, 0.98, 0.2)], 1e-4, 90.0)
    True
    >>> hopeless([Seen(50, 0.1), Seen(100, 0.1), Seen(200, 0.1)], 1e-4, 90.0)
    False
    >>> hopeless([Seen(50, 0.9), Seen(100, 0.9), Seen(200, 1e-3)], 1e-4, 90.0)
    False
    """
    now = seen[-1]
    passes, gap = now.passes, now.gap
    if not gap > tol or tol <= 0 or not np.isfinite(factor_passes):
        return False
    half = max((one for one in seen if 2 * one.passes <= passes), default=seen[0])
    early = passes >= max(SETTLED_PASSES, factor_passes / 2) and gap >= FAR and np.isfinite(half.value)
    if early and half.value - now.value <= SETTLED * gap * abs(now.value):
        return True
    if passes < max(LEAST_PASSES, factor_passes) or (gap < FAR and passes < PATIENCE * factor_passes):
        return False
    if half is now or not gap < half.gap:
        return True
    rate = np.log(half.gap / gap) / (passes - half.passes)
    return bool(np.log(gap / tol) / rate > LONG_WAY * passes)
