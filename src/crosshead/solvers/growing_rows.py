"""Few rows first: the minimiser over some rows is a start from which few steps over all of them are left.

A step over a sixteenth of the rows costs a sixteenth, and far from the optimum it leads as far as one over all rows
(Daneshmand, Lucchi and Hofmann, ICML 2016). With a penalty that is as strong beside each row's loss, the optimum of the
few is about as far from that of all as few rows can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from crosshead.solvers.costs import row_stages
from crosshead.solvers.loop import Run
from crosshead.solvers.newton_cg import NewtonCG, NewtonCGState
from crosshead.solvers.protocol import Float


@dataclass
class GrowingState:
    """The stages to come, the run over the rows of this one, and the state of the method in it."""

    inner: NewtonCGState
    part: Run | None = None
    one_of: int = 1
    stages: list[int] = field(default_factory=list)
    steps: int = 0


@final
@dataclass(frozen=True)
class GrowingRows:
    """`NewtonCG` over one row of many, of fewer, and of all.

    * ``enough``: the gap at which a stage has told what its rows can tell
    * ``most_steps``: of a stage
    """

    method: NewtonCG = field(default_factory=NewtonCG)
    enough: float = 0.3
    most_steps: int = 12

    def start(self, run: Run, point: Float) -> GrowingState:
        """Evaluate the start; where it is near the optimum no stage is of use."""
        inner = self.method.start(run, point)
        stages = row_stages(run.objective.facts) if run.gap > self.enough else []
        return self._next(run, GrowingState(inner, stages=list(stages)), point)

    def step(self, run: Run, state: GrowingState) -> GrowingState:
        """A step of the stage; the last one goes over all rows."""
        if state.part is None:
            return replace(state, inner=self.method.step(run, state.inner))
        part, passes = state.part, state.part.passes
        inner = self.method.step(part, state.inner)
        run.count((part.passes - passes) / state.one_of)
        state = replace(state, inner=inner, steps=state.steps + 1)
        if part.gap > self.enough and not inner.stuck and state.steps < self.most_steps:
            return state
        return self._next(run, state, part.best.point)

    def stuck(self, state: GrowingState) -> bool:
        """Whether the method is, over all rows."""
        return state.part is None and state.inner.stuck

    def _next(self, run: Run, state: GrowingState, point: Float) -> GrowingState:
        """The next stage from a point."""
        if state.stages:
            one_of, *rest = state.stages
            part = Run(run.objective.on_rows(one_of), self.enough, run.max_time, exact=False, began=run.began)
            inner = self.method.start(part, point)
            run.count(part.passes / one_of)
            return GrowingState(replace(inner, share=state.inner.share), part, one_of, rest)
        if state.part is None:  # there were no stages
            return state
        inner = self.method.start(run, point)
        if run.best.value < inner.evaluation.value:  # few rows have misled
            inner = self.method.start(run, np.asarray(run.best.point))
        return GrowingState(replace(inner, share=state.inner.share))
