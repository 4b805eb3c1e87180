"""Following the penalty's path, against scikit-learn's Newton solver in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import crosshead.curvature.factored as factored_hessian
import crosshead.objective.penalty_levels as penalty_levels
import crosshead.solvers.methods.penalty_path as penalty_path
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.losses.softmax import Softmax
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise, stages
from crosshead.solvers.costs import factored_hessian_fits, path_passes
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.penalty_path import PenaltyPath, tangent
from crosshead.solvers.stages import Stage, Stages


def digits(decades: float, dtype: Any = np.float64, *, every: int = 3) -> tuple[Any, Any]:
    """A part of the digits, standardised, its columns multiplied by 10^U(−decades, decades)."""
    X, y = load_digits(return_X_y=True)
    X, y = X[::3, ::every], y[::3]
    size = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(size > 0, size, 1)
    return (X * 10 ** np.random.default_rng(0).uniform(-decades, decades, X.shape[1])).astype(dtype), y


def objective_of(X: Any, y: Any, loss: Any, alpha: float, **options: Any) -> Objective:
    data = TrainingData(X, np.asarray(y, dtype=np.int32), int(np.max(y)) + 1, options.pop("sample_weight", None))
    return Objective(make_engine("auto", data), loss, ElasticNet(alpha, 0.0), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("decades", [0, 3])
def test_the_optimum_of_scikit_learn(decades: float, dtype: Any) -> None:
    X, y = digits(decades, dtype)
    objective = objective_of(X, y, get_loss("softmax"), 1 / len(X))
    result = minimise_with(PenaltyPath(), objective, np.zeros(objective.size), tol=1e-8, max_iter=200)
    theirs = LogisticRegression(solver="newton-cholesky", C=1.0, tol=1e-9, max_iter=100).fit(X.astype(np.float64), y)
    truth = objective.evaluate(objective.pack(theirs.coef_, theirs.intercept_)).value
    assert result.status == "converged"
    assert result.value == pytest.approx(truth, rel=2e-8)
    assert result.passes < 150
    assert result.history[-1].factorisations > 0


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    "loss", [get_loss("binary"), get_loss("squared_hinge"), Softmax(label_smoothing=0.1)], ids=repr
)
def test_it_agrees_with_quasi_newton(loss: Any, intercept: bool) -> None:
    X, y = digits(2)
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    objective = objective_of(X, y, loss, 1e-2, fit_intercept=intercept, sample_weight=weight)
    start = np.zeros(objective.size)
    results = [minimise_with(method, objective, start, tol=1e-7, max_iter=900) for method in (PenaltyPath(), LBFGS())]
    assert [result.status for result in results] == ["converged"] * 2
    assert results[0].value == pytest.approx(results[1].value, rel=2e-7)


def test_quasi_newton_hands_over_where_the_gap_does_not_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = digits(3, every=2)
    values = []
    for handed_over in (True, False):
        monkeypatch.setattr(stages, "falls_behind", lambda seen, *_, now=handed_over: now and len(seen) > 5)
        objective = objective_of(X, y, get_loss("softmax"), 1 / len(X))
        result = minimise(objective, np.zeros(objective.size), tol=1e-4)
        assert result.status == "converged"
        assert (result.history[-1].factorisations > 0) == handed_over
        values.append(result.value)
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_quasi_newton_takes_over_again_where_nothing_can_be_factorised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "falls_behind", lambda seen, *_: len(seen) > 3)
    monkeypatch.setattr(penalty_levels, "factorise", lambda *_, **__: None)
    X, y = digits(0, every=2)
    objective = objective_of(X, y, get_loss("softmax"), 1e-2)
    result = minimise(objective, np.zeros(objective.size), tol=1e-6)
    assert result.status == "converged"
    assert result.history[-1].factorisations == 1


def test_well_scaled_features_are_left_to_quasi_newton() -> None:
    X, y = digits(0, every=2)
    objective = objective_of(X, y, get_loss("softmax"), 1 / len(X))
    stages = Stages(
        (Stage(LBFGS, worth=path_passes, trial=15, rests=0.5), Stage(PenaltyPath, fits=factored_hessian_fits))
    )
    result = minimise_with(stages, objective, np.zeros(objective.size), tol=1e-4, max_iter=200)
    assert result.status == "converged"
    assert result.passes > 15
    assert {progress.factorisations for progress in result.history} == {0}


def test_the_tangent_is_the_derivative_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """W(μ) by two separate fits to the end, and the solution of H dW = tangent between them."""
    monkeypatch.setattr(factored_hessian, "DRAWN_PER_PARAMETER", 1000)  # all rows
    X, y = digits(1)
    ends = []
    step = 1e-3
    for level in (0.3 * np.exp(step / 2), 0.3 * np.exp(-step / 2)):
        scale = np.sqrt(np.maximum(1e-3, level * X.var(axis=0)) / 1e-3)
        objective = objective_of(X / scale, y, get_loss("softmax"), 1e-3)
        result = minimise(objective, np.zeros(objective.size), tol=1e-13)
        weight, bias = objective.unpack(result.point)
        ends.append(objective.pack(weight / scale, bias))
    objective = objective_of(X, y, get_loss("softmax"), 1e-3)
    middle = (ends[0] + ends[1]) / 2
    factored = objective.levels.factored(middle, 0.3, 0)
    assert factored is not None
    moved = factored.precondition(tangent(objective, middle, 0.3 * np.exp(step / 2), 0.3 * np.exp(-step / 2)))
    np.testing.assert_allclose(moved, ends[1] - ends[0], atol=2e-3 * float(np.abs(moved).max()))


def test_a_path_without_a_better_point_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no search finds anything the levels still fall, once each, and then it is stuck."""
    X, y = digits(1, every=8)
    objective = objective_of(X, y, get_loss("softmax"), 1e-2)
    result = minimise_with(PenaltyPath(), objective, np.zeros(objective.size), tol=1e-9, max_iter=1)
    monkeypatch.setattr(penalty_path, "search", lambda *_, **__: None)
    stuck = minimise_with(PenaltyPath(), objective, result.point, tol=1e-9, max_iter=200)
    assert stuck.status == "stalled"
    assert stuck.iterations < 20
    assert stuck.value == result.value


@pytest.mark.parametrize("loss", ["softmax", "squared_hinge", "binary"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_features_that_do_not_vary(loss: str, fit_intercept: bool) -> None:
    """Their variance of zero decides no level, and a single class has nothing to factorise."""
    y = np.array([0, 1, 2, 1, 1])
    for X in (np.zeros((5, 2)), np.full((5, 2), 3.0)):
        objective = objective_of(X, y, get_loss(loss), 0.1, fit_intercept=fit_intercept)
        result = minimise_with(PenaltyPath(), objective, np.zeros(objective.size), tol=1e-6, max_iter=60)
        assert result.status == "converged"
    single = objective_of(np.ones((5, 2)), np.zeros(5), get_loss(loss), 0.1, fit_intercept=fit_intercept)
    result = minimise_with(PenaltyPath(), single, np.zeros(single.size), tol=1e-6, max_iter=60)
    assert result.status != "max_iter"


def test_no_feature_at_all_costs_nothing() -> None:
    objective = objective_of(np.zeros((7, 0)), np.arange(7) % 2, get_loss("softmax"), 0.1)
    assert np.isfinite(path_passes(objective.facts))
