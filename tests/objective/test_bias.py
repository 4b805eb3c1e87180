"""Newton steps on the bias alone, against differences of gradients; and the certificates that depend on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.objective.bias import BiasCurvature
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise

CURVED = [get_loss(name) for name in LOSSES if get_loss(name).smooth and name != "squared_error"]


def data(*, rows: int = 200, classes: int = 5, sparsely: bool = False, weighted: bool = True) -> TrainingData:
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, 3))
    s = random.uniform(0, 2, size=rows) * (random.uniform(size=rows) < 0.9) if weighted else None
    y = random.integers(0, classes, rows).astype(np.int32)
    return TrainingData(sparse.csr_matrix(X) if sparsely else X, y, classes, s)


def objective_of(rows: TrainingData, loss: Any) -> Objective:
    return Objective(make_engine("auto", rows), loss, ElasticNet(1e-3))


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("loss", CURVED, ids=lambda loss: loss.name)
def test_the_step_solves_newtons_equation_in_the_bias(
    loss: Any, sparsely: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosshead.objective.bias.ORIGIN_SHARE", 0.0)
    monkeypatch.setattr("crosshead.objective.bias.BLOCK_SCORES", 5 * 37)  # in six blocks
    objective = objective_of(data(sparsely=sparsely), loss)
    point = 0.3 * np.random.default_rng(0).normal(size=objective.size)
    gradient = objective.evaluate(point).gradient[-5:]
    step = BiasCurvature.of(loss, objective.engine.data, *objective.unpack(point)).step(gradient)
    small = 1e-5 * np.concatenate([np.zeros(15), step])
    after, before = (objective.evaluate(point + sign * small).gradient[-5:] for sign in (1, -1))
    np.testing.assert_allclose((after - before) / 2e-5, -gradient, atol=1e-6 * np.abs(gradient).max())


def test_a_few_rows_a_class_leave_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosshead.objective.bias.MIN_ROWS", 1)
    objective = objective_of(data(rows=64 * 5 * 9 + 4), get_loss("softmax"))
    evaluation = objective.evaluate(0.3 * np.random.default_rng(0).normal(size=objective.size))
    for _ in range(2):
        moved = objective.evaluate(objective.move_bias(evaluation))
        assert np.abs(moved.gradient[-5:]).max() < 0.3 * np.abs(evaluation.gradient[-5:]).max()
        evaluation = moved


def test_where_no_row_is_curved_the_step_is_the_gradient() -> None:
    loss = get_loss("hinge").smoothed(0.1)
    rows = TrainingData(np.eye(3), np.arange(3, dtype=np.int32), 3)
    curvature = BiasCurvature.of(loss, rows, 50 * np.eye(3), np.zeros(3))
    gradient = np.array([0.2, -0.1, -0.1])
    np.testing.assert_allclose(curvature.step(gradient), -gradient, rtol=1e-12)


def test_without_a_dense_matrix_the_diagonal_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosshead.objective.bias.DENSE_CLASSES", 3)
    monkeypatch.setattr("crosshead.objective.bias.ORIGIN_SHARE", 0.0)
    rows = data(weighted=False)
    curvature = BiasCurvature.of(get_loss("softmax"), rows, np.zeros((5, 3)), np.zeros(5))
    gradient = np.array([0.4, 0.1, -0.3, -0.1, -0.1])
    np.testing.assert_allclose(curvature.step(gradient), -gradient / (0.2 * 0.8), rtol=1e-9)


def test_many_classes_are_certified_soon_after_the_weights_are() -> None:
    """Sixty rows a class, where what single iterations leave in the bias would keep the gap open."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(120, 30))
    y = np.repeat(np.arange(120), 60).astype(np.int32)
    X = (centres[y] + 2.5 * random.normal(size=(len(y), 30))).astype(np.float32)
    objective = Objective(make_engine("auto", TrainingData(X, y, 120)), get_loss("softmax"), ElasticNet(1 / len(y)))
    result = minimise(objective, np.zeros(objective.size), tol=1e-4, max_iter=200)
    assert result.status == "converged"
    near = [step for step in result.history if step.objective - result.value <= 3e-5 * result.value]
    assert result.passes - near[0].passes <= 16
