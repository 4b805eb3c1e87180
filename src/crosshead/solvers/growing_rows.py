"""Few rows first: the minimiser over some rows is a start from which few passes over all of them are left.

A step over a sixteenth of the rows costs a sixteenth, and far from the optimum it leads as far as one over all rows
(Daneshmand, Lucchi and Hofmann, ICML 2016). With a penalty that is as strong beside each row's loss, the optimum of the
few is about as far from that of all as few rows can tell. What a stage has learnt of the curvature, the next one keeps:
a pair (s, y) of it is nearly one over more rows, but for the penalty's part of y.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from crosshead.solvers.costs import row_stages
from crosshead.solvers.initial_curvature import look
from crosshead.solvers.lbfgs import LBFGS, LBFGSState, Memory
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, relative_gap


@dataclass
class GrowingState:
    """The stages to come, the run over the rows of this one, and the state of the method in it."""

    inner: LBFGSState
    part: Run | None = None
    one_of: int = 1
    stages: list[int] = field(default_factory=list)
    steps: int = 0


@final
@dataclass(frozen=True)
class GrowingRows:
    """`LBFGS` over one row of many, of fewer, and of all.

    * ``enough``: the gap, but for the residuals' sums, at which a stage has told what its rows can tell
    * ``most_steps``: of a stage
    """

    method: LBFGS = field(default_factory=LBFGS)
    enough: float = 0.1
    most_steps: int = 40

    def start(self, run: Run, point: Float) -> GrowingState:
        """Evaluate the start; where it is near the optimum no stage is of use."""
        inner = self.method.start(run, point)
        stages = row_stages(run.objective.facts) if self._far(run) else []
        return self._next(run, GrowingState(inner, stages=list(stages)), point)

    def step(self, run: Run, state: GrowingState) -> GrowingState:
        """A step of the stage; the last one goes over all rows."""
        if state.part is None:
            return replace(state, inner=self.method.step(run, state.inner))
        part, passes = state.part, state.part.passes
        inner = self.method.step(part, state.inner)
        run.count((part.passes - passes) / state.one_of)
        run.ahead = part.best.point
        state = replace(state, inner=inner, steps=state.steps + 1)
        if self._far(part) and not inner.stuck and state.steps < self.most_steps:
            return state
        return self._next(run, state, part.best.point)

    def stuck(self, state: GrowingState) -> bool:
        """Whether the method is, over all rows."""
        return state.part is None and state.inner.stuck

    def _far(self, run: Run) -> bool:
        """Whether a run is still far from what its rows can tell."""
        gap = min(run.gap, relative_gap(run.best.value, run.objective.free_bound(run.best)))
        return not gap <= self.enough

    def _next(self, run: Run, state: GrowingState, point: Float) -> GrowingState:
        """The next stage from a point."""
        if state.stages:
            one_of, *rest = state.stages
            part = Run(run.objective.on_rows(one_of), self.enough, run.max_time, exact=False, began=run.began)
            inner = self._entered(state, part, point)
            run.count(part.passes / one_of)
            return GrowingState(inner, part, one_of, rest)
        if state.part is None:  # there were no stages
            return state
        inner, run.ahead = self._entered(state, run, point), None
        if run.best.value < inner.evaluation.value:  # few rows have misled
            inner = self.method.start(run, np.asarray(run.best.point))
        return GrowingState(inner)

    def _entered(self, state: GrowingState, run: Run, point: Float) -> LBFGSState:
        """The method at the start of a stage, with the pairs and the share of the last one."""
        inner, last = self.method.start(run, point), state.inner.memory
        if state.part is None or last is None:
            return inner
        objective = run.objective
        weight, bias = objective.unpack(np.zeros(objective.size))
        more = objective.l2_weight - state.part.objective.l2_weight
        charge = objective.pack(np.full_like(weight, more), bias)
        renewal = replace(state.inner.renewal, iterations=0, evaluations=0)
        memory = Memory(look(objective, inner.evaluation, 0, renewal), deque(maxlen=last.pairs.maxlen))
        for step, change, _ in last.pairs:
            memory.add(objective, step, change + charge * step)
        return replace(inner, memory=memory, renewal=renewal)
