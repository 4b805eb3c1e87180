"""The interior point for smooth losses with an L1 part, against other methods' optima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature.dense_hessian import dense_hessian
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.proximal_newton import ProximalNewton
from crosshead.solvers.methods.split_interior_point import SplitInteriorPoint

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


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_it_finds_the_optimum_of_proximal_newton(loss: Any, l1_ratio: float, intercept: bool) -> None:
    objective = problem(loss, l1_ratio=l1_ratio, intercept=intercept)
    found, truth = run(SplitInteriorPoint(), objective, 1e-6), run(ProximalNewton(), objective)
    assert found.status == "converged"
    assert found.value <= truth.value * (1 + 2e-6)
    assert found.bound <= truth.value * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_scale_of_columns_changes_little(loss: Any, dtype: Any) -> None:
    for decades in (0.0, 3.0):
        result = run(SplitInteriorPoint(), problem(loss, decades=decades, alpha=1e-3, dtype=dtype), 1e-4)
        assert result.status == "converged"
        assert result.iterations < 60


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_optimum_has_zeros(loss: Any) -> None:
    objective = problem(loss, alpha=0.1)
    result = run(SplitInteriorPoint(), objective, 1e-5)
    weight, _ = objective.unpack(result.point)
    assert result.status == "converged"
    assert (weight == 0).sum() >= 9


def test_weights_over_six_decades_and_sparse_features() -> None:
    assert (
        run(SplitInteriorPoint(), problem(get_loss("softmax"), weighted=True, alpha=1e-3), 1e-4).status == "converged"
    )
    dense, stored = (run(SplitInteriorPoint(), problem(get_loss("softmax"), csr=csr)) for csr in (False, True))
    assert stored.value == pytest.approx(dense.value, rel=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_small_gaps_with_many_weights_that_are_not_zero(seed: int) -> None:
    """Where a half of a weight is a million times the other, its step must not come from what rounding left."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(500, 30)).astype(np.float32)
    y = (X @ random.normal(size=(30, 4)) + 3 * random.gumbel(size=(500, 4))).argmax(axis=1).astype(np.int32)
    data = TrainingData(X, y, 4)
    objective = Objective(make_engine("auto", data), get_loss("softmax"), ElasticNet(3e-5, 1.0))
    result = run(SplitInteriorPoint(), objective, 1e-9)
    assert result.status == "converged"
    assert np.count_nonzero(objective.unpack(result.point)[0]) > 60


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_hessian_is_that_of_products(loss: Any, intercept: bool) -> None:
    objective = problem(loss, intercept=intercept)
    data = objective.engine.data
    random = np.random.default_rng(1)
    scores = random.normal(size=(120, 4))
    hessian = dense_hessian(
        data,
        *loss.quadratic(scores, data.target, 0.0),
        fit_intercept=intercept,
        shift_invariant=loss.shift_invariant,
    )
    V, v = random.normal(size=(4, 9)), random.normal(size=4) * intercept
    moved = loss.hessian_product(scores, data.target, data.features @ V.T + v) / 120
    expected = np.concatenate([(moved.T @ data.features).ravel(), moved.sum(axis=0)])
    found = hessian.multiply(np.concatenate([V.ravel(), v]))
    np.testing.assert_allclose(found[:36], expected[:36], atol=1e-12)
    charge = random.uniform(0.1, 1, 36)
    step = hessian.solve(charge, expected * np.concatenate([np.ones(36), np.full(4, intercept)]))
    assert step is not None
    again = hessian.multiply(step) + np.concatenate([charge * step[:36], np.zeros(4)])
    np.testing.assert_allclose(again[:36], expected[:36], atol=1e-9)
