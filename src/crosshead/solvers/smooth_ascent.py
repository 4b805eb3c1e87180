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

FIRST_SWEEPS, GROWTH, MOST_SWEEPS = 4, 1.5, 60  # between two certificates


@dataclass(frozen=True)
class SmoothAscentState:
    """The ascent with the sweeps to come, or the state of the method that has taken over."""

    ascent: Any
    sweeps: float = FIRST_SWEEPS
    after: Any = None


@final
@dataclass(frozen=True)
class SmoothAscent:
    """Minimise an objective that has an ascent (`Objective.dual.ascent`); ``after`` takes over where that is slow."""

    after: Method[Any]

    def start(self, run: Run, point: Float) -> SmoothAscentState:
        """The residuals at the starting point."""
        run.exact = True
        run.evaluate(point)
        return SmoothAscentState(run.objective.dual.ascent(run.objective.unpack(point) if point.any() else None))

    def step(self, run: Run, state: SmoothAscentState) -> SmoothAscentState:
        """Some sweeps and a certificate, or a step of what has taken over."""
        if state.after is not None:
            return SmoothAscentState(None, after=self.after.step(run, state.after))
        ascent, objective, before = state.ascent, run.objective, run.gap
        for _ in range(round(state.sweeps)):  # one by one: nothing interrupts one that is under way
            objective.dual.ascend(ascent, 1)
            if run.out_of_time:
                break
        weight, dual = ascent.settle()
        evaluation = run.evaluate(objective.pack(weight, ascent.bias.copy()))
        run.record(objective.certified_by(evaluation, dual))
        if not run.gap < before:
            return SmoothAscentState(None, after=self.after.start(run, run.best.point))
        ascent.follow_bias(dual.bias_gradient)
        return SmoothAscentState(ascent, min(GROWTH * state.sweeps, MOST_SWEEPS))

    def stuck(self, state: SmoothAscentState) -> bool:
        """Whether what has taken over is stuck."""
        return state.after is not None and self.after.stuck(state.after)
