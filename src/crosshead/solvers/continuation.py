"""From one alpha to the next: what a fit has learnt of the curvature, kept exactly.

With F_α(w) = L(w) + α(1 − ρ)/2·‖W‖² + αρ‖W‖₁, the gradient of the smooth part changed by y along a step s. For
another alpha it would have changed by

    y′ = y + (α′ − α)(1 − ρ)·s    on W, and by y on b,

so the pairs (s, y) of a quasi-Newton method stay true pairs of the next problem. Its first step is then already the
tangent of the path w(α), and far more pairs are worth keeping than a single fit collects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from crosshead.solvers.initial_curvature import FIRST_SHARE, InitialCurvature, Renewal, look
from crosshead.solvers.lbfgs import LBFGS, LBFGSState, Memory, pairs_for
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective
from crosshead.solvers.proximal import MEMORY
from crosshead.solvers.sparse_newton import SparseNewton, SparseState, SupportModel
from crosshead.solvers.sparse_newton import look as look_at_rows

CARRIED_PAIRS = 120
CARRIED_ELEMENTS = 1 << 24  # numbers that the carried pairs hold together
METRIC_FACTOR = 3.0  # by how much until what only preconditions is made anew
LOOK_FACTOR = 8.0  # by how much alpha may fall before the curvature is looked at again
SETTLED_LOOKS, SETTLED_SHARE = 3, 0.001  # as a fit that has renewed its curvature so often

Pair = tuple[Float, Float]


@dataclass
class Carried:
    """What one alpha leaves for the next: pairs, and the curvature known at the alpha that it was looked at.

    ``rough`` says that steps with blocks of the Hessian led too far. ``looks`` are those taken so far, by alpha. Runs
    over other weights of the same rows may share the dictionary: they only steer.
    """

    looks: dict[float, Any] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    rough: bool = False
    l2_weight: float = 0.0
    alpha: float = np.inf
    built: float = np.inf
    metric: Any = None
    metric_alpha: float = np.inf

    def prepare(self, objective: Objective, look: Callable[[], Any]) -> tuple[Any, bool]:
        """Correct the pairs; return what is known of the curvature, and whether alpha leapt too far for it to last."""
        alpha, l2_weight = objective.alpha, objective.l2_weight
        if self.pairs:
            weight, bias = objective.unpack(np.zeros_like(self.pairs[0][0]))
            shrink = objective.pack(np.full_like(weight, l2_weight - self.l2_weight), bias)
            self.pairs = [(step, change + shrink * step) for step, change in self.pairs]
        leap = alpha * LOOK_FACTOR < self.alpha
        if alpha * LOOK_FACTOR < self.built:
            self.built = alpha
            if alpha not in self.looks:
                self.looks[alpha] = look()
        self.alpha, self.l2_weight = alpha, l2_weight
        return self.looks[self.built], leap


@final
@dataclass(frozen=True)
class CarriedLBFGS:
    """`LBFGS` that starts with the pairs and the metric of the last alpha, and leaves its own."""

    carried: Carried

    def start(self, run: Run, point: Float) -> LBFGSState:
        """Evaluate the start and take over what is carried."""
        evaluation = run.evaluate(point)

        def first_look() -> InitialCurvature:
            share = SETTLED_SHARE if self.carried.pairs else FIRST_SHARE
            return look(run.objective, evaluation, 0, Renewal(share, rough=self.carried.rough))

        known, leap = self.carried.prepare(run.objective, first_look)
        memory = Memory(known.at(run.objective.l2_weight), deque(maxlen=_most_pairs(point.size)))
        for step, change in self.carried.pairs:
            memory.add(run.objective, step, change)
        renewal = Renewal() if leap else Renewal(SETTLED_SHARE, SETTLED_LOOKS)
        return LBFGSState(evaluation, memory, replace(renewal, rough=self.carried.rough))

    def step(self, run: Run, state: LBFGSState) -> LBFGSState:
        """One quasi-Newton step."""
        state = LBFGS().step(run, state)
        if state.memory is not None:
            self.carried.pairs = [(step, change) for step, change, _ in state.memory.pairs]
        self.carried.rough = state.renewal.rough
        return state

    def stuck(self, state: LBFGSState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


@final
@dataclass(frozen=True)
class CarriedSparse:
    """`SparseNewton` that starts with the pairs and the curvature of the last alpha, and leaves its own."""

    carried: Carried

    def start(self, run: Run, point: Float) -> SparseState:
        """Evaluate the start and take over what is carried."""
        evaluation = run.evaluate(point)

        def first_look() -> Any:
            return look_at_rows(run.objective, evaluation, SETTLED_SHARE if self.carried.pairs else FIRST_SHARE)

        alpha = run.objective.alpha
        known, leap = self.carried.prepare(run.objective, first_look)
        state = SparseState(evaluation, pairs=deque(self.carried.pairs, maxlen=MEMORY))
        if known is not None:
            carried = self.carried
            if carried.metric is None or alpha * METRIC_FACTOR < carried.metric_alpha:
                carried.metric, carried.metric_alpha = known.on_support(), alpha
            state.model = SupportModel(run.objective, known.at(run.objective.l2_weight), state.pairs, carried.metric)
        if not leap:
            state.renewal, state.proximal_first = Renewal(SETTLED_SHARE), 1
        return state

    def step(self, run: Run, state: SparseState) -> SparseState:
        """One step of either kind."""
        state = SparseNewton().step(run, state)
        self.carried.pairs = list(state.pairs)
        return state

    def stuck(self, state: SparseState) -> bool:
        """Whether no point along the last direction was better."""
        return state.stuck


def extrapolate(points: list[Float], logs: list[float], log: float, *, keep_signs: int = 0) -> Float:
    """The point at log α on the line through the last two, (P,); the last one where there are no two.

    Of the first ``keep_signs`` entries those that would change their sign become zero, and zeros stay zeros.
    """
    if len(points) < 2 or not np.isfinite([log, *logs[-2:]]).all() or logs[-1] == logs[-2]:
        return points[-1]
    share = min((log - logs[-1]) / (logs[-1] - logs[-2]), 2.0)
    there = points[-1] + share * (points[-1] - points[-2])
    signed = there[:keep_signs]
    signed[np.sign(signed) != np.sign(points[-1][:keep_signs])] = 0.0
    return np.asarray(there)


def _most_pairs(size: int) -> int:
    return max(pairs_for(size), min(CARRIED_PAIRS, CARRIED_ELEMENTS // (2 * size)))
