"""Smooth losses with an L2 penalty over sparse rows: dual coordinate ascent first, another method where it is slow.

A sweep costs less than a pass: it reads each row once, and of W only the features that the row has. How much of the gap
it closes follows from q = ‖x‖²/(αN), a row's curvature, and from how alike the rows are: most of it where q is about
one, as it is for text at α = 1/N. Quasi-Newton passes mind neither as much, but each of them costs products of vectors
of all parameters: where those are not long, the method gives way as soon as many sweeps are foretold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.solvers.dual_ascent import sweep
from crosshead.solvers.loop import Method, Run
from crosshead.solvers.protocol import Float

FIRST_SWEEPS = 5  # before the first certificate; before the next at most as many as there were
LONG = 1 << 18  # parameters
MOST_FORETOLD, FORETELLING = 40, 10  # sweeps to come that are too many for fewer; sweeps, before that counts
BEYOND = 0.5  # of tol: where the gap is aimed at
LEAST_TOL = 1e-15  # of what is foretold
STEEPEST = 12000.0  # q of a row on average; steeper ones take more sweeps than there is time for
MOST_SWEEPS = 4000
ENOUGH, MOST_IDLE = 0.97, 4  # a share of the gap, and so many certificates in turn that do not bring it there


@dataclass(frozen=True)
class SmoothAscentState:
    """The ascent with its certificates in turn that gained little, or the state of the method that has taken over."""

    ascent: Any
    after: Any = None
    idle: int = 0


@final
@dataclass(frozen=True)
class SmoothAscent:
    """Minimise an objective that has an ascent (`Objective.dual.ascent`); ``after`` takes over where that is slow."""

    after: Method[Any]

    def start(self, run: Run, point: Float) -> SmoothAscentState:
        """The first sweeps, from the residuals at the starting point, which is evaluated unless it is zero."""
        ascent = run.objective.dual.ascent()
        if ascent.steepness > STEEPEST:
            return SmoothAscentState(None, self.after.start(run, point))
        run.exact = True
        if point.any():
            run.evaluate(point)
            run.objective.dual.begin(ascent, *run.objective.unpack(point))
        else:
            _ascend(run, ascent, FIRST_SWEEPS)
        return SmoothAscentState(ascent)

    def step(self, run: Run, state: SmoothAscentState) -> SmoothAscentState:
        """Some sweeps and a certificate, or a step of what has taken over."""
        ascent = state.ascent
        if ascent is None:
            return SmoothAscentState(None, self.after.step(run, state.after))
        before, most = run.gap, max(ascent.sweeps, FIRST_SWEEPS)
        if run.objective.size < LONG:
            most = min(most, MOST_FORETOLD)
        _ascend(run, ascent, min(_foretold(ascent.sweeps, before, run.tol), most))
        idle = 0 if run.gap <= ENOUGH * before else state.idle + 1
        far = ascent.sweeps >= FORETELLING and _foretold(ascent.sweeps, run.gap, run.tol) > MOST_FORETOLD
        if idle == MOST_IDLE or ascent.sweeps >= MOST_SWEEPS or (far and run.objective.size < LONG):
            return SmoothAscentState(None, self.after.start(run, run.best.point))
        return SmoothAscentState(ascent, idle=idle)

    def stuck(self, state: SmoothAscentState) -> bool:
        """Whether what has taken over is stuck."""
        return state.ascent is None and self.after.stuck(state.after)


def _ascend(run: Run, ascent: Any, sweeps: int) -> None:
    """Sweeps, and what they have come to; the same where they are interrupted and there is nothing else to show."""
    try:
        sweep(run, ascent, sweeps)
    except KeyboardInterrupt:
        if run.best is None:
            _certify(run, ascent)
        raise
    _certify(run, ascent)


def _certify(run: Run, ascent: Any) -> None:
    weight, dual = ascent.settle()
    evaluation = run.evaluate(run.objective.pack(weight, ascent.bias.copy()))
    run.record(run.objective.certified_by(evaluation, dual))
    ascent.follow_bias(dual.bias_gradient)


def _foretold(sweeps: int, gap: float, tol: float) -> int:
    """How many sweeps are to come, were the gap to fall as it did so far."""
    if not (sweeps and 0 < gap < 1):
        return MOST_SWEEPS
    to_come = sweeps * np.log(gap / (BEYOND * max(tol, LEAST_TOL))) / -np.log(gap)
    return int(np.clip(np.ceil(to_come), 1, MOST_SWEEPS))
