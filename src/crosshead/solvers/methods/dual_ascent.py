"""Dual coordinate ascent, for hinges on many rows and for smooth losses on sparse ones, with an L2 penalty.

A sweep costs about a pass: it reads each row once, and of W only the features that the row has. How much of the gap it
closes depends on q = ‖x‖²/(αN), a row's curvature, and on the similarity of the rows: most of it if q is about one, as
for text at α = 1/N, or if α is large. After some sweeps the residuals are certified by a pass over the rows; the number
of the next sweeps is extrapolated from the gap so far, and is at most the number of sweeps so far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.smoothing import width_for
from crosshead.solvers.protocol import Float, Objective

FIRST_SWEEPS, MAX_SWEEPS = 5, 60  # before the first certificate, and at most between two
BEYOND = 0.5  # of tol: the target of the gap
MIN_TOL = 1e-15  # lower limit of tol in forecasts
STEEPEST = 12000.0  # mean q of the rows: above it, smooth losses take too many sweeps
ENOUGH, MAX_IDLE = 0.95, 4  # share of the gap, and limit of certificates in a row that do not reduce it to that


@dataclass(frozen=True)
class AscentState:
    """The ascent, and the number of certificates in a row with little gain; no ascent if the rows' q is too large."""

    ascent: Any
    idle: int = 0


@final
@dataclass(frozen=True)
class DualAscent:
    """Minimise an objective that has an ascent (`Objective.dual.ascent`)."""

    title: ClassVar[str] = "dual coordinate ascent"
    needs: ClassVar[frozenset[Trait]] = frozenset({"sweeps over rows", "an L2 part", "no L1 part"})

    def start(self, run: Run, point: Float) -> AscentState:
        """Start at residuals of zero, or at those of non-zero weights."""
        ascent = run.objective.dual.ascent()
        if run.objective.smooth and ascent.steepness > STEEPEST:
            run.begin(point)
            return AscentState(None)
        run.go_exact()
        run.evaluate(point, _surrogate(run))
        if point.any():
            run.objective.dual.begin(ascent, *run.objective.unpack(point))
            _certify(run, ascent)
        run.residual = ascent.residual
        return AscentState(ascent)

    def step(self, run: Run, state: AscentState) -> AscentState:
        """Run some sweeps and certify."""
        if state.ascent is None:
            run.go_exact()  # on its own it has no use for inexact passes
            return state
        ascent, before = state.ascent, run.gap
        sweeps = min(_forecast_sweeps(ascent.sweeps, before, run.tol), max(ascent.sweeps, FIRST_SWEEPS), MAX_SWEEPS)
        try:
            for _ in range(sweeps):  # one by one, since a sweep cannot be interrupted or check the time
                run.sweeps += float(np.mean(ascent.waiting == 0))
                run.objective.dual.ascend(ascent, 1)
                if run.out_of_time:
                    break
        finally:  # the result of interrupted sweeps is kept too
            _certify(run, ascent)
        return replace(state, idle=0 if run.gap <= ENOUGH * before else state.idle + 1)

    def stuck(self, state: AscentState) -> bool:
        """Whether certificates no longer gain anything."""
        return state.ascent is None or state.idle >= MAX_IDLE


def _surrogate(run: Run) -> Objective:
    """The objective of a pass: for a hinge, smoothed such that the smoothing error is about the gap."""
    return run.objective if run.objective.smooth else run.objective.smoothed(width_for(run.gap))


def _certify(run: Run, ascent: Any) -> None:
    """Run a pass at the weights of the ascent, with the bound of its residuals."""
    weight, dual = ascent.settle()
    evaluation = run.evaluate(run.objective.pack(weight, ascent.bias.copy()), _surrogate(run))
    run.record(run.objective.certified_by(evaluation, dual))
    ascent.follow_bias(dual.bias_gradient)


def _forecast_sweeps(sweeps: int, gap: float, tol: float) -> int:
    """Forecast the number of remaining sweeps from the fall of the gap so far."""
    if not (sweeps and 0 < gap < 1):
        return MAX_SWEEPS
    to_come = sweeps * np.log(gap / (BEYOND * max(tol, MIN_TOL))) / -np.log(gap)
    return int(np.clip(np.ceil(to_come), 1, MAX_SWEEPS))
