"""Methods one after the other: when one gives way to the next, which goes on from the best point.

One rule for all of them: a method gives way where it is stuck, where its steps change nothing, and where, its gap
falling on as it did in the latter half of what it has cost so far, more is to come than what follows it costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, final

from crosshead.objective.facts import Facts, Trait
from crosshead.solvers.continuation import Carried
from crosshead.solvers.loop import MOST_UNCHANGED, Changes, Method, Run, check_needs
from crosshead.solvers.protocol import Float

LEAST_TOL = 1e-15  # of what is foretold


def always(facts: Facts) -> bool:
    """For any objective."""
    return True


def no_forecast(facts: Facts) -> float:
    """The method is left only where it is stuck."""
    return math.inf


@dataclass(frozen=True)
class Stage:
    """A method, and when it gives way.

    * ``fits``: for which objectives the stage is one at all
    * ``worth``: what the methods after it cost together, in passes
    * ``trial``: what the method costs before anything is foretold, in passes
    * ``slowing``: how many times as long the rest usually takes as the fall of the gap so far says
    * ``rests``: below which gap it may rest long and then fall at once, so that nothing is foretold of it before the
      method has cost what the next ones do
    """

    method: type[Method[Any]]
    fits: Callable[[Facts], bool] = always
    worth: Callable[[Facts], float] = no_forecast
    trial: float = 0.0
    slowing: float = 1.0
    rests: float = 0.0


class Seen(NamedTuple):
    """The gap of a method that had cost so much, in passes."""

    cost: float
    gap: float


@dataclass(frozen=True)
class StagesState:
    """The method at work with its state, the number of the one after it, and what had been spent before it.

    ``seen`` is what came to pass since.
    """

    method: Method[Any]
    inner: Any
    stage: Stage
    following: int
    before: float
    seen: list[Seen] = field(default_factory=list)


@final
@dataclass(frozen=True)
class Stages:
    """The methods of ``stages`` in turn; ``carried`` is what the fits of a path leave for each other."""

    stages: tuple[Stage, ...]
    carried: Carried | None = None

    title: ClassVar[str] = "one method after the other"
    needs: ClassVar[frozenset[Trait]] = frozenset()

    def start(self, run: Run, point: Float) -> StagesState:
        """Start the first that fits."""
        return self._begun(run, self._next(run, 0), point)

    def step(self, run: Run, state: StagesState) -> StagesState:
        """A step of the method at work, or the start of the next."""
        stage = state.stage
        if state.following < len(self.stages):
            state.seen.append(Seen(run.cost - state.before, run.gap))
            still = run.changes.unchanged + 1 >= MOST_UNCHANGED  # one more, and the run would end
            behind = falls_behind(state.seen, stage, stage.worth(run.objective.facts), run.tol)
            if still or behind or state.method.stuck(state.inner):
                return self._begun(run, state.following, run.best.point)
        return replace(state, inner=state.method.step(run, state.inner))

    def stuck(self, state: StagesState) -> bool:
        """Whether the last one is."""
        return state.following == len(self.stages) and state.method.stuck(state.inner)

    def _next(self, run: Run, number: int) -> int:
        """The first stage from a number on that fits; their count where there is none."""
        facts = run.objective.facts
        return next((n for n in range(number, len(self.stages)) if self.stages[n].fits(facts)), len(self.stages))

    def _begun(self, run: Run, number: int, point: Float) -> StagesState:
        stage, following = self.stages[number], self._next(run, number + 1)
        method = made(stage.method, self.carried)
        check_needs(method, run.objective.facts)
        run.changes, before = Changes(), run.cost
        return StagesState(method, method.start(run, point), stage, following, before)


def made(method: type[Method[Any]], carried: Carried | None) -> Method[Any]:
    """A method with what is carried, where it takes that."""
    if carried is not None and "carried" in getattr(method, "__dataclass_fields__", {}):
        return method(carried=carried)  # type: ignore[call-arg]
    return method()


def falls_behind(seen: list[Seen], stage: Stage, worth: float, tol: float) -> bool:
    """Whether a method has more to come than what follows it costs, ``worth``.

    Example:
        >>> slow, fast = [Seen(10, 0.9), Seen(20, 0.8)], [Seen(10, 0.9), Seen(20, 0.01)]
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
    return stage.slowing * math.log(now.gap / max(tol, LEAST_TOL)) / rate > worth
