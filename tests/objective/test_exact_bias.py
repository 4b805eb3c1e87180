"""The best bias for given weights, on kept scores, against another minimiser; and the bound that it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet

SMOOTH = [get_loss(name) for name in LOSSES if get_loss(name).smooth]


def problem(loss: Any, *, dtype: Any = np.float64, absent: bool = False, seed: int = 0) -> Objective:
    random = np.random.default_rng(seed)
    X = random.normal(size=(300, 4)).astype(dtype)
    y = random.integers(0, 4 if absent else 5, 300).astype(np.int32)
    weight = random.uniform(0, 2, 300) * (random.uniform(size=300) < 0.8)
    return Objective(make_engine("auto", TrainingData(X, y, 5, weight)), loss, ElasticNet(1e-2))


def point_of(objective: Objective, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=objective.size)


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_no_bias_is_better(loss: Any) -> None:
    objective = problem(loss)
    start = point_of(objective)
    found = objective.evaluate_balanced(start)
    weight, _ = objective.unpack(start)

    def value(bias: Any) -> tuple[float, Any]:
        evaluation = objective.evaluate(objective.pack(weight, bias))
        return evaluation.value, objective.unpack(evaluation.gradient)[1]

    best = optimize.minimize(value, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-10})
    assert found.value <= best.fun + 1e-12 * abs(best.fun)
    np.testing.assert_array_equal(objective.unpack(found.point)[0], weight)
    np.testing.assert_allclose(objective.unpack(found.gradient)[1], 0, atol=1e-9)
    again = objective.evaluate(found.point)
    np.testing.assert_allclose(found.gradient, again.gradient, atol=1e-12)
    assert found.value == pytest.approx(again.value, rel=1e-13)


@pytest.mark.parametrize("name", ["softmax", "binary"])
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_scores_and_biases_at_which_no_row_is_curved(name: str, scale: float) -> None:
    """Newton's step is without bound there; rare classes need biases far from zero."""
    random = np.random.default_rng(7)
    X, y = random.normal(size=(40, 3)), np.arange(40, dtype=np.int32) % 5
    weight = 10 ** random.uniform(-6, 0, 40)
    objective = Objective(make_engine("auto", TrainingData(X, y, 5, weight)), get_loss(name), ElasticNet(1e-9))
    point = scale * random.normal(size=objective.size)
    found = objective.evaluate_balanced(point)
    assert found.value <= objective.evaluate(point).value
    assert np.abs(objective.unpack(found.gradient)[1]).max() <= 1e-9


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_the_bound_is_that_of_residuals_which_sum_to_zero(loss: Any) -> None:
    objective = problem(loss)
    found = objective.evaluate_balanced(point_of(objective))
    assert found.bound <= found.value
    assert found.bound == pytest.approx(objective.free_bound(found), abs=1e-9 * abs(found.value))


@pytest.mark.parametrize("name", ["softmax", "binary"])
def test_a_class_without_rows_costs_no_bound(name: str) -> None:
    """Mixing would replace every residual; the class's probabilities must vanish instead."""
    objective = problem(get_loss(name), absent=True)
    found = objective.evaluate_balanced(point_of(objective))
    assert objective.unpack(found.gradient)[1][4] == 0
    assert found.bound == pytest.approx(objective.free_bound(found), abs=1e-9 * abs(found.value))


def test_a_column_of_ones_only() -> None:
    X = np.random.default_rng(3).normal(size=(50, 3))
    target = np.column_stack([np.ones(50), np.zeros(50), X[:, 0] > 0]).astype(np.float64)
    objective = Objective(make_engine("auto", TrainingData(X, target, 3)), get_loss("binary"), ElasticNet(1e-2))
    found = objective.evaluate_balanced(np.zeros(objective.size))
    assert np.abs(objective.unpack(found.gradient)[1]).max() < 1e-12
    assert found.bound > 0


def test_single_precision_leaves_what_it_cannot_see() -> None:
    objective = problem(get_loss("softmax"), dtype=np.float32)
    found = objective.evaluate_balanced(point_of(objective), exact=False)
    assert not found.exact
    assert np.abs(objective.unpack(found.gradient)[1]).max() < 1e-6


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_without_intercept_nothing_moves(loss: Any) -> None:
    data = problem(loss).engine.data
    objective = Objective(make_engine("auto", data), loss, ElasticNet(1e-2), fit_intercept=False)
    start = point_of(objective)
    start[-5:] = 0
    found = objective.evaluate_balanced(start)
    np.testing.assert_array_equal(found.point, start)
    np.testing.assert_allclose(found.gradient, objective.evaluate(start).gradient, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e8])
@pytest.mark.parametrize("name", ["softmax", "binary", "squared_hinge"])
def test_far_scores_end_with_numbers(name: str, scale: float) -> None:
    objective = problem(get_loss(name))
    start = scale * point_of(objective)
    found = objective.evaluate_balanced(start)
    assert np.isfinite(found.point).all()
    assert found.value <= objective.evaluate(start).value * (1 + 1e-9)
