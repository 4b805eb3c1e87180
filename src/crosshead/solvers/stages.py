"""Stages: methods one after the other; when one ends, the next continues from the best point.

One rule for all of them: a method ends when it is stuck, when its steps change nothing, and when its remaining cost,
extrapolated from the fall of the gap in the latter half of its cost so far, exceeds the cost of the next stages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, final

from crosshead.objective.facts import Facts, Trait
from crosshead.solvers.continuation import Carried
from crosshead.solvers.loop import MAX_UNCHANGED, Changes, Method, Run, check_needs
from crosshead.solvers.protocol import Float

MIN_TOL = 1e-15  # lower limit of tol in forecasts


def always(facts: Facts) -> bool:
    """True for any objective."""
    return True


def no_forecast(facts: Facts) -> float:
    """Infinity: the method ends only when it is stuck."""
    return math.inf


@dataclass(frozen=True)
class Stage:
    """A method, and when it is abandoned for the next.

    * ``fits``: the objectives for which the stage is used
    * ``worth``: cost of the methods after it together, in passes
    * ``trial``: cost of the method before the first forecast, in passes
    * ``slowing``: ratio of the usual remaining cost to the extrapolated one
    * ``rests``: gap below which it may stagnate and then fall at once, so that there is no forecast before the method
      has cost as much as the next ones would
    """

    method: type[Method[Any]]
    fits: Callable[[Facts], bool] = always
    worth: Callable[[Facts], float] = no_forecast
    trial: float = 0.0
    slowing: float = 1.0
    rests: float = 0.0


class Observation(NamedTuple):
    """The gap of a method at a cost in passes."""

    cost: float
    gap: float


@dataclass(frozen=True)
class StagesState:
    """The current method with its state, the index of the next stage, and the cost before this stage.

    ``seen`` has the observations since.
    """

    method: Method[Any]
    inner: Any
    stage: Stage
    following: int
    before: float
    seen: list[Observation] = field(default_factory=list)


@final
@dataclass(frozen=True)
class Stages:
    """The methods of ``stages`` in turn; ``carried`` is what the fits of a path carry over."""

    stages: tuple[Stage, ...]
    carried: Carried | None = None

    title: ClassVar[str] = "one method after the other"
    needs: ClassVar[frozenset[Trait]] = frozenset()

    def start(self, run: Run, point: Float) -> StagesState:
        """Start the first stage that fits."""
        return self._begun(run, self._next(run, 0), point)

    def step(self, run: Run, state: StagesState) -> StagesState:
        """Take a step of the current method, or start the next."""
        stage = state.stage
        if state.following < len(self.stages):
            state.seen.append(Observation(run.cost - state.before, run.gap))
            still = run.changes.unchanged + 1 >= MAX_UNCHANGED  # one more such step would end the run
            behind = falls_behind(state.seen, stage, stage.worth(run.objective.facts), run.tol)
            if still or behind or state.method.stuck(state.inner):
                return self._begun(run, state.following, run.best.point)
        return replace(state, inner=state.method.step(run, state.inner))

    def stuck(self, state: StagesState) -> bool:
        """Whether the last method is stuck."""
        return state.following == len(self.stages) and state.method.stuck(state.inner)

    def _next(self, run: Run, number: int) -> int:
        """The index of the first stage from ``number`` on that fits; the number of stages if none does."""
        facts = run.objective.facts
        return next((n for n in range(number, len(self.stages)) if self.stages[n].fits(facts)), len(self.stages))

    def _begun(self, run: Run, number: int, point: Float) -> StagesState:
        stage, following = self.stages[number], self._next(run, number + 1)
        method = made(stage.method, self.carried)
        check_needs(method, run.objective.facts)
        run.changes, before = Changes(), run.cost
        return StagesState(method, method.start(run, point), stage, following, before)


def made(method: type[Method[Any]], carried: Carried | None) -> Method[Any]:
    """Create a method, with ``carried`` if it takes that."""
    if carried is not None and "carried" in getattr(method, "__dataclass_fields__", {}):
        return method(carried=carried)  # type: ignore[call-arg]
    return method()


def falls_behind(seen: list[Observation], stage: Stage, worth: float, tol: float) -> bool:
    """Whether the forecast cost of a method exceeds the cost ``worth`` of the next stages.

    Example:
        >>> slow, fast = [Observation(10, 0.9), Observation(20, 0.8)], [Observation(10, 0.9), Observation(20, 0.01)]
        >>> [falls_behind(seen, Stage(Method, trial=20), 50, 1e-4) for seen in (slow, fast, slow[:1])]
        [True, False, False]
    """
    now = seen[-1]
    if not (now.gap > tol and math.isfinite(now.gap)) or now.cost < stage.trial or math.isinf(worth):
        return False
    if now.gap < stage.rests and now.cost < worth:
        return False
    half = max((one for one in seen if 2 * one.cost <= now.cost), default=seen[0])
    if half is now or not now.gap < half.gap:
        return True
    if not math.isfinite(half.gap):
        return False
    rate = math.log(half.gap / now.gap) / (now.cost - half.cost)
    return stage.slowing * math.log(now.gap / max(tol, MIN_TOL)) / rate > worth
