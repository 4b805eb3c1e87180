"""Newton's method for smooth objectives, its equation solved nearly by conjugate gradients over all rows.

Each step solves ∇²F s = −∇F to a residual of a third (inexact Newton: Dembo, Eisenstat and Steihaug, SIAM Journal on
Numerical Analysis 19, 1982), preconditioned by the blocks of each class with itself
(`crosshead.curvature.class_blocks`). At every point the bias is the best for its weights, so that the steps are those
of F as a function of W alone, and every pass has a bound that is near F.

The model mixes in a share of the curvature at zero scores: rows that are no longer curved would be again after a long
step. The share falls while unit steps are accepted, and rises when they are not (Levenberg and Marquardt's damping).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from crosshead.solvers.conjugate_gradients import Curvature, conjugate_gradients
from crosshead.solvers.costs import ROWS_A_FEATURE, build_passes, class_groups
from crosshead.solvers.line_search import search
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective

TINY = float(np.finfo(np.float64).tiny)


@dataclass
class NewtonCGState:
    """Where the method is, the share of the origin's curvature, its preconditioner, and the last step's decrement.

    ``fresh`` are the products that a step took right after the blocks were built, ``paid`` those beyond that since.
    """

    evaluation: Any
    share: float
    blocks: Any = None
    decrement: float = np.inf
    fresh: int = 0
    paid: int = 0
    builds: int = 0
    stuck: bool = False


@final
@dataclass(frozen=True)
class NewtonCG:
    """Minimise a smooth objective that keeps its scores.

    * ``forcing``: the residual of Newton's equation, measured by the preconditioner, that a step may leave
    * ``most_products``: with the Hessian, a step
    * ``first_share``, ``share_rise``, ``share_fall``: of the origin's curvature, and its factors after a step that was
      shortened and after one that was not
    * ``gap_ratio``: of the gap to Newton's decrement, half the fall of F that the model promises
    """

    objective: Objective | None = None
    forcing: float = 0.3
    most_products: int = 30
    first_share: float = 0.1
    share_rise: float = 5.0
    share_fall: float = 4.0
    gap_ratio: float = 6.0

    def start(self, run: Run, point: Float) -> NewtonCGState:
        """Evaluate the start."""
        return NewtonCGState(run.evaluate_balanced(point, self.objective), self.first_share)

    def step(self, run: Run, state: NewtonCGState) -> NewtonCGState:
        """One Newton step."""
        objective = self.objective or run.objective
        here = run.current(state.evaluation, objective)
        if here.residual is None:
            here = run.evaluate_balanced(here.point, objective)
        groups = class_groups(objective.facts)
        blocks = None if state.paid >= build_passes(objective.facts, groups) else state.blocks
        model = objective.newton_model(
            here,
            share=state.share,
            blocks=blocks,
            groups=groups,
            rows=round(ROWS_A_FEATURE * objective.n_features),
            seed=state.builds,
        )
        counted = Counted(model, run)
        try:
            direction = conjugate_gradients(counted, -here.gradient, self.forcing, self.most_products)
        except OutOfTimeError:
            return replace(state, evaluation=here)
        direction = objective.without_shift(direction)
        decrement = -float(direction @ here.gradient) / 2
        passes = run.passes
        there = search(lambda point: run.evaluate_balanced(point, objective), here, direction, exact=run.exact)
        if there is None:
            return self._recover(run, here, replace(state, blocks=model.metric))
        shortened = run.passes > passes + 1
        share = min(1.0, state.share * self.share_rise) if shortened else state.share / self.share_fall
        # From one step to the next it falls as it did last, or by what the equation's residual leaves.
        left = decrement * max(decrement / state.decrement, self.forcing**2)
        run.forecast = self.gap_ratio * left / max(abs(there.value), TINY)
        built = blocks is None
        fresh = counted.products if built else state.fresh
        paid = 0 if built else state.paid + max(0, counted.products - fresh)
        return NewtonCGState(there, share, model.metric, decrement, fresh, paid, state.builds + int(built))

    def stuck(self, state: NewtonCGState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck

    def _recover(self, run: Run, here: Any, state: NewtonCGState) -> NewtonCGState:
        """After a failed search: exact passes, then a model of shorter steps, then give up."""
        if not run.exact:
            run.go_exact()
            return replace(state, evaluation=run.current(here))
        if state.share < 1.0:
            return replace(state, evaluation=here, share=min(1.0, max(state.share, 1e-6) * 100.0), blocks=None)
        return replace(state, evaluation=here, stuck=True)


class OutOfTimeError(Exception):
    """A run's time is used up within a step."""


class Counted:
    """A matrix whose products count as passes of a run, and end with its time."""

    def __init__(self, matrix: Curvature, run: Run) -> None:
        self._matrix, self._run, self.products = matrix, run, 0

    def multiply(self, direction: Float) -> Float:
        """The product."""
        if self._run.out_of_time:
            raise OutOfTimeError
        self.products += 1
        self._run.count()
        return self._matrix.multiply(direction)

    def precondition(self, vector: Float) -> Float:
        """The approximate inverse's."""
        return self._matrix.precondition(vector)
