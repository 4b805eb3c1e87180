"""Methods one after the other: where one is stuck, the next goes on from the best point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

from crosshead.solvers.loop import Method, Run
from crosshead.solvers.protocol import Float


@dataclass(frozen=True)
class StagesState:
    """The state of the method at work, and its number."""

    inner: Any
    number: int = 0


@final
@dataclass(frozen=True)
class Stages:
    """The ``methods`` in turn."""

    methods: tuple[Method[Any], ...]

    def start(self, run: Run, point: Float) -> StagesState:
        """Start the first."""
        return StagesState(self.methods[0].start(run, point))

    def step(self, run: Run, state: StagesState) -> StagesState:
        """A step of the method at work, or the start of the next."""
        method = self.methods[state.number]
        if not method.stuck(state.inner):
            return replace(state, inner=method.step(run, state.inner))
        return StagesState(self.methods[state.number + 1].start(run, run.best.point), state.number + 1)

    def stuck(self, state: StagesState) -> bool:
        """Whether the last one is."""
        return state.number + 1 == len(self.methods) and self.methods[-1].stuck(state.inner)
