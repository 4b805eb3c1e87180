"""A fit whose state no longer changes ends, whatever the last digits do."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.native import NativeEngine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.objective.facts import Trait
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise
from crosshead.solvers.loop import MAX_UNCHANGED, Changes, Run, minimise_with
from crosshead.solvers.numerics.line_search import search


def objective_of(alpha: float = 1e-3) -> Objective:
    random = np.random.default_rng(3)
    y = random.integers(0, 3, 90).astype(np.int32)
    X = random.normal(size=(90, 5)) + np.eye(3, 5)[y]
    return Objective(make_engine("reference", TrainingData(X, y, 3)), get_loss("softmax"), ElasticNet(alpha))


@dataclass(frozen=True)
class Repeating:
    """A method that says of every step that it is one, and moves in the last digit only."""

    objective: Objective | None = None

    title: ClassVar[str] = "repetition"
    needs: ClassVar[frozenset[Trait]] = frozenset()

    def start(self, run: Run, point: Any) -> int:
        run.evaluate(point, self.objective)
        return 0

    def step(self, run: Run, state: int) -> int:
        run.evaluate(run.best.point * (1 + (-1) ** state * 2**-52), self.objective)
        return state + 1

    def stuck(self, state: int) -> bool:
        return False


@pytest.mark.parametrize("alpha", [0.0, 1e-3])
def test_a_method_that_repeats_its_point_ends(alpha: float) -> None:
    objective = objective_of(alpha)
    start = np.random.default_rng(0).normal(size=objective.size)
    result = minimise_with(Repeating(), objective, start, tol=1e-6, max_iter=1000)
    assert result.status == "stalled"
    assert result.iterations <= 3 * MAX_UNCHANGED


def test_slow_progress_goes_on() -> None:
    """A value that falls by 1 % of its rounding per step changes after a hundred steps: it is not a repetition."""
    changes = Changes()
    for step in range(20 * MAX_UNCHANGED):
        changes.count(1.0 - step * 2e-15, np.inf, 1.0)
    assert not changes.ended
    for _ in range(MAX_UNCHANGED):
        changes.count(changes.value, np.inf, 1.0)
    assert changes.ended


def test_a_falling_gap_or_gradient_is_progress() -> None:
    changes = Changes()
    for step in range(20 * MAX_UNCHANGED):
        changes.count(1.0, 0.99**step, 1.0)
    assert not changes.ended
    changes = Changes()
    for step in range(20 * MAX_UNCHANGED):
        changes.count(1.0, np.inf, 0.4 ** (step // 5))
    assert not changes.ended


@dataclass(frozen=True)
class Point:
    point: Any
    surrogate: float
    gradient: Any


def test_an_equal_value_is_no_decrease() -> None:
    """A slope too small to be seen in the value: a step to an equal value where the slope has grown is refused."""
    here = Point(np.zeros(1), 1.0, np.array([-1e-20]))
    assert search(lambda point: Point(point, 1.0, np.array([1e-3])), here, np.ones(1), exact=True) is None
    there = search(lambda point: Point(point, 1.0, np.array([1e-22])), here, np.ones(1), exact=True)
    assert there is not None
    assert there.point == 1.0


KERNELS = {"Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512"}
"""Kernels of OpenBLAS, and the instruction set that a processor needs to run them."""


@pytest.mark.parametrize("kernel", KERNELS)
def test_fits_without_a_penalty_end_on_every_blas(kernel: str) -> None:
    """The last digits of a Newton step depend on the kernels; that such a fit ends does not."""
    native = pytest.importorskip("crosshead._native", reason="no native engine to ask for the instruction set")
    if not native.has_instruction_set(KERNELS[kernel]):
        pytest.skip(f"this processor has no {KERNELS[kernel]}")
    smooth = [name for name in LOSSES if get_loss(name).smooth]
    program = f"""
        import numpy as np
        from crosshead.engines import TrainingData, make_engine
        from crosshead.losses import get_loss
        from crosshead.objective import Objective
        from crosshead.penalties import ElasticNet
        from crosshead.solvers import minimise
        for name in {smooth!r}:
            for seed in range(8):
                random = np.random.default_rng(seed)
                y = random.integers(0, 3, 150).astype(np.int32)
                X = random.normal(size=(150, 6)) + 0.3 * np.eye(3, 6)[y]
                objective = Objective(make_engine("auto", TrainingData(X, y, 3)), get_loss(name), ElasticNet(0.0))
                result = minimise(objective, np.zeros(objective.size), tol=1e-6, max_iter=200)
                print(name, seed, result.status)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
        check=True,
    )
    ends = {line.split()[2] for line in done.stdout.splitlines()}
    assert ends == {"no_certificate"}, done.stdout


@pytest.mark.parametrize("instruction_set", ["plain", "avx2", "avx512", "avx512_bf16"])
def test_fits_without_a_penalty_end_on_every_instruction_set(instruction_set: str) -> None:
    native = pytest.importorskip("crosshead._native", reason="the native engine is what has instruction sets")
    if not native.has_instruction_set(instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")
    random = np.random.default_rng(7)
    y = random.integers(0, 4, 200).astype(np.int32)
    X = random.normal(size=(200, 9)) + 0.3 * np.eye(4, 9)[y]
    engine = NativeEngine(TrainingData(X, y, 4), None, instruction_set)
    objective = Objective(engine, get_loss("softmax"), ElasticNet(0.0))
    result = minimise(objective, np.zeros(objective.size), tol=1e-6, max_iter=200)
    assert result.status == "no_certificate"


def test_a_step_that_would_end_far_too_late_is_not_begun() -> None:
    run = Run(objective_of(), 1e-4, max_time=100.0, exact=True)
    assert not run.out_of_time
    run.last_step = 99.0
    assert not run.out_of_time
    run.last_step = 110.0
    assert run.out_of_time
    run.last_step, run.max_time = 0.0, 0.0
    assert run.out_of_time
