"""Dual coordinate ascent, for hinges on many rows and for smooth losses on sparse ones, with an L2 penalty.

A sweep costs no more than about a pass: it reads each row once, and of W only the features that the row has. How much
of the gap it closes follows from q = ‖x‖²/(αN), a row's curvature, and from how alike the rows are: most of it where q
is about one, as it is for text at α = 1/N, or where α is large. After some sweeps the residuals are certified as they
are, at a pass over the rows; as many sweeps follow as the gap so far foretells, at most as many as there were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.smoothing import width_for
from crosshead.solvers.protocol import Float, Objective

FIRST_SWEEPS, MOST_SWEEPS = 5, 60  # before the first certificate, and between two of them
BEYOND = 0.5  # of tol: where the gap is aimed at
LEAST_TOL = 1e-15  # of what is foretold
STEEPEST = 12000.0  # q of a row on average: smooth losses on steeper ones take more sweeps than there is time for
ENOUGH, MOST_IDLE = 0.95, 4  # a share of the gap, and so many certificates in turn that do not bring it there


@dataclass(frozen=True)
class AscentState:
    """The ascent, and how many certificates in turn have gained little; no ascent where rows are too steep."""

    ascent: Any
    idle: int = 0


@final
@dataclass(frozen=True)
class DualAscent:
    """Minimise an objective that has an ascent (`Objective.dual.ascent`)."""

    title: ClassVar[str] = "dual coordinate ascent"
    needs: ClassVar[frozenset[Trait]] = frozenset({"sweeps over rows", "an L2 part", "no L1 part"})

    def start(self, run: Run, point: Float) -> AscentState:
        """Residuals of zero, or those at weights that are not zero."""
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
        """Some sweeps and a certificate."""
        if state.ascent is None:
            run.go_exact()  # alone it has nothing to add in any precision
            return state
        ascent, before = state.ascent, run.gap
        sweeps = min(_foretold(ascent.sweeps, before, run.tol), max(ascent.sweeps, FIRST_SWEEPS), MOST_SWEEPS)
        try:
            for _ in range(sweeps):  # one by one: nothing interrupts one that is under way, nor looks at the clock
                run.sweeps += float(np.mean(ascent.waiting == 0))
                run.objective.dual.ascend(ascent, 1)
                if run.out_of_time:
                    break
        finally:  # what interrupted sweeps came to is kept too
            _certify(run, ascent)
        return replace(state, idle=0 if run.gap <= ENOUGH * before else state.idle + 1)

    def stuck(self, state: AscentState) -> bool:
        """Whether certificates no longer gain anything."""
        return state.ascent is None or state.idle >= MOST_IDLE


def _surrogate(run: Run) -> Objective:
    """The objective at which a pass is taken: of a hinge, the one whose smoothing hides about as much as the gap."""
    return run.objective if run.objective.smooth else run.objective.smoothed(width_for(run.gap))


def _certify(run: Run, ascent: Any) -> None:
    """A pass at an ascent's weights, with the bound of its residuals."""
    weight, dual = ascent.settle()
    evaluation = run.evaluate(run.objective.pack(weight, ascent.bias.copy()), _surrogate(run))
    run.record(run.objective.certified_by(evaluation, dual))
    ascent.follow_bias(dual.bias_gradient)


def _foretold(sweeps: int, gap: float, tol: float) -> int:
    """How many sweeps are to come, were the gap to fall as it did so far."""
    if not (sweeps and 0 < gap < 1):
        return MOST_SWEEPS
    to_come = sweeps * np.log(gap / (BEYOND * max(tol, LEAST_TOL))) / -np.log(gap)
    return int(np.clip(np.ceil(to_come), 1, MOST_SWEEPS))
