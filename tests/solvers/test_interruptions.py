"""Fits that something ends: at any pass or sweep, by the clock, by the caller. What is kept is the best, certified."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.threads import one_blas_thread
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress, Result, loop, plan
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.stages import Stages

CLASSES = 3
WIDE: dict[str, Any] = {"dtype": np.float32, "rows": 400, "columns": 90}  # not small: passes are in single precision


def suited(method: Any) -> tuple[Any, str, float]:
    """A method with a loss and an l1_ratio that it can take."""
    loss = (
        "hinge"
        if method.needs & {"a loss with kinks", "a piecewise linear loss", "a loss of violations"}
        else "softmax"
    )
    return method(), loss, 0.5 if "an L1 part" in method.needs else 0.0


METHODS: dict[str, tuple[Any, str, float]] = {
    **{method.__name__: suited(method) for method in plan.METHODS},
    "hinge sweeps": (Stages(plan.HINGE_SWEEPS), "crammer_singer", 0.0),
    "sparse sweeps": (Stages(plan.SPARSE_SWEEPS), "squared_hinge", 0.0),
    "quasi-Newton": (Stages(plan.QUASI_NEWTON), "binary", 0.0),
}
by_method = pytest.mark.parametrize("kind", METHODS)


class Coarse:
    """Passes on features rounded to half precision, at weights of eight digits: bfloat16's part, on any machine."""

    resolution = 1e-5

    def __init__(self, data: TrainingData) -> None:
        rounded = data.features.astype(np.float16).astype(data.features.dtype)
        self._engine = make_engine("reference", replace(data, features=rounded))

    def on_grid(self, weight: Any) -> Any:
        digits, exponent = np.frexp(weight)
        return np.ldexp(np.rint(digits * 256) / 256, exponent)

    def evaluate(self, weight: Any, bias: Any, loss: Any) -> Any:
        return self._engine.evaluate(weight, bias, loss)


class Watched:
    """An engine that calls ``before`` ahead of every pass and sweep."""

    def __init__(self, engine: Any, before: Callable[[], None], coarse: Any = None) -> None:
        self._engine, self._before, self.coarse = engine, before, coarse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        self._before()
        return self._engine.evaluate(*arguments, **options)

    def ascend(self, *arguments: Any) -> None:
        self._before()
        self._engine.ascend(*arguments)


@dataclass
class Interruption:
    """Ctrl-C at the ``at``-th pass or sweep, once."""

    at: int
    seen: int = 0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


def objective_of(
    kind: str, before: Callable[[], None] = lambda: None, *, dtype: Any = np.float64, coarse: bool = False,
    alpha: float = 1e-3, threads: int = 1, rows: int = 60, columns: int = 4,
) -> Objective:  # fmt: skip
    _, name, l1_ratio = METHODS[kind]
    random = np.random.default_rng(4)
    y = random.integers(0, CLASSES, rows).astype(np.int32)
    X = (random.normal(size=(rows, columns)) + np.eye(CLASSES, columns)[y]).astype(dtype)
    data = TrainingData(X, y, CLASSES)
    plain = Objective(make_engine("auto", data, threads), get_loss(name), ElasticNet(alpha, l1_ratio))
    watched = Watched(plain.engine, before, Coarse(data) if coarse else None)
    objective = Objective(watched, plain.loss, plain.penalty)
    objective.certificate = plain.certificate  # its moments cost passes of their own, which are not watched
    return objective


def fit(kind: str, objective: Objective, **options: Any) -> Result:
    with one_blas_thread():
        start = np.zeros(objective.size)
        return minimise_with(METHODS[kind][0], objective, start, **{"tol": 1e-6, "max_iter": 300, **options})


def honest(kind: str, result: Result, tol: float = 1e-6) -> bool:
    """Whether a result says of its point what a fresh objective says."""
    again = objective_of(kind).evaluate(result.point)
    return bool(
        np.isclose(again.value, result.value, rtol=1e-12)
        and result.gap >= (result.value - result.bound) / result.value * (1 - 1e-9)
        and (result.status == "converged") == (result.gap <= tol)
    )


