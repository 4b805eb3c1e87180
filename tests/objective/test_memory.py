"""What a model of the curvature, and a fit, hold beyond the features: measured, at sizes where a copy would show."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crosshead.curvature import kronecker as metric_module
from crosshead.engines import TrainingData, has_native, make_engine
from crosshead.linear import LinearClassifier
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.objective.bias import BiasCurvature
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.lbfgs import LBFGS

native = pytest.mark.skipif(not has_native(), reason="the reference engine gathers and widens blocks of rows")


def data(rows: int, columns: int, classes: int, weight: Any = None) -> TrainingData:
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, columns)).astype(np.float32)
    y = (X[:, :classes] + random.normal(size=(rows, classes))).argmax(axis=1).astype(np.int32)
    return TrainingData(X, y, classes, weight)


def held(call: Callable[[], Any]) -> tuple[Any, int, int]:
    """What a call returns, the most it held, and what is left of it, in bytes."""
    tracemalloc.start()
    try:
        result = call()
        now, peak = tracemalloc.get_traced_memory()
        return result, peak, now
    finally:
        tracemalloc.stop()


def objective_of(rows: TrainingData, loss: str = "softmax") -> Objective:
    return Objective(make_engine("auto", rows, 1), get_loss(loss), ElasticNet(1e-4))


@native
def test_drawn_rows_are_not_copied() -> None:
    """3000 of 12000 rows; what is held are numbers a row and matrices of the features' number."""
    rows = data(12_000, 160, 3)
    objective = objective_of(rows)
    here = objective.evaluate(np.zeros(objective.size))
    model, peak, _ = held(lambda: objective.model(here, rows=3000, share=0.1))
    assert 2800 < model.n_rows < 3200
    assert peak < 0.3 * rows.features.nbytes  # a copy of the rows alone would be 0.25
    assert model.engine.data.target.dtype == np.float32


@native
def test_rows_without_weight_cost_no_copy_of_the_others() -> None:
    """As in a fold, whose held-out rows weigh nothing."""
    weight = np.ones(12_000)
    weight[::5] = 0.0
    rows = data(12_000, 160, 3, weight)
    objective = objective_of(rows)
    here = objective.evaluate(np.zeros(objective.size))
    _, peak, now = held(lambda: objective.model(here, rows=3000, share=0.1))
    assert peak < 0.35 * rows.features.nbytes
    assert now < 0.2 * rows.features.nbytes


def test_of_many_classes_the_diagonal_alone_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = data(900, 12, 9)
    objective = objective_of(rows)
    here = objective.evaluate(np.random.default_rng(0).normal(size=objective.size))
    dense = objective.metric(here)
    monkeypatch.setattr("crosshead.curvature.row_sampling.DENSE_CLASSES", 8)
    monkeypatch.setattr(metric_module, "DENSE_CLASSES", 8)
    alone = objective.metric(here)
    np.testing.assert_allclose(alone.class_matrix, np.diag(dense.class_matrix), rtol=1e-6)
    np.testing.assert_allclose(alone.features.matrix, dense.features.matrix, rtol=1e-6, atol=1e-9)
    assert alone.classes.vectors is None


def test_the_old_model_is_gone_before_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from crosshead.solvers.methods import lbfgs

    objective = objective_of(data(2000, 20, 3))
    run = Run(objective, 1e-12, None, exact=True)
    state = LBFGS().start(run, np.zeros(objective.size))
    observed, estimate_curvature = [], lbfgs.estimate_curvature

    def watched(*arguments: Any) -> Any:
        observed.append(state.memory is not None and hasattr(state.memory, "initial"))
        return estimate_curvature(*arguments)

    monkeypatch.setattr(lbfgs, "estimate_curvature", watched)
    for _ in range(12):
        state = LBFGS().step(run, state)
    assert len(observed) > 1
    assert not any(observed)


def test_the_biases_curvature_holds_few_matrices_of_the_classes() -> None:
    """500 classes: 2 MB each, and blocks of scores."""
    rows = data(6000, 600, 500)
    W = np.zeros((500, 600))
    curvature, peak, now = held(lambda: BiasCurvature.of(get_loss("softmax"), rows, W, np.zeros(500)))
    size = 8 * 500**2
    assert curvature.factor.shape == (500, 500)
    assert now < 1.2 * size
    assert peak < 3 * size + 5 * 4 * (1 << 20)


@native
@pytest.mark.parametrize(
    ("loss", "alpha", "l1_ratio"), [("softmax", 1e-5, 0.0), ("squared_hinge", 1e-4, 0.0), ("softmax", 1e-3, 1.0)]
)
def test_a_fit_holds_less_than_a_third_of_the_features(loss: str, alpha: float, l1_ratio: float) -> None:
    rows = data(40_000, 120, 4)
    model = LinearClassifier(loss, alpha=alpha, l1_ratio=l1_ratio, tol=1e-5, n_threads=1)
    _, peak, _ = held(lambda: model.fit(rows.features, rows.target))
    assert model.status_ == "converged"
    assert peak < 0.3 * rows.features.nbytes
