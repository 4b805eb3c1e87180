"""Preconditioned limited-memory BFGS for smooth objectives.

The two-loop recursion of Nocedal (Mathematics of Computation 35, 1980) started from the Kronecker metric in place of a
multiple of the identity, with a line search that accepts the unit step in almost every iteration, so that an iteration
costs one pass. The metric is rebuilt once the iterates have left the start, where the curvature was that of W = 0.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy.linalg.blas import daxpy

from crosshead.solvers.line_search import search
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective

MOST_PAIRS, LEAST_PAIRS = 100, 8
PAIR_ELEMENTS = 1 << 23  # numbers that the pairs hold together, beyond LEAST_PAIRS of them
REBUILD_AFTER = (5, 25, 100)  # iterations


def pairs_for(size: int) -> int:
    """How many pairs to remember: fewer of long vectors, where reading them would cost more than a pass."""
    return max(LEAST_PAIRS, min(MOST_PAIRS, PAIR_ELEMENTS // (2 * size)))


@dataclass
class Memory:
    """The last steps s with the changes y of the gradient, and the metric H₀ they correct."""

    metric: Any
    pairs: deque[tuple[Float, Float, float]]
    scale: float = 1.0

    def add(self, step: Float, change: Float) -> None:
        """Remember a pair of positive curvature; others would make the model indefinite."""
        curvature = float(step @ change)
        if curvature > 1e-14 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            self.pairs.append((step, change, 1.0 / curvature))

    def direction(self, objective: Objective, gradient: Float) -> Float:
        """−H g."""
        q = -gradient
        factors = []
        for step, change, inverse in reversed(self.pairs):
            factor = inverse * float(step @ q)
            factors.append(factor)
            q = daxpy(change, q, a=-factor)  # in place
        q = objective.pack(*self.metric.solve(*objective.unpack(q), self.scale))
        for (step, change, inverse), factor in zip(self.pairs, reversed(factors), strict=True):
            q = daxpy(step, q, a=factor - inverse * float(change @ q))
        return q

    def rescale(self, objective: Objective) -> None:
        """Match the metric's size to the curvature of the loss seen in the last step."""
        if not self.pairs:
            return
        _, change, inverse = self.pairs[-1]
        solved = objective.pack(*self.metric.solve(*objective.unpack(change)))
        size = float(change @ solved) * inverse
        self.scale = float(np.clip(1.0 / size, 1e-3, 1e3)) if size > 0 else 1.0


@dataclass
class LBFGSState:
    """Where the method is, its memory, and whether the last step failed."""

    evaluation: Any
    memory: Memory | None  # made by the first step
    iteration: int = 0
    stuck: bool = False


@final
@dataclass(frozen=True)
class LBFGS:
    """Minimise a smooth objective. ``objective`` overrides the run's own, for smoothed stages."""

    objective: Objective | None = None

    def start(self, run: Run, point: Float) -> LBFGSState:
        """Evaluate the start."""
        evaluation = run.evaluate(point, self.objective)
        return LBFGSState(evaluation, None)

    def step(self, run: Run, state: LBFGSState) -> LBFGSState:
        """One quasi-Newton step."""
        objective = self.objective or run.objective
        here = run.current(state.evaluation, objective)
        memory = state.memory or Memory(objective.metric(here), deque(maxlen=pairs_for(here.point.size)))
        if state.iteration in REBUILD_AFTER:
            memory.metric = objective.metric(here)
            memory.rescale(objective)
        direction = memory.direction(objective, here.gradient)
        if not float(direction @ here.gradient) < 0:
            memory.pairs.clear()
            direction = memory.direction(objective, here.gradient)
        there = search(lambda point: run.evaluate(point, objective), here, direction, exact=run.exact)
        if there is None:
            return self._recover(run, here, memory, state.iteration + 1)
        memory.add(there.point - here.point, there.gradient - here.gradient)
        memory.rescale(objective)
        return LBFGSState(there, memory, state.iteration + 1)

    def stuck(self, state: LBFGSState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck

    def _recover(self, run: Run, here: Any, memory: Memory, iteration: int) -> LBFGSState:
        """After a failed search: first forget the pairs, then go over to exact passes, then give up."""
        if run.coarse:
            run.refine()
            return LBFGSState(run.current(here, self.objective), memory, iteration)
        if memory.pairs:
            memory.pairs.clear()
            memory.scale = 1.0
            return LBFGSState(here, memory, iteration)
        if not run.exact:
            run.go_exact()
            return LBFGSState(run.evaluate(here.point, self.objective), memory, iteration)
        return LBFGSState(here, memory, iteration, stuck=True)