def interrupted(kind: str, most: int = 12, **options: Any) -> Iterator[tuple[Interruption, Result]]:
    """Fits that are interrupted at some of the passes and sweeps that an undisturbed fit takes."""
    whole = Interruption(at=0)
    fit(kind, objective_of(kind, whole, **options))
    for at in np.unique(np.linspace(2, whole.seen, most).astype(int)).tolist():
        interruption = Interruption(at)
        yield interruption, fit(kind, objective_of(kind, interruption, **options))


@by_method
def test_an_interrupt_at_any_pass_keeps_the_best(kind: str) -> None:
    for _, result in interrupted(kind):
        assert result.status in ("interrupted", "converged")
        assert honest(kind, result)
        assert result.value <= min(progress.objective for progress in result.history)


@pytest.mark.parametrize("kind", ["LBFGS", "quasi-Newton", "SparseNewton"])
@pytest.mark.parametrize("coarse", [False, True])
def test_an_interrupt_between_precisions_keeps_the_best(kind: str, coarse: bool) -> None:
    """Rounded passes are only half of a fit: one that is cut off on the way to exact ones has not lost its weights."""
    truth = objective_of(kind, **WIDE)
    first = truth.evaluate(np.zeros(truth.size)).value
    for interruption, result in interrupted(kind, most=40, coarse=coarse, **WIDE):
        assert result.status in ("interrupted", "converged")
        again = truth.evaluate(result.point)
        assert again.value == pytest.approx(result.value, rel=1e-12)
        assert result.value <= first
        assert interruption.seen < 12 or result.value < 0.9 * first


def test_who_asks_twice_is_let_go() -> None:
    def always() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("quasi-Newton", objective_of("quasi-Newton", always))


@by_method
def test_no_iteration_no_time_and_a_callback(kind: str) -> None:
    none = fit(kind, objective_of(kind), max_iter=0)
    assert none.status == "max_iter"
    assert none.iterations == 0
    late = fit(kind, objective_of(kind), max_time=0.0)
    assert late.status == "max_time"
    stopped = fit(kind, objective_of(kind), callback=lambda progress: progress.iteration == 2)
    assert stopped.status == "stopped"
    assert stopped.iterations == 2
    for result in (none, late, stopped):
        assert honest(kind, result)


@by_method
def test_a_callback_that_fails_is_heard(kind: str) -> None:
    def fails(progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(kind, objective_of(kind), callback=fails)


def test_dual_ascent_looks_at_the_clock_after_each_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of sixty sweeps is a long time on many rows."""
    sweeps = 0

    def count() -> None:
        nonlocal sweeps
        sweeps += 1

    ticks = itertools.count(time.perf_counter())
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    result = fit("DualAscent", objective_of("DualAscent", count), max_time=6.0, tol=0.0)
    assert result.status == "max_time"
    assert sweeps < 12


@by_method
def test_histories_only_improve_in_double_precision(kind: str) -> None:
    history = fit(kind, objective_of(kind)).history
    for series in ("objective", "gap"):
        values = [getattr(progress, series) for progress in history]
        assert all(after <= before for before, after in itertools.pairwise(values)), series
    for series in ("iteration", "passes", "seconds", "factorisations"):
        values = [getattr(progress, series) for progress in history]
        assert values == sorted(values), series


@by_method
def test_the_same_bits_for_any_number_of_threads(kind: str) -> None:
    points = [fit(kind, objective_of(kind, threads=threads, **WIDE)).point for threads in (1, 2, 3)]
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])


@pytest.mark.parametrize("coarse", [False, True])
def test_without_a_penalty_the_gradient_of_the_features_themselves_is_small(coarse: bool) -> None:
    """No certificate exists; what is called flat is so where the rounded features are not looked at."""
    objective = objective_of("quasi-Newton", coarse=coarse, alpha=0.0, **WIDE)
    result = fit("quasi-Newton", objective, tol=1e-3)
    assert result.status == "no_certificate"
    truth = objective_of("quasi-Newton", alpha=0.0, **WIDE)
    first, last = (np.abs(truth.evaluate(point).gradient).max() for point in (0 * result.point, result.point))
    assert last <= 1e-3 * first
