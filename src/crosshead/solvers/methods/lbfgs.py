"""Preconditioned limited-memory BFGS for smooth objectives.

The two-loop recursion of Nocedal (Mathematics of Computation 35, 1980), started from the curvature of subsampled rows
instead of a multiple of the identity, with a line search that accepts the unit step in almost every iteration, so that
an iteration costs one pass. The pairs correct the error of the subsample.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.losses.protocol import Array
from crosshead.objective.facts import Trait
from crosshead.solvers.continuation import SETTLED_RENEWALS, SETTLED_SHARE, Carried
from crosshead.solvers.initial_curvature import InitialCurvature, Renewal, estimate_curvature
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.line_search import search
from crosshead.solvers.numerics.long_vectors import add_multiple, dot, remembered
from crosshead.solvers.protocol import Float, Objective

MAX_PAIRS, MIN_PAIRS = 100, 8
MIN_CURVATURE = 1e-250  # of a pair: the inverse of a smaller one would overflow in products
PAIR_ELEMENTS = 1 << 23  # memory limit of the pairs, beyond MIN_PAIRS
CARRIED_PAIRS, CARRIED_ELEMENTS = 120, 1 << 24  # the same along a path, where more pairs are worth keeping


def pairs_for(size: int) -> int:
    """The number of pairs to store: fewer for long vectors, where reading them would cost more than a pass."""
    return max(MIN_PAIRS, min(MAX_PAIRS, PAIR_ELEMENTS // (2 * size)))


@dataclass
class Memory:
    """The last steps s with the changes y of the gradient, and the initial curvature."""

    initial: InitialCurvature
    pairs: deque[tuple[Array, Array, float]]

    def add(self, objective: Objective, step: Float, change: Float) -> None:
        """Add a pair of positive curvature; others would make the model indefinite."""
        curvature = float(step @ change)
        if curvature > max(1e-14 * float(np.linalg.norm(step) * np.linalg.norm(change)), MIN_CURVATURE):
            if len(self.pairs) == self.pairs.maxlen:
                self.pairs.popleft()  # first, to bound the memory: vectors may be as large as X
            self.pairs.append((remembered(step), remembered(change), 1.0 / curvature))
        del step, change
        self.match(objective)

    def renew(self, objective: Objective, here: Any, iteration: int, renewal: Renewal) -> None:
        """Estimate the curvature again, after freeing the last estimate."""
        del self.initial
        self.initial = estimate_curvature(objective, here, iteration, renewal)
        self.match(objective)

    def match(self, objective: Objective) -> None:
        """Fit the initial curvature to the last pair."""
        if self.pairs:
            self.initial = self.initial.match(objective, *self.pairs[-1][:2])

    def direction(self, objective: Objective, gradient: Float) -> Float:
        """−H g."""
        q = -gradient
        factors = []
        for step, change, inverse in reversed(self.pairs):
            factor = inverse * dot(step, q)
            factors.append(factor)
            add_multiple(change, -factor, q)
        q = self.initial.apply(objective, q)
        for (step, change, inverse), factor in zip(self.pairs, reversed(factors), strict=True):
            add_multiple(step, factor - inverse * dot(change, q), q)
        return q


@dataclass
class LBFGSState:
    """The state: evaluation, memory, renewal of the curvature, and whether the last step failed."""

    evaluation: Any
    memory: Memory | None = None  # made by the first step
    renewal: Renewal = field(default_factory=Renewal)
    iteration: int = 0
    stuck: bool = False


@final
@dataclass(frozen=True)
class LBFGS:
    """Minimise a smooth objective. ``objective`` overrides the run's own, for smoothed stages.

    With ``carried``, it starts with the pairs and the curvature of the last alpha of a path, and stores its own there.
    """

    title: ClassVar[str] = "L-BFGS"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "no L1 part"})

    objective: Objective | None = None
    carried: Carried | None = None

    def start(self, run: Run, point: Float) -> LBFGSState:
        """Evaluate the start and take over what was carried."""
        # Inverses of blocks do not change what all classes have in common; at the optimum it is zero.
        here = run.begin((self.objective or run.objective).without_common(point), self.objective)
        carried = self.carried
        if carried is None:
            return LBFGSState(here)
        known, leap = carried.prepare(
            run.objective,
            lambda share: estimate_curvature(
                run.objective, here, 0, Renewal(share, blocks_failed=carried.blocks_failed)
            ),
        )
        most = max(pairs_for(point.size), min(CARRIED_PAIRS, CARRIED_ELEMENTS // (2 * point.size)))
        memory = Memory(known.at(run.objective.l2_weight), deque(maxlen=most))
        for step, change in carried.pairs:
            memory.add(run.objective, step, change)
        renewal = Renewal() if leap else Renewal(SETTLED_SHARE, SETTLED_RENEWALS)
        return LBFGSState(here, memory, replace(renewal, blocks_failed=carried.blocks_failed))

    def step(self, run: Run, state: LBFGSState) -> LBFGSState:
        """Take one quasi-Newton step."""
        objective = self.objective or run.objective
        here = run.current(state.evaluation, objective)
        renewal = state.renewal
        memory = state.memory
        if memory is None:
            known = estimate_curvature(objective, here, state.iteration, renewal)
            memory = Memory(known, deque(maxlen=pairs_for(here.point.size)))
        elif renewal.due(memory.initial.interval):
            memory.renew(objective, here, state.iteration, renewal)
        direction = memory.direction(objective, here.gradient)
        if not float(direction @ here.gradient) < 0:
            memory.pairs.clear()
            direction = memory.direction(objective, here.gradient)
        passes = run.passes
        there = search(lambda point: run.evaluate(point, objective), here, direction, exact=run.exact)
        del direction  # vectors may be as large as X
        renewal.count(run.passes - passes)
        after = replace(state, memory=memory, iteration=state.iteration + 1)
        if there is None:
            return replace(after, evaluation=here, stuck=not run.recover(memory.pairs))
        memory.add(objective, there.point - here.point, there.gradient - here.gradient)
        if self.carried is not None:
            self.carried.pairs = [(step, change) for step, change, _ in memory.pairs]
            self.carried.blocks_failed = renewal.blocks_failed
        return replace(after, evaluation=there)

    def stuck(self, state: LBFGSState) -> bool:
        """Whether the last line search failed."""
        return state.stuck
