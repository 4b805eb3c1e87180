"""The factorised Hessian against differences of gradients, and what it may cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import crosshead.curvature.factored as factored_hessian
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.losses.softmax import Softmax
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.costs import path_passes

CURVED = [get_loss(name) for name in LOSSES if get_loss(name).smooth] + [Softmax(label_smoothing=0.1)]


def objective_of(
    loss: Any,
    *,
    rows: int = 83,
    intercept: bool = True,
    dtype: Any = np.float64,
    threads: int = 1,
    decades: float = 0.0,
) -> Objective:
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, 5)) * 10 ** random.uniform(-decades, decades, 5) + 0.5
    y = random.integers(0, 4, rows).astype(np.int32)
    data = TrainingData(X.astype(dtype), y, 4, random.uniform(0.3, 2, rows))
    return Objective(make_engine("auto", data, threads), loss, ElasticNet(0.02, 0.0), fit_intercept=intercept)


def hessian_of(objective: Objective, point: Any, level: float) -> tuple[Any, list[int]]:
    calls: list[int] = []
    here = objective.evaluate(point)
    factored = objective.levels.factored(here.point, level, 0)
    assert factored is not None
    hessian = objective.levels.products(here.point, level, factored, exact=True, count=lambda: calls.append(1))
    assert hessian is not None
    return hessian, calls


def directions(objective: Objective) -> Any:
    """A point and a direction, without what all classes have in common where only differences matter."""
    found = np.random.default_rng(2).normal(scale=0.3, size=(2, objective.size))
    for vector in found:
        weight, bias = objective.unpack(vector)
        if objective.loss.shift_invariant:
            weight -= weight.mean(axis=0)
            bias -= bias.mean()
        if not objective.fit_intercept:
            bias[:] = 0.0
    return found


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", CURVED, ids=repr)
def test_products_and_solutions_with_all_rows(loss: Any, intercept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factored_hessian, "DRAWN_PER_PARAMETER", 1000)
    objective = objective_of(loss, intercept=intercept)
    point, direction = directions(objective)
    level = 0.05
    step = 1e-6
    after, before = (objective.evaluate(point + sign * step * direction).gradient for sign in (1, -1))
    extra = objective.levels.diagonal(level) - objective.levels.diagonal(0.0)
    hessian, calls = hessian_of(objective, point, level)
    product = hessian.multiply(direction)
    assert len(calls) == 1
    np.testing.assert_allclose(product, (after - before) / (2 * step) + extra * direction, atol=1e-7)
    np.testing.assert_allclose(hessian.precondition(product), direction, atol=1e-6)


def test_a_draw_is_a_good_preconditioner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12000 row–edge pairs 300 are subsampled; the preconditioned Hessian's spectrum remains narrow."""
    monkeypatch.setattr(factored_hessian, "DRAWN_PER_PARAMETER", 17)
    objective = objective_of(get_loss("softmax"), rows=2001, dtype=np.float32, decades=3)
    point = np.zeros(objective.size)
    hessian, _ = hessian_of(objective, point, 0.0)
    basis = np.eye(objective.size)
    columns = [hessian.precondition(hessian.multiply(one)) for one in basis]
    values = np.linalg.eigvals(np.array(columns)).real
    values = values[values > 1e-6 * values.max()]  # what all classes have in common is projected out
    assert len(values) >= 18
    assert values.max() / values.min() < 20


def test_as_many_threads_as_you_like() -> None:
    found = []
    for threads in (1, 3):
        objective = objective_of(get_loss("softmax"), threads=threads, dtype=np.float32)
        hessian, _ = hessian_of(objective, np.zeros(objective.size), 0.01)
        found.append(hessian.precondition(np.linspace(-1, 1, objective.size)))
    np.testing.assert_array_equal(*found)


def test_a_matrix_at_the_edge_of_its_precision_gets_a_ridge() -> None:
    column = np.linspace(1, 2, 30)[:, None]
    data = TrainingData(np.hstack([column, column, column]), np.arange(30, dtype=np.int32) % 3, 3)
    objective = Objective(make_engine("auto", data), get_loss("softmax"), ElasticNet(1e-18, 0.0))
    hessian, _ = hessian_of(objective, np.zeros(objective.size), 0.0)
    assert np.isfinite(hessian.precondition(np.ones(objective.size))).all()


def test_a_failed_factorisation_is_tried_again_on_the_same_matrix() -> None:
    """Off the diagonal a matrix of rank 3 made a little larger: indefinite until the ridge makes up for it."""
    rows = np.random.default_rng(0).normal(size=(9, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    beyond = 1.0001 * (rows @ rows.T) * (1 - np.eye(9))
    factor = factored_hessian._cholesky(np.asfortranarray(beyond), 1e-9)
    assert factor is not None
    lower = np.tril(factor)
    product = lower @ lower.T
    np.testing.assert_allclose(product * (1 - np.eye(9)), beyond, atol=1e-9)
    assert 1e-4 < product[0, 0] - 1 < 1.1e-2


def test_what_has_no_factor_costs_infinitely_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = np.eye(6, 3), np.arange(6, dtype=np.int32) % 2
    cases = [
        (X, "softmax", 0.1, 0.0, np.isfinite),
        (X, "softmax", 0.1, 0.5, np.isinf),
        (X, "softmax", 0.0, 0.0, np.isinf),
        (X, "hinge", 0.1, 0.0, np.isinf),
        (sparse.csr_matrix(X), "softmax", 0.1, 0.0, np.isinf),
    ]
    for features, loss, alpha, l1_ratio, expected in cases:
        objective = Objective(
            make_engine("auto", TrainingData(features, y, 2)), get_loss(loss), ElasticNet(alpha, l1_ratio)
        )
        assert expected(path_passes(objective.facts))
    objective = Objective(make_engine("auto", TrainingData(X, y, 2)), get_loss("softmax"), ElasticNet(0.1))
    monkeypatch.setattr("crosshead.solvers.costs.FACTORED_PARAMETERS", 7)
    assert np.isinf(path_passes(objective.facts))
