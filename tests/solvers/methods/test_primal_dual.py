"""The primal–dual hybrid gradient method, against other methods' optima and linear programs' duals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.protocol import ResidualMove
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result, minimise
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.primal_dual import PrimalDual
from crosshead.solvers.numerics.line_search import NOISE_DOUBLE

CLASSES = 4


def rows(
    n: int = 90, columns: int = 6, *, decades: float = 0.0, csr: bool = False, dtype: Any = np.float64, seed: int = 0
) -> TrainingData:
    """Overlapping classes, two columns alike, one constant; weights over two decades, some zero."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n).astype(np.int32)
    X = random.normal(size=(n, columns)) + np.eye(CLASSES, columns)[y]
    X[:, 4], X[:, 5] = X[:, 3], 2.0
    X *= 10.0 ** random.uniform(-decades, decades, columns)
    weight = 10.0 ** random.uniform(-1, 1, n) * (random.uniform(size=n) < 0.9)
    stored = sparse.csr_matrix(X, dtype=dtype) if csr else X.astype(dtype)
    return TrainingData(stored, y, CLASSES, weight)


def objective_of(
    data: TrainingData, name: str, alpha: float = 0.02, l1_ratio: float = 1.0, *, fit_intercept: bool = True
) -> Objective:
    engine = make_engine("auto", data)
    return Objective(engine, get_loss(name), ElasticNet(alpha, l1_ratio), fit_intercept=fit_intercept)


def fit(objective: Objective, tol: float = 1e-6, **options: Any) -> Result:
    start = options.pop("start", np.zeros(objective.size))
    return minimise_with(PrimalDual(), objective, start, tol=tol, **{"max_iter": 2000, **options})


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_it_finds_the_optimum_that_the_plan_finds(name: str, l1_ratio: float, fit_intercept: bool) -> None:
    for csr in (False, True):
        objective = objective_of(rows(csr=csr), name, 0.02, l1_ratio, fit_intercept=fit_intercept)
        found, truth = fit(objective), minimise(objective, np.zeros(objective.size), tol=1e-8)
        assert found.status == truth.status == "converged"
        assert found.value <= truth.value * (1 + 1.1e-6)
        assert found.bound <= truth.value * (1 + 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_the_scale_of_columns_does_not_matter(name: str) -> None:
    """Without an L1 part the same weights in other units are another problem; steps measured in units are not."""
    one, other = (objective_of(rows(decades=decades), name, 1e-3) for decades in (0.0, 3.0))
    counts = [one.dual.saddle.norm, other.dual.saddle.norm]
    assert counts[1] == pytest.approx(counts[0], rel=1e-3)
    result = fit(other, 1e-3, max_iter=3000)
    truth = minimise(other, np.zeros(other.size), tol=1e-6)
    assert result.bound <= truth.value * (1 + 1e-9)
    assert result.status == "converged"


@pytest.mark.parametrize("name", LOSSES)
def test_zeros_are_zero(name: str) -> None:
    objective = objective_of(rows(), name, 0.1)
    weight, _ = objective.unpack(fit(objective).point)
    assert (weight == 0).sum() >= CLASSES * 2
    assert (weight[:, 5] == 0).all()  # a constant column says nothing beside the bias


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_precision_ends_exact(dtype: Any) -> None:
    objective = objective_of(rows(2000, 30, dtype=dtype), "hinge", 1e-3)
    result = fit(objective, 1e-5)
    assert result.status == "converged"
    again = objective.evaluate(result.point)
    assert again.value == pytest.approx(result.value, rel=1e-12)


def test_it_goes_on_from_a_point() -> None:
    objective = objective_of(rows(400, 12), "crammer_singer", 3e-3)
    optimum, cold = fit(objective, 1e-7), fit(objective, 1e-3)
    warm = fit(objective, 1e-3, start=optimum.point)
    assert warm.status == cold.status == "converged"
    assert warm.history[0].objective == pytest.approx(optimum.value, rel=1e-12)
    assert warm.passes < cold.passes


def test_the_norm_is_that_of_the_map_to_scores() -> None:
    for fit_intercept in (True, False):
        for csr in (False, True):
            data = rows(60, 6, csr=csr)
            saddle = objective_of(data, "hinge", fit_intercept=fit_intercept).dual.saddle
            X = np.asarray(data.features.todense() if csr else data.features)
            X = np.column_stack([X - saddle.center, np.full(len(X), float(fit_intercept))]) * np.sqrt(saddle.units)
            share = np.sqrt(data.weights / data.total_weight)
            truth = np.linalg.norm(X * share[:, None], 2)
            assert truth <= saddle.norm <= 1.06 * truth


def test_a_norm_that_is_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of(rows(), "hinge", 0.02)
    saddle = type(objective.dual.saddle)
    true = objective.dual.saddle.norm
    monkeypatch.setattr(saddle, "norm", property(lambda self: true / 5))
    assert fit(objective, 1e-5).status == "converged"


def test_a_step_of_the_penalty_and_of_the_residuals_never_raises_the_saddle() -> None:
    """r′ is at least as good as r in what it maximises, and θ′ as θ in what it minimises."""
    data = rows()
    objective = objective_of(data, "hinge", 0.02, 0.5)
    saddle, random = objective.dual.saddle, np.random.default_rng(0)
    theta = random.normal(size=(CLASSES, 7)) * (saddle.units > 0)
    shrunk = saddle.shrink(theta, 0.3)

    def charge(W: Any) -> float:
        return 0.3 * objective.penalty.value(W[:, :-1]) + saddle.square(W - theta) / 2

    for _ in range(50):
        other = shrunk + 1e-3 * random.normal(size=theta.shape) * (saddle.units > 0)
        assert charge(shrunk) <= charge(other) * (1 + NOISE_DOUBLE)
    move = ResidualMove(np.zeros((data.n_rows, CLASSES)), 0.8)
    means, pulled = saddle.move(move, theta, exact=True)
    W, b = saddle.leave(theta)
    scores, share = data.features @ W.T + b, data.weights / data.total_weight
    gain = float(share @ (move.residual * scores).sum(axis=1)) + means.dual - 0.4 * means.distance
    assert gain >= 0  # of residuals of zero it is zero
    centred = np.column_stack([data.features - saddle.center, np.ones(data.n_rows)])
    np.testing.assert_allclose(pulled, (move.residual * share[:, None]).T @ centred, atol=1e-12)
