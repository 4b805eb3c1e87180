"""Methods one after the other: where one is stuck or hardly moves, the next goes on from the best point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

from crosshead.solvers.loop import MOST_UNCHANGED, Changes, Method, Run
from crosshead.solvers.protocol import Float


@dataclass(frozen=True)
class StagesState:
    """The state of the method at work, its number, its steps, and the gap when they were last judged."""

    inner: Any
    number: int = 0
    steps: int = 0
    gap: float = 1.0


@final
@dataclass(frozen=True)
class Stages:
    """The ``methods`` in turn, each until it is stuck.

    One that has a successor also gives way where ``patience`` steps leave more of the gap than the share ``enough``,
    unless it is ``near``.
    """

    methods: tuple[Method[Any], ...]
    patience: int = 40
    enough: float = 0.5
    near: float = 1e-3

    def start(self, run: Run, point: Float) -> StagesState:
        """Start the first."""
        return self._begun(run, 0, point)

    def step(self, run: Run, state: StagesState) -> StagesState:
        """A step of the method at work, or the start of the next."""
        method, last = self.methods[state.number], state.number + 1 == len(self.methods)
        judged = state.steps > 0 and state.steps % self.patience == 0
        slow = judged and not run.gap <= max(self.enough * state.gap, self.near)
        slow = slow or run.changes.unchanged + 1 >= MOST_UNCHANGED  # one more, and the run would end
        if not last and (slow or method.stuck(state.inner)):
            return self._begun(run, state.number + 1, run.best.point)
        gap = run.gap if judged else state.gap
        return replace(state, inner=method.step(run, state.inner), steps=state.steps + 1, gap=gap)

    def stuck(self, state: StagesState) -> bool:
        """Whether the last one is."""
        return state.number + 1 == len(self.methods) and self.methods[-1].stuck(state.inner)

    def _begun(self, run: Run, number: int, point: Float) -> StagesState:
        run.changes = Changes()
        return StagesState(self.methods[number].start(run, point), number, gap=run.gap)
