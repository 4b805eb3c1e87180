"""Hinges with an L2 penalty on many rows: dual coordinate ascent, and Newton steps for what it does not reach.

A sweep costs about one pass and brings the dual objective most of the way where α is large; every few sweeps the
residuals are certified as they are. Where what is left would take more sweeps than Newton steps are worth, the method
of multipliers goes on from the residuals; and where that one is out of reach or stuck, the path of smoothed problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.solvers.loop import Run
from crosshead.solvers.multipliers import Multipliers, MultiplierState
from crosshead.solvers.protocol import Float
from crosshead.solvers.smoothing import FIRST_WIDTH, PathFollowing, PathState

FIRST_SWEEPS, GROWTH, MOST_SWEEPS = 4, 1.5, 60  # between two certificates
PATIENCE, ENOUGH = 50, 0.8  # sweeps, after which a gap must be this share of the one two certificates before
LEAST_SWEEPS = 15  # before anything is foretold
SLOWING = 3.0  # times as many sweeps are to come as there would be if the gap went on falling as it did
LEAST_WIDTH = 1e-6
LEAST_TOL = 1e-15  # of what is foretold


@dataclass(frozen=True)
class AscentState:
    """The ascent with the sweeps to come and the gap before its last certificate, or what has taken over.

    ``wide`` says that the path began at its widest stage.
    """

    ascent: Any
    sweeps: float = FIRST_SWEEPS
    last: float = np.inf
    newton: MultiplierState | None = None
    path: PathState | None = None
    wide: bool = False


@final
@dataclass(frozen=True)
class DualAscent:
    """Minimise an objective that has an ascent (`Objective.dual.ascent`)."""

    def start(self, run: Run, point: Float) -> AscentState:
        """Residuals of zero, or those at weights that are not zero."""
        run.evaluate(point, run.objective.smoothed(FIRST_WIDTH))
        if not run.exact:
            run.go_exact()
        ascent = run.objective.dual.ascent()
        if point.any():
            run.objective.dual.begin(ascent, *run.objective.unpack(point))
            _certify(run, ascent)
        return AscentState(ascent)

    def step(self, run: Run, state: AscentState) -> AscentState:
        """Some sweeps and a certificate, or a step of what has taken over."""
        if state.path is not None:
            return _along(run, state.path, state.wide)
        if state.newton is not None:
            return _by_newton(run, state.newton)
        ascent, before = state.ascent, run.gap
        sweep(run, ascent, round(state.sweeps))
        evaluation, dual = _certify(run, ascent)
        if _slow(run, ascent, state, before):
            return _taken_over(run, ascent, evaluation.point)
        ascent.follow_bias(dual.bias_gradient)
        return AscentState(ascent, min(GROWTH * state.sweeps, MOST_SWEEPS), before)

    def stuck(self, state: AscentState) -> bool:
        """Whether the path has ended."""
        return state.wide and state.path is not None and PathFollowing().stuck(state.path)


def _certify(run: Run, ascent: Any) -> tuple[Any, Any]:
    """A pass at an ascent's weights, with the bound of its residuals; that, and the residuals' dual point."""
    width = float(np.clip(np.sqrt(min(run.gap, 4.0)), LEAST_WIDTH, FIRST_WIDTH))
    weight, dual = ascent.settle()
    objective = run.objective
    evaluation = run.evaluate(objective.pack(weight, ascent.bias.copy()), objective.smoothed(width))
    run.record(objective.certified_by(evaluation, dual))
    return evaluation, dual


def sweep(run: Run, ascent: Any, sweeps: int) -> None:
    """Sweeps one by one: nothing interrupts one that is under way, nor looks at the clock."""
    for _ in range(sweeps):
        run.objective.dual.ascend(ascent, 1)
        if run.out_of_time:
            return


def _slow(run: Run, ascent: Any, state: AscentState, before: float) -> bool:
    """Whether another method is worth its cost: by how the gap fell, and by the rows that sweeps still look at."""
    if ascent.sweeps >= PATIENCE and not run.gap <= ENOUGH * state.last:
        return True
    if ascent.sweeps < LEAST_SWEEPS or not run.gap > run.tol:
        return False
    worth = run.objective.dual.newton_sweeps
    if not (np.isfinite(worth) and np.isfinite(before)):
        return False
    awake = float(np.mean(ascent.waiting == 0))
    to_come = SLOWING * awake * round(state.sweeps) * np.log(run.gap / max(run.tol, LEAST_TOL))
    return bool(to_come > worth * np.log(before / run.gap))


def _taken_over(run: Run, ascent: Any, point: Float) -> AscentState:
    lagrangian = run.objective.dual.augmented
    if lagrangian is None:
        return AscentState(None, path=_path(run))
    return AscentState(None, newton=Multipliers().begin(run, lagrangian, point, ascent.residual))


def _by_newton(run: Run, newton: MultiplierState) -> AscentState:
    """A Newton step; the path takes over where there are no more."""
    if Multipliers().stuck(newton):
        return AscentState(None, path=_path(run))
    return AscentState(None, newton=Multipliers().step(run, newton))


def _along(run: Run, path: PathState, wide: bool) -> AscentState:
    """A step along the path. One that was entered at too narrow a width, and is stuck, begins anew at the widest."""
    if PathFollowing().stuck(path) and not wide:
        return AscentState(None, path=PathFollowing().start(run, run.best.point), wide=True)
    return AscentState(None, path=PathFollowing().step(run, path), wide=wide)


def _path(run: Run) -> PathState:
    """The path from the best point, at the width whose smoothing hides about as much as the gap that is left."""
    width = float(np.clip(np.sqrt(run.gap), LEAST_WIDTH, FIRST_WIDTH)) if np.isfinite(run.gap) else FIRST_WIDTH
    objective = run.objective.smoothed(width)
    return PathState(width, objective, run.evaluate(run.best.point, objective))
