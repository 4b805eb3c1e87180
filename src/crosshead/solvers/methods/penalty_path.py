"""Path following from a strong penalty to the given one: Newton's method for features of very different scale.

Weights of large features are hardly penalised, so rows that such a feature separates are fitted until their residuals
are tiny. There the loss and its curvature fall exponentially: Newton's method, or any method that relies on the local
curvature, overshoots by orders of magnitude or moves by one unit of the scores at a time. Along the path

    W(μ) = argmin F(W) + ½ Σ (μ vⱼ − α)₊ ‖W_·j‖²,    vⱼ the variance of feature j,

the scores of those rows are nearly linear in log μ. So the tangent of the path is a good predictor, and from one μ to
the next two or three Newton corrections suffice (Allgower and Georg, Numerical Continuation Methods, 1990).
Newton's equation is solved by conjugate gradients over all rows, preconditioned by a factorised Hessian.

It costs a factorisation every few passes, and is used only if quasi-Newton passes make little progress.
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

FIRST_LEVEL = 1e-3  # of the penalty for a loss with curvature of about 1: a few steps from zero lead there
LEVEL_FACTOR = 3.0
NEAR = 0.3  # Newton's decrement, relative to the share of one row, below which the penalty is reduced
FORCING, MAX_PRODUCTS = 0.3, 7  # steps that are shortened anyway need not be exact


@dataclass(frozen=True)
class PenalisedEvaluation:
    """An evaluation of F with the penalty of a level, in the form that a line search takes."""

    evaluation: Any
    surrogate: float
    gradient: Float

    @property
    def point(self) -> Float:
        """The point of the evaluation."""
        return np.asarray(self.evaluation.point)


def penalised(objective: Objective, evaluation: Any, level: float) -> PenalisedEvaluation:
    """F and its gradient at a point, with the penalty of a level."""
    extra = (objective.levels.diagonal(level) - objective.levels.diagonal(0.0)) * evaluation.point
    return PenalisedEvaluation(
        evaluation, evaluation.surrogate + float(extra @ evaluation.point) / 2, evaluation.gradient + extra
    )


@dataclass
class PenaltyPathState:
    """The state: evaluation, level, factor, and whether the last step failed."""

    evaluation: Any
    level: float
    factor: Any = None
    stuck: bool = False


@final
@dataclass(frozen=True)
class PenaltyPath:
    """Minimise a smooth objective with an L2 penalty, from the strong end of the path of the penalty."""

    title: ClassVar[str] = "Newton along the path of the penalty"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "an L2 part", "no L1 part", "dense features"})

    def start(self, run: Run, point: Float) -> PenaltyPathState:
        """Start at W = 0, the strong end of the path; evaluate the given point if nothing has been evaluated yet."""
        run.go_exact()  # values of levels differ by less than single precision resolves
        if run.best is None and point.any():
            run.evaluate(point)
        evaluation = run.begin(np.zeros_like(point))
        return PenaltyPathState(evaluation, max(FIRST_LEVEL, run.objective.levels.last))

    def step(self, run: Run, state: PenaltyPathState) -> PenaltyPathState:
        """Take one Newton step, to the same level or to the next."""
        objective, levels = run.objective, run.objective.levels
        evaluation, factor = run.current(state.evaluation), state.factor
        state = replace(state, evaluation=evaluation)
        if factor is None:
            factor = levels.factored(evaluation.point, state.level, run.factorisations)
            run.factorisations += 1
            if factor is None:
                return replace(state, stuck=True)
        level, right = state.level, -penalised(objective, evaluation, state.level).gradient
        near = float(right @ factor.precondition(right)) <= NEAR * levels.row_share
        if near and level > levels.last:
            level = max(level / LEVEL_FACTOR, levels.last)
            right = right + tangent(objective, evaluation.point, state.level, level)
        hessian = levels.products(evaluation.point, state.level, factor, exact=run.exact, count=run.count)
        direction = objective.without_shift(conjugate_gradients(hessian, right, FORCING, MAX_PRODUCTS))
        here = penalised(objective, evaluation, level)
        there = search(lambda point: penalised(objective, run.evaluate(point), level), here, direction, exact=run.exact)
        if there is None and state.factor is None and level != state.level:
            return PenaltyPathState(
                evaluation, level
            )  # the predictor failed: continue with Newton steps at the next level
        if there is None:
            # At the same level with a new factor there is nothing left to try.
            return replace(state, factor=None, stuck=state.factor is None)
        whole = np.array_equal(there.point, evaluation.point + direction)
        stale = not whole or level != state.level
        return PenaltyPathState(there.evaluation, level, None if stale else factor)

    def stuck(self, state: PenaltyPathState) -> bool:
        """Whether the last line search failed."""
        return state.stuck


def tangent(objective: Objective, point: Float, level: float, next_level: float) -> Float:
    """The term that the path's tangent, in log μ, adds to Newton's equation between two levels."""
    before, after = objective.levels.diagonal(level), objective.levels.diagonal(next_level)
    ratio = np.ones_like(before)
    np.divide(before, after, out=ratio, where=after > 0)
    return np.asarray(np.log(ratio) * before * point)
