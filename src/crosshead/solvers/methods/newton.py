"""Newton's method for smooth objectives with few curved rows, and the step that follows a path of smoothed problems.

The gradient of a smoothed hinge is piecewise linear, so its Jacobian is taken on one side of each kink (semismooth
Newton: Qi and Sun, Mathematical Programming 58, 1993). With few parameters the equation is solved by a Cholesky
factorisation, with many by conjugate gradients, preconditioned with the Kronecker metric of the curved rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.costs import factor_passes, forms_hessian
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients
from crosshead.solvers.numerics.line_search import search
from crosshead.solvers.protocol import Float, Objective

DRIFT_FORCING = 0.05
MAX_PRODUCTS = 150


@dataclass
class NewtonState:
    """The state: evaluation, relative residual of the next step, and whether the last step failed."""

    evaluation: Any
    forcing: float = 0.1
    stuck: bool = False


@final
@dataclass(frozen=True)
class Newton:
    """Minimise a smooth objective. ``objective`` overrides the run's own, for smoothed stages."""

    title: ClassVar[str] = "Newton, its Hessian factorised"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "no L1 part"})

    objective: Objective | None = None

    def start(self, run: Run, point: Float) -> NewtonState:
        """Evaluate the start."""
        return NewtonState(run.begin(point, self.objective))

    def step(self, run: Run, state: NewtonState) -> NewtonState:
        """Take one Newton step with a line search."""
        objective = self.objective or run.objective
        here = run.current(state.evaluation, objective)
        direction = _direction(objective, here, state.forcing)
        run.between += factor_passes(objective.facts)
        there = search(lambda point: run.evaluate(point, objective), here, direction, exact=run.exact)
        if there is not None:
            return NewtonState(there, state.forcing)
        return NewtonState(here, state.forcing, stuck=not run.recover())

    def stuck(self, state: NewtonState) -> bool:
        """Whether the last line search failed."""
        return state.stuck


def _direction(objective: Objective, here: Any, forcing: float) -> Float:
    """−H⁻¹∇f; by the matrix of all parameters where that costs least, else by what rows are curved."""
    if forms_hessian(objective.facts):
        diagonal = np.full(objective.n_weights, objective.l2_weight)
        step = objective.dense_hessian(here).solve(diagonal, -here.gradient)
        if step is not None:
            return objective.without_shift(step)
    newton = newton_step(objective, here, forcing)
    if newton is not None:
        return newton.step
    return -objective.pack(*objective.metric(here).solve(*objective.unpack(here.gradient)))


@dataclass(frozen=True)
class NewtonStep:
    """−H⁻¹∇f at a point, ``step``, and the direction dw/dμ = −H⁻¹ ∂∇f/∂μ of the path of minimisers, ``along``."""

    hessian: Any
    step: Float
    factored: Float | None

    @property
    def along(self) -> Float:
        """The direction ``along``; cheap if H was factorised."""
        if self.factored is not None:
            return self.factored
        return conjugate_gradients(self.hessian, -self.hessian.drift, DRIFT_FORCING, MAX_PRODUCTS)


def newton_step(objective: Objective, here: Any, forcing: float) -> NewtonStep | None:
    """The Newton step at a point; None if H is not available.

    If H is too large to factorise, the equation is solved to a residual of ``forcing`` times the gradient's norm.
    """
    hessian = objective.hessian(here)
    if hessian is None:
        return None
    steps = hessian.solve(np.column_stack([-here.gradient, -hessian.drift]))
    if steps is None:
        step = conjugate_gradients(hessian, -here.gradient, forcing, MAX_PRODUCTS)
        return NewtonStep(hessian, objective.without_shift(step), None)
    return NewtonStep(hessian, *(objective.without_shift(step) for step in steps.T))
