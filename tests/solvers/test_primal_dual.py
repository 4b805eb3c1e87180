"""Newton's method on weights and residuals at once, against scikit-learn's Newton solver in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import crosshead.objective.factored_hessian as factored_hessian
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.losses.softmax import Softmax
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.lbfgs import LBFGS
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.primal_dual import PrimalDualNewton


def digits(decades: float, dtype: Any = np.float64, *, every: int = 3) -> tuple[Any, Any]:
    """A part of the digits, standardised, its columns multiplied by 10^U(−decades, decades)."""
    X, y = load_digits(return_X_y=True)
    X, y = X[::3, ::every], y[::3]
    size = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(size > 0, size, 1)
    return (X * 10 ** np.random.default_rng(0).uniform(-decades, decades, X.shape[1])).astype(dtype), y


def objective_of(X: Any, y: Any, loss: Any, alpha: float, **options: Any) -> Objective:
    data = TrainingData(X, np.asarray(y, dtype=np.int32), int(np.max(y)) + 1, options.pop("sample_weight", None))
    threads = options.pop("threads", None)
    return Objective(make_engine("auto", data, threads), loss, ElasticNet(alpha, 0.0), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("decades", [0, 3])
def test_the_optimum_of_scikit_learn(decades: float, dtype: Any) -> None:
    X, y = digits(decades, dtype)
    objective = objective_of(X, y, get_loss("softmax"), 1 / len(X))
    result = minimise_with(PrimalDualNewton(), objective, np.zeros(objective.size), tol=1e-8, max_iter=200)
    theirs = LogisticRegression(solver="newton-cholesky", C=1.0, tol=1e-9, max_iter=100).fit(X.astype(np.float64), y)
    truth = objective.evaluate(objective.pack(theirs.coef_, theirs.intercept_)).value
    assert result.status == "converged"
    assert result.value == pytest.approx(truth, rel=2e-8)
    assert result.passes < 200
    assert 0 < result.history[-1].factorisations < 12


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    "loss", [get_loss("binary"), get_loss("squared_hinge"), Softmax(label_smoothing=0.1)], ids=repr
)
def test_it_agrees_with_quasi_newton(loss: Any, intercept: bool) -> None:
    X, y = digits(2)
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    objective = objective_of(X, y, loss, 1e-2, fit_intercept=intercept, sample_weight=weight)
    start = np.zeros(objective.size)
    methods: list[Any] = [PrimalDualNewton(), LBFGS()]
    results = [minimise_with(method, objective, start, tol=1e-7, max_iter=900) for method in methods]
    assert [result.status for result in results] == ["converged"] * 2
    assert results[0].value == pytest.approx(results[1].value, rel=2e-7)


def test_the_residuals_certify_weights_whose_own_residuals_do_not() -> None:
    """At nearly the best weights the gap of their own residuals is wide open; that of the residuals followed is not."""
    X, y = digits(3)
    objective = objective_of(X, y, get_loss("softmax"), 1 / len(X))
    own = minimise_with(LBFGS(), objective, np.zeros(objective.size), tol=1e-4, max_iter=25)
    assert own.gap > 0.3
    result = minimise_with(PrimalDualNewton(), objective, own.point, tol=1e-4, max_iter=25)
    assert result.status == "converged"
    assert own.value < 1.03 * result.value


@pytest.mark.parametrize("name", ["softmax", "binary"])
def test_residuals_follow_their_derivative_and_keep_to_their_domain(name: str) -> None:
    loss = get_loss(name)
    random = np.random.default_rng(0)
    scores, change, y = random.normal(size=(9, 4)), random.normal(size=(9, 4)), np.arange(9) % 4
    step = 1e-5
    here = loss.value_and_gradient(scores, y)[1]
    moved = loss.follow(scores, y, step * change)
    assert moved is not None
    along = loss.hessian_product(scores, y, change)
    np.testing.assert_allclose((loss.value_and_gradient(moved, y)[1] - here) / step, along, atol=1e-8)
    far = loss.follow(scores, y, 1e6 * change)
    assert far is not None
    assert np.isfinite(far).all()
    assert np.isfinite(loss.conjugate(loss.value_and_gradient(far, y)[1], y)).all()


def test_small_steps_are_not_needed_where_residuals_end_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature that one row alone has: its residual ends near 1e-9, and scores move by more than one a step."""
    monkeypatch.setattr(factored_hessian, "DRAWN_PER_PARAMETER", 1000)  # all rows
    X = np.zeros((40, 2))
    X[:, 1] = np.linspace(-1, 1, 40)
    X[0, 0] = 1e4
    y = (np.arange(40) % 3 == 0).astype(np.int32)
    objective = objective_of(X, y, get_loss("softmax"), 1e-2)
    result = minimise_with(PrimalDualNewton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=30)
    assert result.status == "converged"
    scores = objective.row_duals.scores(result.point, lambda: None)
    assert loss_gradient(scores, y)[0] < 1e-6
    assert result.iterations < 12


def loss_gradient(scores: Any, y: Any) -> Any:
    return np.abs(Softmax().value_and_gradient(scores, y)[1]).max(axis=1)


def test_steps_that_lead_nowhere_end(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = digits(1, every=8)
    objective = objective_of(X, y, get_loss("squared_hinge"), 1e-2)
    result = minimise_with(PrimalDualNewton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=1)
    monkeypatch.setattr("crosshead.solvers.primal_dual.best_length", lambda *_: 0.0)
    stuck = minimise_with(PrimalDualNewton(), objective, result.point, tol=1e-9, max_iter=200)
    assert stuck.status == "stalled"
    assert stuck.iterations < 20
    assert stuck.value == result.value


@pytest.mark.parametrize("loss", ["softmax", "squared_hinge", "binary"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_features_that_do_not_vary(loss: str, fit_intercept: bool) -> None:
    """A single class has nothing to factorise."""
    y = np.array([0, 1, 2, 1, 1])
    for X in (np.zeros((5, 2)), np.full((5, 2), 3.0)):
        objective = objective_of(X, y, get_loss(loss), 0.1, fit_intercept=fit_intercept)
        result = minimise_with(PrimalDualNewton(), objective, np.zeros(objective.size), tol=1e-6, max_iter=60)
        assert result.status == "converged"
    single = objective_of(np.ones((5, 2)), np.zeros(5), get_loss(loss), 0.1, fit_intercept=fit_intercept)
    result = minimise_with(PrimalDualNewton(), single, np.zeros(single.size), tol=1e-6, max_iter=60)
    assert result.status != "max_iter"


def test_as_many_threads_as_you_like() -> None:
    X, y = digits(2, np.float32)
    found = []
    for threads in (1, 3):
        objective = objective_of(X, y, get_loss("softmax"), 1e-3, threads=threads)
        found.append(minimise_with(PrimalDualNewton(), objective, np.zeros(objective.size), tol=1e-6, max_iter=60))
    np.testing.assert_array_equal(found[0].point, found[1].point)
    assert found[0].passes == found[1].passes


def test_no_feature_at_all_costs_nothing() -> None:
    objective = objective_of(np.zeros((7, 0)), np.arange(7) % 2, get_loss("softmax"), 0.1)
    assert np.isfinite(objective.row_duals.factor_passes)
