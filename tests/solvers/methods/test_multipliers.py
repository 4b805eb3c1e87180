"""The method of multipliers for hinges: the optima of other solvers, weights as repeated rows, and who takes over."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods import multipliers
from crosshead.solvers.methods.multipliers import Multipliers
from crosshead.solvers.methods.smoothing import PathFollowing
from crosshead.solvers.plan import HINGE_SWEEPS
from crosshead.solvers.stages import Stages

KINKED = [name for name in LOSSES if not get_loss(name).smooth]
native = pytest.mark.skipif(importlib.util.find_spec("crosshead._native") is None, reason="no native engine")


def rows(n: int = 161, columns: int = 13, classes: int = 4, *, dtype: Any = np.float64) -> TrainingData:
    random = np.random.default_rng(n)
    y = random.integers(0, classes, n).astype(np.int32)
    X = random.normal(size=(n, columns)) + 1.5 * np.eye(classes, columns)[y] + 0.5
    return TrainingData(X.astype(dtype), y, classes)


def objective_of(data: TrainingData, name: str, alpha: float, *, fit_intercept: bool = True) -> Objective:
    return Objective(make_engine("auto", data), get_loss(name), ElasticNet(alpha), fit_intercept=fit_intercept)


def minimise(objective: Objective, tol: float, method: Any = None, **options: Any) -> Result:
    options = {"tol": tol, "max_iter": 300, **options}
    return minimise_with(method or Multipliers(), objective, np.zeros(objective.size), **options)


@pytest.mark.parametrize("alpha", [1e-2, 1e-1])
@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # to 1e-9 in some versions; the value decides
def test_crammer_singer_is_that_of_liblinear(alpha: float) -> None:
    data = rows()
    objective = objective_of(data, "crammer_singer", alpha, fit_intercept=False)
    result = minimise(objective, 1e-7)
    assert result.status == "converged"
    C = 1 / (alpha * data.n_rows)
    peer = LinearSVC(C=C, multi_class="crammer_singer", fit_intercept=False, tol=1e-9, max_iter=10**6, random_state=0)
    weight = peer.fit(data.features, data.target).coef_
    theirs = objective.evaluate(objective.pack(weight, np.zeros(4))).value
    assert result.bound <= theirs
    assert result.value == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("alpha", [1e-3, 1e-1])
def test_two_classes_are_the_binary_hinge_of_liblinear(name: str, alpha: float) -> None:
    """With v = w₁ − w₀ and ‖W‖² = ‖v‖²/2 both hinges are max(0, 1 ∓ v·x)."""
    data = rows(101, 5, 2)
    result = minimise(objective_of(data, name, alpha, fit_intercept=False), 1e-7)
    assert result.status == "converged"
    peer = LinearSVC(
        C=2 / (alpha * data.n_rows), loss="hinge", fit_intercept=False, tol=1e-10, max_iter=10**7, random_state=0
    )
    v = peer.fit(data.features, data.target).coef_[0]
    signs = 2.0 * data.target - 1
    theirs = np.maximum(0, 1 - signs * (data.features @ v)).mean() + alpha / 4 * v @ v
    assert result.value == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_optimum_is_that_of_path_following(name: str, dtype: Any, fit_intercept: bool) -> None:
    objective = objective_of(rows(dtype=dtype), name, 1e-3, fit_intercept=fit_intercept)
    truth = minimise(objective, 1e-7, PathFollowing())
    result = minimise(objective, 1e-6)
    assert [truth.status, result.status] == ["converged", "converged"]
    assert result.value == pytest.approx(truth.value, rel=2e-6)
    assert result.bound <= truth.value
    assert result.history[-1].factorisations > 0


@pytest.mark.parametrize("name", KINKED)
def test_a_weight_is_so_many_rows_and_zero_none(name: str) -> None:
    data = rows(61)
    s = np.random.default_rng(0).integers(0, 4, 61)
    weighted = TrainingData(data.features, data.target, 4, s.astype(np.float64))
    repeated = data.take(np.repeat(np.arange(61), s))
    values = [minimise(objective_of(each, name, 1e-3), 1e-8).value for each in (weighted, repeated)]
    assert values[0] == pytest.approx(values[1], rel=2e-8)


@native
@pytest.mark.parametrize("name", KINKED)
def test_the_result_is_the_same_with_any_number_of_threads(name: str) -> None:
    data = rows(700, dtype=np.float32)
    results = []
    for threads in (1, 2, 3):
        objective = Objective(make_engine("auto", data, threads), get_loss(name), ElasticNet(1e-4))
        results.append(minimise(objective, 1e-4, Stages(HINGE_SWEEPS)))
    assert results[0].status == "converged"
    assert results[0].history[-1].factorisations > 0  # sweeps alone were too slow
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].point, other.point)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_features_and_margins_of_any_scale(name: str, scale: float) -> None:
    """Features times c at α times c², and scores times a margin, are the same problem."""
    data = rows(90)
    plain = minimise(objective_of(data, name, 1e-3), 1e-6)
    scaled = TrainingData(scale * data.features, data.target, 4)
    assert minimise(objective_of(scaled, name, 1e-3 * scale**2), 1e-6).value == pytest.approx(plain.value, rel=2e-6)
    loss = get_loss(name, margin=scale)
    wide = Objective(make_engine("auto", data), loss, ElasticNet(1e-3 / scale))
    assert minimise(wide, 1e-6).value == pytest.approx(scale * plain.value, rel=2e-6)


@native
@pytest.mark.parametrize("name", KINKED)
def test_the_path_takes_over_where_it_is_stuck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipliers, "IDLE_STEPS", 0)
    objective = objective_of(rows(400), name, 1e-4)
    result = minimise(objective, 1e-6, Stages(HINGE_SWEEPS))
    assert result.status == "converged"


@pytest.mark.parametrize("name", KINKED)
def test_rows_that_all_agree_and_rows_of_zeros(name: str) -> None:
    """No row, or every row, is curved; nothing may be called converged that is not."""
    y = np.array([0, 0, 1, 1, 2], dtype=np.int32)
    for X in (np.zeros((5, 3)), np.ones((5, 3)), np.eye(5, 3)):
        objective = objective_of(TrainingData(X, y, 4), name, 0.05)
        truth = minimise(objective, 1e-8, PathFollowing())
        result = minimise(objective, 1e-5)
        if result.status == "converged":
            assert result.value <= truth.value * (1 + 2e-5)
        assert result.bound <= truth.value * (1 + 1e-9)
