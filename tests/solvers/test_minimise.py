"""How a fit ends: by its certificate, or for a reason that it names; what is kept, counted and reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress, Result, minimise, relative_gap

SMOOTH = [name for name in LOSSES if get_loss(name).smooth]
SLOW = [name for name in LOSSES if name != "squared_error"]  # whose first step is the last
KINKED = [name for name in LOSSES if not get_loss(name).smooth]


def problem(
    name: str = "softmax",
    *,
    alpha: float = 1e-2,
    l1_ratio: float = 0.0,
    dtype: Any = np.float64,
    spread: float = 1.0,
    rows: int = 150,
    columns: int = 6,
) -> Objective:
    random = np.random.default_rng(5)
    y = random.integers(0, 3, rows).astype(np.int32)
    X = random.normal(size=(rows, columns)) + spread * np.eye(3, columns)[y]
    engine = make_engine("auto", TrainingData(X.astype(dtype), y, 3))
    return Objective(engine, get_loss(name), ElasticNet(alpha, l1_ratio))


def fit(objective: Objective, start: Any = None, **options: Any) -> Result:
    return minimise(objective, np.zeros(objective.size) if start is None else start, **options)


def assert_consistent(objective: Objective, result: Result, tol: float) -> None:
    """What every result promises, however it ended."""
    again = objective.evaluate(result.point)
    assert result.value == pytest.approx(again.value, rel=1e-13)
    assert result.gap == relative_gap(result.value, result.bound)
    assert (result.status == "converged") == (result.gap <= tol)
    assert result.value <= objective.evaluate(np.zeros(objective.size)).value
    assert result.message
    last = result.history[-1]
    assert (last.objective, last.gap, last.passes) == (result.value, result.gap, result.passes)
    assert last.iteration == result.iterations


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("alpha", [1e-4, 1.0])
def test_converged_means_a_gap_of_at_most_tol(name: str, dtype: Any, alpha: float) -> None:
    objective = problem(name, dtype=dtype, alpha=alpha)
    for tol in (1e-2, 1e-5):
        result = fit(objective, tol=tol)
        assert result.status == "converged"
        assert_consistent(objective, result, tol)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_float32_fit_reaches_float64_quality(name: str, dtype: Any) -> None:
    objective = problem(name, dtype=dtype)
    result = fit(objective, tol=1e-12)
    assert result.status == "converged"
    gradient = objective.evaluate(result.point).gradient
    assert np.abs(gradient).max() < 1e-5 * np.abs(objective.evaluate(np.zeros(objective.size)).gradient).max()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_history_is_what_the_callback_saw(name: str, l1_ratio: float) -> None:
    seen: list[Progress] = []
    result = fit(problem(name, l1_ratio=l1_ratio), tol=1e-3, max_iter=60, callback=seen.append)
    assert result.history[:-1] == seen  # the last line is the final certificate
    for before, after in zip(result.history, result.history[1:], strict=False):
        assert after.iteration in (before.iteration, before.iteration + 1)
        assert after.passes >= before.passes
        assert after.seconds >= before.seconds
        assert after.objective <= before.objective * (1 + 1e-12)
        assert after.gap <= before.gap * (1 + 1e-9) + 1e-15
    assert seen[0].iteration == 0


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_max_iter(name: str, l1_ratio: float) -> None:
    objective = problem(name, l1_ratio=l1_ratio, alpha=1e-4)
    for most in (1, 3):
        result = fit(objective, tol=1e-10, max_iter=most)
        assert (result.status, result.iterations) == ("max_iter", most)
        assert_consistent(objective, result, 1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_max_time(name: str) -> None:
    objective = problem(name, alpha=1e-5)
    result = fit(objective, tol=1e-14, max_time=0.0)
    assert (result.status, result.iterations) == ("max_time", 0)
    assert_consistent(objective, result, 1e-14)
    assert fit(objective, tol=1e-2, max_time=60.0).status == "converged"


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_a_callback_stops_the_fit_by_a_true_answer(name: str, l1_ratio: float) -> None:
    objective = problem(name, l1_ratio=l1_ratio, alpha=1e-4)
    for when in (0, 2):
        result = fit(objective, tol=1e-10, callback=lambda progress, when=when: progress.iteration == when)
        assert (result.status, result.iterations) == ("stopped", when)
        assert_consistent(objective, result, 1e-10)


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_interrupt_keeps_the_best(name: str, dtype: Any) -> None:
    objective = problem(name, dtype=dtype, alpha=1e-4)
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if progress.iteration == 2:
            raise KeyboardInterrupt

    result = fit(objective, tol=1e-12, callback=interrupt)
    assert (result.status, result.iterations) == ("interrupted", 2)
    assert_consistent(objective, result, 1e-12)
    assert result.value <= seen[-1].objective * (1 + 1e-5)


def test_an_interrupt_before_the_first_pass_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = problem()

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(objective, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(objective)


def test_another_error_in_a_callback_is_passed_on() -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(problem(), callback=fail)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_warm_start_at_the_solution_is_cheap(name: str, dtype: Any) -> None:
    objective = problem(name, dtype=dtype)
    cold = fit(objective, tol=1e-4)
    warm = fit(objective, start=cold.point, tol=1e-4)
    assert warm.status == "converged"
    assert warm.passes <= cold.passes
    if objective.smooth:
        assert warm.iterations <= 1
        assert warm.passes <= 4


def test_a_warm_start_nearby_is_cheaper() -> None:
    path = [problem(alpha=alpha) for alpha in (1e-2, 8e-3)]
    first = fit(path[0], tol=1e-8)
    assert fit(path[1], start=first.point, tol=1e-8).passes < fit(path[1], tol=1e-8).passes


def test_the_start_is_not_written_to() -> None:
    for name in LOSSES:
        for l1_ratio in (0.0, 0.5):
            objective = problem(name, l1_ratio=l1_ratio)
            start = np.random.default_rng(1).normal(size=objective.size)
            kept = start.copy()
            fit(objective, start=start, max_iter=5)
            np.testing.assert_array_equal(start, kept)


@pytest.mark.parametrize("name", SMOOTH)
def test_alpha_zero_is_never_called_converged(name: str) -> None:
    objective = problem(name, alpha=0.0, spread=0.3)
    result = fit(objective, tol=1e-6)
    assert result.status == "no_certificate"
    assert (result.gap, result.bound) == (np.inf, -np.inf)
    gradient = objective.evaluate(result.point).gradient
    assert np.abs(gradient).max() < 1e-8 * np.abs(objective.evaluate(np.zeros(objective.size)).gradient).max()


@pytest.mark.parametrize("name", ["softmax", "binary"])
def test_separable_data_without_a_penalty_have_no_optimum(name: str) -> None:
    """The loss falls for ever; the fit ends by its budget, or because doubles see no difference any more."""
    objective = problem(name, alpha=0.0, spread=20.0)
    result = fit(objective, tol=1e-6, max_iter=15)
    assert result.status in ("max_iter", "no_certificate", "stalled")
    assert result.value < 1e-2
    assert np.isfinite(result.point).all()


@pytest.mark.parametrize("name", KINKED)
def test_hinges_without_a_penalty(name: str) -> None:
    objective = problem(name, alpha=0.0, spread=0.5)
    result = fit(objective, tol=1e-4, max_iter=300)
    assert result.status != "converged"
    easy = fit(problem(name, alpha=1e-6, spread=0.5), tol=1e-4)  # its loss is close to the smallest there is
    assert result.value <= 1.1 * easy.value


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("alpha", [1e-3, 1e-1])
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_the_conditions_of_optimality_with_an_l1_part(name: str, alpha: float, l1_ratio: float) -> None:
    objective = problem(name, alpha=alpha, l1_ratio=l1_ratio, columns=12)
    result = fit(objective, tol=1e-8)
    assert result.status == "converged"
    W, _ = objective.unpack(result.point)
    plain = Objective(objective.engine, objective.loss, ElasticNet(0.0))  # the gradient of the loss alone
    G, g = plain.unpack(plain.evaluate(result.point).gradient)
    first = plain.unpack(plain.evaluate(np.zeros(objective.size)).gradient)[0]
    assert objective.penalty.subdifferential_distance(W, G) < 1e-2 * np.linalg.norm(first)
    assert np.abs(g).max() < 1e-2
    zero = W == 0
    assert (np.abs(G[zero]) <= objective.l1_weight * (1 + 1e-2)).all()
    if alpha == 1e-1:
        assert zero.mean() > 0.3  # zeros to the last bit
        assert not (zero.all() and l1_ratio < 1)


@pytest.mark.parametrize("name", LOSSES)
def test_a_large_l1_part_leaves_nothing(name: str) -> None:
    objective = problem(name, alpha=100.0, l1_ratio=1.0)
    result = fit(objective, tol=1e-5)
    assert result.status == "converged"
    assert not objective.unpack(result.point)[0].any()


@pytest.mark.parametrize("name", LOSSES)
def test_features_of_very_different_scales(name: str) -> None:
    """Preconditioning is internal: X·S has the same fits as a penalty of α/S² would, and as few iterations."""
    random = np.random.default_rng(8)
    y = random.integers(0, 3, 200).astype(np.int32)
    X = (random.normal(size=(200, 8)) + np.eye(3, 8)[y]) * 10 ** random.uniform(-3, 3, 8)
    objective = Objective(make_engine("auto", TrainingData(X, y, 3)), get_loss(name), ElasticNet(1e-4))
    result = fit(objective, tol=1e-4)
    assert result.status == "converged"
    assert result.iterations < 150


def test_data_with_one_row_and_with_constant_features() -> None:
    for X in (np.ones((1, 3)), np.ones((6, 3)), np.zeros((6, 3)), np.zeros((6, 0))):
        y = (np.arange(len(X)) % 2).astype(np.int32)
        for name in LOSSES:
            for l1_ratio in (0.0, 1.0):
                engine = make_engine("auto", TrainingData(X, y, 2))
                objective = Objective(engine, get_loss(name), ElasticNet(0.1, l1_ratio))
                result = fit(objective, tol=1e-4, max_iter=100)
                assert np.isfinite(result.value)
                assert result.bound <= result.value * (1 + 1e-12) + 1e-12
                if len(X) > 1:
                    assert result.status == "converged", (name, l1_ratio, X.shape)


def test_relative_gap() -> None:
    assert relative_gap(2.0, 1.5) == 0.25
    assert relative_gap(2.0, 2.1) == 0.0
    assert relative_gap(2.0, -np.inf) == np.inf
    assert relative_gap(np.nan, 1.0) == np.inf
    assert relative_gap(np.inf, 1.0) == np.inf
    assert relative_gap(-2.0, -3.0) == 0.5
    assert relative_gap(0.0, 0.0) == 0.0
