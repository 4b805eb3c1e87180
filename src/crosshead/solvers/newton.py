"""Newton's method for smooth objectives with few curved rows, and the step that follows a path of smoothed problems.

The gradient of a smoothed hinge is piecewise linear, so its Jacobian is taken on one side of each kink (semismooth
Newton: Qi and Sun, Mathematical Programming 58, 1993). Few parameters are solved for by Cholesky's factorisation, many
by conjugate gradients preconditioned with the Kronecker metric of the curved rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import linalg

from crosshead.solvers.line_search import search
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective

DENSE_PARAMETERS = 1500
MOST_PRODUCTS = 400  # conjugate gradient iterations of one step
BIAS_RIDGE = 1e-10  # of the largest diagonal entry: scores may be shifted by a constant without consequence


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
        hessian = objective.hessian(here)
        if hessian is None:
            direction = -objective.pack(*objective.metric(here).solve(*objective.unpack(here.gradient)))
        else:
            direction = solve(objective, hessian, -here.gradient, state.forcing)
        there = search(lambda point: run.evaluate(point, objective), here, direction, exact=run.exact)
        if there is not None:
            return NewtonState(there, state.forcing)
        if not run.exact:
            run.exact = True
            return NewtonState(run.evaluate(here.point, objective), state.forcing)
        return NewtonState(here, stuck=True)

    def stuck(self, state: NewtonState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


def solve(objective: Objective, hessian: Any, right: Float, forcing: float) -> Float:
    """∇²F⁻¹ applied to a flat vector, to a residual of ``forcing`` times its norm."""
    if len(right) <= DENSE_PARAMETERS:
        return _direct(objective, hessian, right)
    return conjugate_gradients(objective, hessian, right, forcing)


def _direct(objective: Objective, hessian: Any, right: Float) -> Float:
    matrix = hessian.matrix()
    diagonal = np.einsum("ii->i", matrix)
    _, bias = objective.unpack(diagonal)  # a view
    bias += BIAS_RIDGE * float(diagonal.max(initial=0.0)) + np.finfo(np.float64).tiny
    try:
        factor = linalg.cho_factor(matrix, check_finite=False)
    except linalg.LinAlgError:
        return np.asarray(linalg.lstsq(matrix, right, check_finite=False)[0])
    step = linalg.cho_solve(factor, right, check_finite=False)
    return np.asarray(step + linalg.cho_solve(factor, right - hessian.multiply(step), check_finite=False))


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
