"""The two methods for smooth losses with L1 that form the whole Hessian, against another method's optima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.dense_proximal_newton import DenseProximalNewton
from crosshead.solvers.methods.proximal_newton import ProximalNewton
from crosshead.solvers.methods.split_interior_point import SplitInteriorPoint

METHODS = [SplitInteriorPoint, DenseProximalNewton]
SMOOTH = [get_loss(name) for name in LOSSES if get_loss(name).smooth]


def problem(
    loss: Any,
    *,
    l1_ratio: float = 1.0,
    alpha: float = 0.02,
    decades: float = 0.0,
    intercept: bool = True,
    **options: Any,
) -> Objective:
    random = np.random.default_rng(options.get("seed", 0))
    X = random.normal(size=(120, 9)) + 0.5
    X[:, 4] = X[:, 3]  # two columns alike
    y = (X[:, :4].argmax(axis=1) + (random.uniform(size=120) < 0.2)) % 4
    X *= 10.0 ** random.uniform(-decades, decades, 9)
    weight = 10.0 ** random.uniform(-6, 0, 120) if options.get("weighted") else None
    stored = sparse.csr_matrix(X) if options.get("csr") else X.astype(options.get("dtype", np.float64))
    data = TrainingData(stored, y.astype(np.int32), 4, weight)
    return Objective(make_engine("auto", data), loss, ElasticNet(alpha, l1_ratio), fit_intercept=intercept)


def run(method: Any, objective: Objective, tol: float = 1e-7) -> Any:
    return minimise_with(method, objective, np.zeros(objective.size), tol=tol, max_iter=500)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_it_finds_the_optimum_of_proximal_newton(method: Any, loss: Any, l1_ratio: float, intercept: bool) -> None:
    objective = problem(loss, l1_ratio=l1_ratio, intercept=intercept)
    found, truth = run(method(), objective, 1e-6), run(ProximalNewton(), objective)
    assert found.status == "converged"
    assert found.value <= truth.value * (1 + 2e-6)
    assert found.bound <= truth.value * (1 + 1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_scale_of_columns_changes_little(method: Any, loss: Any, dtype: Any) -> None:
    for decades in (0.0, 3.0):
        result = run(method(), problem(loss, decades=decades, alpha=1e-3, dtype=dtype), 1e-4)
        assert result.status == "converged"
        assert result.iterations < 60


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_optimum_has_zeros(method: Any, loss: Any) -> None:
    objective = problem(loss, alpha=0.1)
    result = run(method(), objective, 1e-5)
    weight, _ = objective.unpack(result.point)
    assert result.status == "converged"
    assert (weight == 0).sum() >= 9


@pytest.mark.parametrize("method", METHODS)
def test_weights_over_six_decades_and_sparse_features(method: Any) -> None:
    assert run(method(), problem(get_loss("softmax"), weighted=True, alpha=1e-3), 1e-4).status == "converged"
    dense, stored = (run(method(), problem(get_loss("softmax"), csr=csr)) for csr in (False, True))
    assert stored.value == pytest.approx(dense.value, rel=1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_small_gaps_with_many_weights_that_are_not_zero(method: Any, seed: int) -> None:
    """Where a half of a weight is a million times the other, its step must not come from what rounding left."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(500, 30)).astype(np.float32)
    y = (X @ random.normal(size=(30, 4)) + 3 * random.gumbel(size=(500, 4))).argmax(axis=1).astype(np.int32)
    data = TrainingData(X, y, 4)
    objective = Objective(make_engine("auto", data), get_loss("softmax"), ElasticNet(3e-5, 1.0))
    result = run(method(), objective, 1e-9)
    assert result.status == "converged"
    assert np.count_nonzero(objective.unpack(result.point)[0]) > 60


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_last_steps_of_newton_double_the_digits(loss: Any) -> None:
    result = run(DenseProximalNewton(), problem(loss, decades=2.0, alpha=1e-3), 1e-9)
    gaps = [progress.gap for progress in result.history if progress.gap < 1e-2]
    assert result.status == "converged"
    assert len(gaps) <= 6
