"""From a strong penalty to the weak one that is asked for: Newton's method for features of very different scale.

What is scaled up is hardly penalised, so that rows which such a feature sets apart are fitted until their residuals are
tiny. There the loss falls exponentially and its curvature with it: Newton's method, or any that trusts the curvature
where it stands, overshoots by orders of magnitude or moves by one unit of the scores at a time. Along the path

    W(μ) = argmin F(W) + ½ Σ (μ vⱼ − α)₊ ‖W_·j‖²,    vⱼ the variance of feature j,

the scores of those rows are nearly linear in log μ. So the path's tangent carries far, and from one μ to the next two
or three Newton corrections suffice (predictor and corrector: Allgower and Georg, Numerical Continuation Methods, 1990).
Newton's equation is solved by conjugate gradients over all rows, preconditioned by a factorised Hessian.

It costs a factorisation every few passes, and is turned to only where quasi-Newton passes do not bring the gap near.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients
from crosshead.solvers.numerics.line_search import search
from crosshead.solvers.protocol import Float, Objective

FIRST_LEVEL = 1e-3  # of the penalty beside a loss whose curvature is about 1: from zero a few steps lead there
LEVEL_FACTOR = 3.0
NEAR = 0.3  # Newton's decrement, in the share of one row: nearer the path than that, the penalty may fall
FORCING, MOST_PRODUCTS = 0.3, 7  # steps that are shortened anyway need not be exact


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
class PenaltyPathState:
    """Where the method is, the level it is at, the factor it uses, and whether the last step failed."""

    evaluation: Any
    level: float
    factor: Any = None
    stuck: bool = False


@final
@dataclass(frozen=True)
class PenaltyPath:
    """Minimise a smooth objective with an L2 penalty from the strong end of its path."""

    title: ClassVar[str] = "Newton along the path of the penalty"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "an L2 part", "no L1 part", "dense features"})

    def start(self, run: Run, point: Float) -> PenaltyPathState:
        """Weights of zero, the path's strong end; a point that is given is only evaluated, where nothing was yet."""
        run.go_exact()  # values of different levels are compared to less than single precision
        if run.best is None and point.any():
            run.evaluate(point)
        evaluation = run.begin(np.zeros_like(point))
        return PenaltyPathState(evaluation, max(FIRST_LEVEL, run.objective.levels.last))

    def step(self, run: Run, state: PenaltyPathState) -> PenaltyPathState:
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
            return PenaltyPathState(
                evaluation, level
            )  # the tangent led nowhere: Newton's steps go on at the next level
        if there is None:
            # At the same level with a new factor nothing is left to try.
            return replace(state, factor=None, stuck=state.factor is None)
        whole = np.array_equal(there.point, evaluation.point + direction)
        stale = not whole or level != state.level
        return PenaltyPathState(there.evaluation, level, None if stale else factor)

    def stuck(self, state: PenaltyPathState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


def tangent(objective: Objective, point: Float, level: float, next_level: float) -> Float:
    """What the path's tangent adds to Newton's equation on the way to another level, in its logarithm."""
    before, after = objective.levels.charge(level), objective.levels.charge(next_level)
    ratio = np.ones_like(before)
    np.divide(before, after, out=ratio, where=after > 0)
    return np.asarray(np.log(ratio) * before * point)
