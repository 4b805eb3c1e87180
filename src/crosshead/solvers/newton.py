"""Newton's method for smooth objectives with few curved rows, and the step that follows a path of smoothed problems.

The gradient of a smoothed hinge is piecewise linear, so its Jacobian is taken on one side of each kink (semismooth
Newton: Qi and Sun, Mathematical Programming 58, 1993). Few parameters are solved for by Cholesky's factorisation, many
by conjugate gradients preconditioned with the Kronecker metric of the curved rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.solvers.line_search import search
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective

MOST_PRODUCTS = 150  # conjugate gradient iterations of one step


@dataclass
class NewtonState:
    """Where the method is, the share of the gradient its next step may leave, and whether the last step failed."""

    evaluation: Any
    forcing: float = 0.1
    stuck: bool = False


@final
@dataclass(frozen=True)
class Newton:
    """Minimise a smooth objective. ``objective`` overrides the run's own, for smoothed stages."""

    objective: Objective | None = None

    def start(self, run: Run, point: Float) -> NewtonState:
        """Evaluate the start."""
        return NewtonState(run.evaluate(point, self.objective))

    def step(self, run: Run, state: NewtonState) -> NewtonState:
        """One Newton step with a line search."""
        objective = self.objective or run.objective
        here = state.evaluation
        steps = newton_steps(objective, here, forcing=state.forcing)
        if steps is None:
            direction = -objective.pack(*objective.metric(here).solve(*objective.unpack(here.gradient)))
        else:
            direction = steps[0]
        there = search(lambda point: run.evaluate(point, objective), here, direction, exact=run.exact)
        if there is not None:
            return NewtonState(there, state.forcing)
        if not run.exact:
            run.go_exact()
            return NewtonState(run.evaluate(here.point, objective), state.forcing)
        return NewtonState(here, stuck=True)

    def stuck(self, state: NewtonState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


def newton_steps(objective: Objective, here: Any, *, forcing: float | None) -> tuple[Float, Float] | None:
    """−H⁻¹∇f and −H⁻¹ ∂∇f/∂μ at a point; None where H is out of reach.

    With a ``forcing`` what cannot be factorised is solved iteratively, to that share of the right side.
    """
    hessian = objective.hessian(here)
    if hessian is None:
        return None
    right = np.column_stack([-here.gradient, -hessian.drift])
    steps = hessian.solve(right)
    if steps is None and forcing is not None:
        columns = [conjugate_gradients(objective, hessian, column, forcing) for column in right.T]
        steps = np.column_stack(columns)
    return None if steps is None else (steps[:, 0], steps[:, 1])


def conjugate_gradients(objective: Objective, hessian: Any, right: Float, forcing: float) -> Float:
    """Preconditioned conjugate gradients from zero."""
    def precondition(vector: Float) -> Float:
        return objective.pack(*hessian.metric.solve(*objective.unpack(vector)))

    step, residual = np.zeros_like(right), right.copy()
    enough = forcing * float(np.linalg.norm(right))
    scaled = precondition(residual)
    along, product = scaled, float(residual @ scaled)
    for k in range(MOST_PRODUCTS):
        if float(np.linalg.norm(residual)) <= enough or not product > 0:
            break
        image = hessian.multiply(along)
        curvature = float(along @ image)
        if not curvature > 0:
            break
        length = product / curvature
        step = step + length * along
        residual = residual - length * image
        scaled = precondition(residual)
        previous, product = product, float(residual @ scaled)
        along = scaled + (product / previous) * along
    return step
