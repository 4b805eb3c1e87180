"""Smooth losses with an L2 penalty over sparse rows: dual coordinate ascent first, another method where it is slow.

A sweep costs less than a pass: it reads each row once, and of W only the features that the row has. How much of the gap
it closes follows from q = ‖x‖²/(αN), a row's curvature: most of it where q is about one, as it is for text at α = 1/N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.solvers.loop import Method, Run
from crosshead.solvers.protocol import Float

FIRST_SWEEPS = 5  # before the first certificate
MOST_GROWTH = 1.0  # times as many sweeps as there were so far, at most, before the next
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
        before = run.gap
        _ascend(run, ascent, _sweeps_to_come(ascent.sweeps, before, run.tol))
        idle = 0 if run.gap <= ENOUGH * before else state.idle + 1
        if idle == MOST_IDLE or ascent.sweeps >= MOST_SWEEPS:
            return SmoothAscentState(None, self.after.start(run, run.best.point))
        return SmoothAscentState(ascent, idle=idle)

    def stuck(self, state: SmoothAscentState) -> bool:
        """Whether what has taken over is stuck."""
        return state.ascent is None and self.after.stuck(state.after)


def _ascend(run: Run, ascent: Any, sweeps: int) -> None:
    """Sweeps one by one, for nothing interrupts one that is under way; and what they have come to."""
    objective = run.objective
    for _ in range(sweeps):
        objective.dual.ascend(ascent, 1)
        if run.out_of_time:
            break
    weight, dual = ascent.settle()
    evaluation = run.evaluate(objective.pack(weight, ascent.bias.copy()))
    run.record(objective.certified_by(evaluation, dual))
    ascent.follow_bias(dual.bias_gradient)


def _sweeps_to_come(sweeps: int, gap: float, tol: float) -> int:
    """As many as there will be, were the gap to fall as it did so far."""
    most = max(MOST_GROWTH * sweeps, FIRST_SWEEPS)
    if not (sweeps and 0 < gap < 1):
        return int(most)
    to_come = sweeps * np.log(gap / (BEYOND * max(tol, LEAST_TOL))) / -np.log(gap)
    return int(np.clip(np.ceil(to_come), 1, most))
