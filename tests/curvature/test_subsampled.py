"""Rows subsampled by their curvature, and their Hessian, against all rows and differences of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature.row_sampling import RowSampler
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients

SECOND_ORDER = [get_loss(name) for name in LOSSES if get_loss(name).smooth] + [get_loss("hinge").smoothed(0.7)]


def data(rows: int, *, sparsely: bool = False, dtype: Any = np.float64, weighted: bool = True) -> TrainingData:
    random = np.random.default_rng(rows)
    X = (random.normal(size=(rows, 6)) * [1, 2, 0.1, 5, 1, 1] + 0.5).astype(dtype)
    y = random.integers(0, 3, rows).astype(np.int32)
    s = random.uniform(0.2, 3, rows) if weighted else None
    return TrainingData(sparse.csr_matrix(X) if sparsely else X, y, 3, s)


def objective_of(rows: TrainingData, loss: Any, *, fit_intercept: bool = True) -> Objective:
    return Objective(make_engine("auto", rows), loss, ElasticNet(0.05), fit_intercept=fit_intercept)


@pytest.mark.parametrize("loss", SECOND_ORDER, ids=repr)
@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_with_all_rows_it_is_the_hessian(loss: Any, sparsely: bool, fit_intercept: bool) -> None:
    objective = objective_of(data(70, sparsely=sparsely), loss, fit_intercept=fit_intercept)
    random = np.random.default_rng(3)
    point, direction = random.normal(scale=0.2, size=(2, objective.size))
    for vector in (point, direction):
        vector[-3:] = vector[-3:] - vector[-3:].mean() if fit_intercept else 0.0
    model = objective.model(objective.evaluate(point), rows=1000, share=0.0)
    assert model is not None
    step = 1e-6
    after, before = (objective.evaluate(point + sign * step * direction).gradient for sign in (1, -1))
    product = model.multiply(direction)
    np.testing.assert_allclose(product, (after - before) / (2 * step), atol=2e-5 * np.abs(product).max())
    solved = conjugate_gradients(model, product.copy(), 1e-8, 200)
    np.testing.assert_allclose(model.multiply(solved), product, atol=1e-6 * np.abs(product).max())


def test_another_penalty_beside_the_same_loss() -> None:
    objective = objective_of(data(70), get_loss("softmax"))
    here = objective.evaluate(np.zeros(objective.size))
    model = objective.model(here, rows=1000, share=0.0)
    objective.penalty = ElasticNet(0.9)
    again = objective.model(here, rows=1000, share=0.0)
    assert model is not None
    assert again is not None
    direction = np.random.default_rng(1).normal(size=objective.size)
    np.testing.assert_allclose(model.at(0.9).multiply(direction), again.multiply(direction), rtol=1e-12)
    np.testing.assert_allclose(model.at(0.9).precondition(direction), again.precondition(direction), rtol=1e-4)


@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_the_penalty_is_in_the_product(engine: str) -> None:
    """Whatever the memory order of an engine's gradient: two penalties differ by their multiple of W."""
    objective = Objective(make_engine(engine, data(300)), get_loss("softmax"), ElasticNet(0.5))
    model = objective.model(objective.evaluate(np.zeros(objective.size)), rows=1000, share=0.1)
    assert model is not None
    direction = np.random.default_rng(1).normal(size=objective.size)
    difference = model.at(2.5).multiply(direction) - model.multiply(direction)
    np.testing.assert_allclose(difference, np.append(2 * direction[:-3], np.zeros(3)), atol=1e-12)


@pytest.mark.parametrize("loss", SECOND_ORDER, ids=repr)
def test_the_draw_is_unbiased(loss: Any) -> None:
    """The mean over many draws of a product approaches that with all rows; every single one is near it."""
    objective = objective_of(data(2000), loss)
    random = np.random.default_rng(5)
    point, direction = random.normal(scale=0.3, size=(2, objective.size))
    here = objective.evaluate(point)
    exact = objective.model(here, rows=5000, share=0.1)
    assert exact is not None
    truth = exact.multiply(direction)
    found = []
    for _ in range(60):
        model = objective.model(here, rows=300, share=0.1)
        assert model is not None
        assert 200 < model.engine.data.n_rows < 400
        found.append(model.multiply(direction))
    errors = np.linalg.norm(np.array(found) - truth, axis=1) / np.linalg.norm(truth)
    assert np.linalg.norm(np.mean(found, axis=0) - truth) < 0.5 * errors.mean() * np.linalg.norm(truth)
    assert errors.max() < 0.8


def test_a_rare_feature_is_drawn() -> None:
    """One row in 5000 has it: a uniform draw of 200 would miss it 24 times in 25."""
    random = np.random.default_rng(0)
    X = random.normal(size=(5000, 4))
    X[:, 3] = 0
    X[1234, 3] = 30.0
    y = random.integers(0, 3, 5000).astype(np.int32)
    sampler = RowSampler(make_engine("auto", TrainingData(X, y, 3)), 3, 0)
    for _ in range(20):
        drawn = sampler.draw(get_loss("softmax"), np.zeros((3, 4)), np.zeros(3), 200, 0.1)
        rare = drawn.features[:][:, 3] == 30.0
        assert rare.sum() == 1
        assert drawn.weight[rare] == pytest.approx(1 / 5000)


def test_rows_that_weigh_nothing_are_never_drawn() -> None:
    rows = data(900)
    weight = np.zeros(900)
    weight[::3] = 2.0
    engine = make_engine("auto", TrainingData(rows.features, rows.target, 3, weight))
    for count in (50, 5000):
        drawn = RowSampler(engine, 3, 0).draw(get_loss("softmax"), np.zeros((3, 6)), np.zeros(3), count, 0.1)
        positive = {tuple(row) for row in rows.features[::3]}
        assert all(tuple(row) in positive for row in drawn.features)
        assert drawn.weight.sum() == pytest.approx(1.0, rel=0.4 if count == 50 else 1e-12)


def test_rows_beyond_the_pool_are_drawn_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosshead.curvature.row_sampling.POOL_SCORES", 3 * 400)
    sampler = RowSampler(make_engine("auto", data(900)), 3, 0)
    assert sampler.pool.n_rows == 400
    drawn = sampler.draw(get_loss("softmax"), np.zeros((3, 6)), np.zeros(3), 100, 0.1)
    assert 60 < len(drawn.weight) < 140
    assert drawn.weight.sum() == pytest.approx(1.0, rel=0.4)


def test_the_metric_of_the_same_rows_preconditions() -> None:
    """Few conjugate gradients solve a badly scaled problem that none would without it."""
    rows = data(400)
    scaled = TrainingData(rows.features * np.array([1e3, 1e-2, 1, 10, 1e-3, 1]), rows.target, 3, rows.sample_weight)
    objective = objective_of(scaled, get_loss("softmax"))
    here = objective.evaluate(np.random.default_rng(0).normal(scale=1e-3, size=objective.size))
    model = objective.model(here, rows=1000, share=0.01)
    assert model is not None
    right = objective.without_shift(here.gradient)
    solved = conjugate_gradients(model, right.copy(), 1e-4, 25)
    residual = model.multiply(solved) - right
    assert float(residual @ model.precondition(residual)) < 1e-6 * float(right @ model.precondition(right))
