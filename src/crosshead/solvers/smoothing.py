"""The hinges: solve smoothed problems, each started at the last one's solution, until the hinge's own gap closes.

A smoothed hinge's gradient is a feasible dual point of the hinge itself (Nesterov, Mathematical Programming 103, 2005),
so every pass of every stage certifies the problem that was asked for. The smoothing only decides how fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from crosshead.solvers.loop import Method, Run
from crosshead.solvers.protocol import Float, Objective, relative_gap

FIRST_WIDTH = 2.0
NARROWING = 0.25
LAST_WIDTH = 1e-9
SOLVED = 0.2  # a stage is done when its own gap is this share of the hinge's
STAGE_ITERATIONS = 200


@dataclass
class SmoothingState:
    """The stage's width, method and state."""

    width: float
    method: Method[Any]
    inner: Any
    iterations: int = 0
    stuck: bool = False


@final
@dataclass(frozen=True)
class Smoothing:
    """Continuation in the smoothing width. ``method`` makes the stage's solver for a smoothed objective."""

    method: Any  # Callable[[Objective], Method]

    def start(self, run: Run, point: Float) -> SmoothingState:
        """The widest stage."""
        return self._stage(run, point, FIRST_WIDTH)

    def step(self, run: Run, state: SmoothingState) -> SmoothingState:
        """A step of the stage, or the next stage."""
        if self._stage_done(run, state):
            if state.width <= LAST_WIDTH:
                return SmoothingState(state.width, state.method, state.inner, stuck=True)
            return self._stage(run, state.inner.evaluation.point, state.width * NARROWING)
        inner = state.method.step(run, state.inner)
        return SmoothingState(state.width, state.method, inner, state.iterations + 1)

    def stuck(self, state: SmoothingState) -> bool:
        """Whether even the narrowest stage is done."""
        return state.stuck

    def _stage(self, run: Run, point: Float, width: float) -> SmoothingState:
        objective: Objective = run.objective.smoothed(width)
        method = self.method(objective)
        return SmoothingState(width, method, method.start(run, point))

    def _stage_done(self, run: Run, state: SmoothingState) -> bool:
        if state.iterations >= STAGE_ITERATIONS or state.method.stuck(state.inner):
            return True
        evaluation = state.inner.evaluation
        own = relative_gap(evaluation.surrogate, evaluation.surrogate_bound)
        return own <= SOLVED * relative_gap(evaluation.value, evaluation.bound)
