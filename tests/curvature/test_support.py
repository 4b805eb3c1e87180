"""Each class's own curvature on its support, against differences of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature import support as support_metric
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet

SECOND_ORDER = [get_loss(name) for name in LOSSES if get_loss(name).smooth]
CLASSES, FEATURES = 3, 7


def objective_of(
    loss: Any, *, sparsely: bool = False, fit_intercept: bool = True, dtype: Any = np.float64
) -> Objective:
    random = np.random.default_rng(11)
    X = random.normal(size=(90, FEATURES)) * [1, 2, 0.1, 5, 1, 1, 3] + 0.5
    X[:, 1] += X[:, 0]
    X = X.astype(dtype)
    y = random.integers(0, CLASSES, 90).astype(np.int32)
    data = TrainingData(sparse.csr_matrix(X) if sparsely else X, y, CLASSES, random.integers(0, 3, 90).astype(float))
    return Objective(make_engine("auto", data), loss, ElasticNet(0.05, 0.4), fit_intercept=fit_intercept)


def some_weights() -> Any:
    """Class 1 has none."""
    free = np.zeros((CLASSES, FEATURES), dtype=bool)
    free[0, [0, 1, 4, 6]] = free[2, [2, 3]] = True
    return free


def flat(weight: Any, bias: Any) -> Any:
    return np.concatenate([weight.ravel(), bias])


@pytest.mark.parametrize("loss", SECOND_ORDER, ids=repr)
@pytest.mark.parametrize("sparsely", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_class_by_itself_is_solved_for(loss: Any, sparsely: bool, fit_intercept: bool) -> None:
    """Of a gradient's change along a step of one class, its own part gives the step back, but for the ridge."""
    objective = objective_of(loss, sparsely=sparsely, fit_intercept=fit_intercept)
    random = np.random.default_rng(5)
    point = random.normal(scale=0.2, size=objective.size)
    if not fit_intercept:
        point[-CLASSES:] = 0.0
    model = objective.model(objective.evaluate(point), rows=1000, share=0.0)
    assert model is not None
    metric = model.on_support()
    free = some_weights()
    metric.restrict(free, ~free, model.l2_weight)
    weight, bias = np.zeros((CLASSES, FEATURES)), np.zeros(CLASSES)
    weight[0, free[0]] = random.normal(size=4)
    step = 1e-6
    after, before = (objective.evaluate(point + sign * step * flat(weight, bias)).gradient for sign in (1, -1))
    change, shift = objective.unpack((after - before) / (2 * step))
    own = np.where(free & (np.arange(CLASSES) == 0)[:, None], change, 0.0)
    first = (np.arange(CLASSES) == 0).astype(float)
    if not (fit_intercept and loss.shift_invariant):
        solved, moved = metric.apply(own, first * shift)
        np.testing.assert_allclose(solved, weight, atol=5e-3)
        np.testing.assert_allclose(moved, 0.0, atol=5e-3)
        return
    # There biases are only told apart by what they differ: the gradient lies in the bias's mean, which is taken off.
    solved, moved = metric.apply(own, np.zeros(CLASSES))
    again, _ = metric.apply(own, np.ones(CLASSES))
    np.testing.assert_allclose(again, solved, rtol=1e-10)
    assert abs(float(moved.sum())) < 1e-12


@pytest.mark.parametrize("most_classes", [0, 64], ids=["whole", "by class"])
@pytest.mark.parametrize("loss", SECOND_ORDER, ids=repr)
def test_it_is_symmetric_and_positive_and_moves_what_is_free(
    loss: Any, most_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support_metric, "MAX_CLASSES", most_classes)
    objective = objective_of(loss, dtype=np.float32)
    model = objective.model(objective.evaluate(np.zeros(objective.size)), rows=1000, share=0.1)
    assert model is not None
    metric = model.on_support()
    free = some_weights()
    metric.restrict(free, free, 0.03)
    held = flat(free, np.ones(CLASSES, dtype=bool))
    random = np.random.default_rng(6)
    left, right = np.where(held, random.normal(size=(2, objective.size)), 0.0)
    of_left, of_right = (flat(*metric.apply(*objective.unpack(vector))) for vector in (left, right))
    assert float(left @ of_right) == pytest.approx(float(right @ of_left), rel=1e-4)
    assert float(left @ of_left) > 0
    assert not of_left[~held].any()
    for vector in (left, of_left):
        assert np.isfinite(vector).all()


def test_another_support_and_another_penalty_make_it_anew() -> None:
    objective = objective_of(get_loss("binary"))
    model = objective.model(objective.evaluate(np.zeros(objective.size)), rows=1000, share=0.1)
    assert model is not None
    kept, fresh = model.on_support(), model.on_support()
    first, second = some_weights(), some_weights()
    second[0, 1], second[1, 5] = False, True  # the one block has it, the other does not
    kept.restrict(first, first, 0.5)
    kept.restrict(second, first, 0.01)
    fresh.restrict(second, second, 0.01)
    vector = np.where(second, np.random.default_rng(7).normal(size=second.shape), 0.0)
    for ours, theirs in zip(kept.apply(vector, np.ones(3)), fresh.apply(vector, np.ones(3)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
