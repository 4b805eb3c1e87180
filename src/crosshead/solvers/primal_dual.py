"""Newton's method on the weights and on a dual point at once: for features of very different scale.

What is scaled up is hardly penalised. A gap then asks for residuals that hardly see such a feature at all, and the
residuals of any weights do so only when those are found to many more digits than the value of F would need. Residuals
of their own are led there directly, by the same linear system as the weights (`crosshead.objective.row_duals`), as
interior-point methods lead theirs: rows that a feature sets apart, whose residuals end tiny, get there in a few steps,
where Newton's method on the weights alone would move their scores by one unit at a time (Chan, Golub and Mulet, SIAM
Journal on Scientific Computing 20, 1999, on why the primal-dual equations are the ones to linearise).

The equation is solved by conjugate gradients over all rows, preconditioned by a factorised Hessian. Scores of all rows
are kept, so that searching along a step costs no pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from crosshead.solvers.conjugate_gradients import conjugate_gradients
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float

FORCING, MOST_PRODUCTS, STALE_PRODUCTS = 0.03, 40, 8
LENGTHS = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
LESS_GAP, LESS_VALUE, MOST_IDLE = 0.9, 1 - 1e-5, 4  # shares of the least so far; so many steps in turn without


@dataclass
class PrimalDualState:
    """Where the weights and the residuals are, the factor in use, and how long nothing has come of it."""

    evaluation: Any
    scores: Float
    virtual: Float
    sums: Any
    factor: Any = None
    stale: bool = False
    least_gap: float = np.inf
    least_value: float = np.inf
    idle: int = 0
    stuck: bool = False


@final
@dataclass(frozen=True)
class PrimalDualNewton:
    """Minimise a smooth objective with an L2 penalty, and find the dual point that certifies it.

    So many steps in turn without a smaller gap or value, and it is stuck.
    """

    patience: int = MOST_IDLE

    def start(self, run: Run, point: Float) -> PrimalDualState:
        """Evaluate the start; its residuals are the first dual point."""
        run.evaluate(point)
        if not run.exact:
            run.go_exact()  # bounds are compared to less than single precision
        evaluation = run.best if run.best.point is point else run.evaluate(point)
        scores = run.objective.row_duals.scores(point, run.count)
        return self._with_bound(run, PrimalDualState(evaluation, scores, scores, None))

    def step(self, run: Run, state: PrimalDualState) -> PrimalDualState:
        """One step of both, and the bound of the new residuals."""
        objective, rows = run.objective, run.objective.row_duals
        factor = state.factor
        if factor is None or state.stale:
            leverage = rows.first_leverage
            if factor is not None:
                leverage = rows.leverage(factor, run.factorisations, run.count)
            state.factor = factor = None  # one at a time is in memory
            factor = rows.factored(state.virtual, leverage, run.factorisations)
            run.factorisations += 1
        if factor is None or state.sums is None:
            return replace(state, stuck=True)
        spent = run.passes
        hessian = rows.products(state.virtual, factor, count=run.count)
        direction = conjugate_gradients(hessian, -state.sums.pull, FORCING, MOST_PRODUCTS)
        direction = objective.without_shift(direction)
        stale = run.passes - spent > STALE_PRODUCTS
        if not np.isfinite(direction).all():
            return replace(state, stuck=True)
        change = rows.scores(direction, run.count)
        virtual = rows.follow(state.virtual, state.scores + change - state.virtual)
        length = best_length(rows, state, direction, change)
        if length:
            evaluation = run.evaluate(state.evaluation.point + length * direction)
            state = replace(state, evaluation=evaluation, scores=state.scores + length * change)
        virtual = state.scores if virtual is None else virtual
        return self._with_bound(run, replace(state, virtual=virtual, factor=factor, stale=stale))

    def stuck(self, state: PrimalDualState) -> bool:
        """Whether steps have led nowhere for a while."""
        return state.stuck

    def _with_bound(self, run: Run, state: PrimalDualState) -> PrimalDualState:
        """The sums of the state's residuals, their bound recorded, and whether the gap has become smaller."""
        sums = run.objective.row_duals.sums(state.virtual, state.scores, state.evaluation.point, run.count)
        if sums is None:
            return replace(state, stuck=True)
        run.record(run.objective.certified_by(state.evaluation, sums.dual))
        better = run.gap < LESS_GAP * state.least_gap or run.best.value < LESS_VALUE * state.least_value
        idle = 0 if better else state.idle + 1
        least = {"least_gap": min(run.gap, state.least_gap), "least_value": min(run.best.value, state.least_value)}
        return replace(state, sums=sums, idle=idle, stuck=idle >= self.patience, **least)


def best_length(rows: Any, state: PrimalDualState, direction: Float, change: Float) -> float:
    """The best of a few lengths of a step, 0 where none is better than where it starts: F is convex."""
    here = state.evaluation.point
    found, least = 0.0, np.inf
    for length in LENGTHS:
        value = rows.value(state.scores + length * change, here + length * direction)
        if value >= least:
            break
        if np.isfinite(value):
            found, least = length, value
    return found if least < rows.value(state.scores, here) else 0.0
