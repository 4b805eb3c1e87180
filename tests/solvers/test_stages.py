"""Stages: when a method is abandoned, and that the next one continues from its best point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.objective.facts import Trait
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import Run, minimise_with
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.stages import Observation, Stage, Stages, falls_behind


@dataclass(frozen=True)
class Idle:
    """Moves a little at every step, and never gets anywhere."""

    title: ClassVar[str] = "idle"
    needs: ClassVar[frozenset[Trait]] = frozenset()

    def start(self, run: Run, point: Any) -> Any:
        return run.evaluate(point + 0.1)

    def step(self, run: Run, state: Any) -> Any:
        return run.evaluate(state.point * 0.999)

    def stuck(self, state: Any) -> bool:
        return False


@dataclass(frozen=True)
class Stuck(Idle):
    """Is stuck where it starts."""

    def stuck(self, state: Any) -> bool:
        return True


def objective_of() -> Objective:
    random = np.random.default_rng(3)
    y = random.integers(0, 3, 90).astype(np.int32)
    X = random.normal(size=(90, 5)) + np.eye(3, 5)[y]
    return Objective(make_engine("reference", TrainingData(X, y, 3)), get_loss("softmax"), ElasticNet(1e-3))


def methods_of(run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (Idle, LBFGS):
        step = method.step

        def noted(self: Any, fit: Any, state: Any, step: Any = step) -> Any:
            run.append(type(self).__name__)
            return step(self, fit, state)

        monkeypatch.setattr(method, "step", noted)


def test_where_one_is_stuck_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    methods_of(steps, monkeypatch)
    objective = objective_of()
    result = minimise_with(
        Stages((Stage(Stuck), Stage(LBFGS))), objective, np.zeros(objective.size), tol=1e-6, max_iter=99
    )
    assert result.status == "converged"
    assert set(steps) == {"LBFGS"}


def test_one_that_hardly_moves_gives_way_once_it_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    methods_of(steps, monkeypatch)
    objective = objective_of()
    stages = Stages((Stage(Idle, worth=lambda facts: 20.0, trial=8), Stage(LBFGS)))
    result = minimise_with(stages, objective, np.zeros(objective.size), tol=1e-6, max_iter=99)
    assert result.status == "converged"
    assert steps.count("Idle") in (7, 8)


def test_the_last_one_never_gives_way() -> None:
    objective = objective_of()
    stages = Stages((Stage(Idle, worth=lambda facts: 0.0),))
    result = minimise_with(stages, objective, np.zeros(objective.size), tol=1e-6, max_iter=30)
    assert (result.status, result.iterations) == ("max_iter", 30)


def test_the_last_that_fits_may_be_stuck() -> None:
    """Once it could not: a stage after it that does not fit was waited for, and a stuck method stepped again."""
    objective = objective_of()
    stages = Stages((Stage(Stuck), Stage(LBFGS, fits=lambda facts: facts.sparse)))
    result = minimise_with(stages, objective, np.zeros(objective.size), tol=1e-6, max_iter=30)
    assert (result.status, result.iterations) == ("stalled", 0)


def test_a_stage_that_does_not_fit_is_left_out() -> None:
    objective = objective_of()
    stages = Stages((Stage(Idle, fits=lambda facts: facts.sparse), Stage(LBFGS)))
    assert minimise_with(stages, objective, np.zeros(objective.size), tol=1e-6, max_iter=50).status == "converged"


def test_what_is_foretold() -> None:
    """A gap that halves every ten passes needs log2(gap/tol)·10 more."""
    falling = [Observation(cost, 0.5 ** (cost / 10)) for cost in range(10, 110, 10)]
    to_come = 10 * np.log2(falling[-1].gap / 1e-6)
    stage = Stage(Idle)
    assert falls_behind(falling, stage, 0.99 * to_come, 1e-6)
    assert not falls_behind(falling, stage, 1.01 * to_come, 1e-6)
    assert falls_behind(falling, Stage(Idle, slowing=3), 2.9 * to_come, 1e-6)
    assert not falls_behind(falling, Stage(Idle, trial=101), 0.1, 1e-6)
    assert not falls_behind(falling, stage, np.inf, 1e-6)
    assert not falls_behind(falling, stage, 0.1, 1.0)
    assert not falls_behind(
        [Observation(1, np.inf), Observation(61, np.inf)], stage, 60.0, 1e-6
    )  # no certificate, no forecast
    rests = Stage(Idle, rests=0.5)
    assert not falls_behind(falling, rests, 101.0, 0.0)
    assert falls_behind([Observation(cost, 0.9) for cost in (10, 20, 40)], rests, 50.0, 1e-6)
