"""Newton path following for the hinges, against solvers that share nothing with it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimise
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, load_iris
from sklearn.svm import LinearSVC

import crosshead.curvature.row_factors as factors
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.newton import Newton
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients


def problem(X: Any, y: Any, loss: Any, alpha: float, *, intercept: bool = True, classes: int = 0) -> Objective:
    y = np.asarray(y, dtype=np.int32)
    data = TrainingData(X, y, classes or int(y.max()) + 1)
    return Objective(make_engine("auto", data), loss, ElasticNet(alpha, 0.0), fit_intercept=intercept)


def gaussian(seed: int, n: int, d: int, classes: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, d))
    return X, np.argmax(X @ random.normal(size=(d, classes)) + random.normal(size=(n, classes)), axis=1)


def slack_truth(X: Any, y: Any, alpha: float, classes: int, *, worst_only: bool) -> float:
    """The optimum of the quadratic programme with one slack for each margin (or for each row)."""
    n, d = X.shape
    pairs = [(i, j) for i in range(n) for j in range(classes) if j != y[i]]
    parameters = classes * (d + 1)
    slacks = n if worst_only else len(pairs)
    rows = np.zeros((len(pairs) + slacks, parameters + slacks))
    offset = np.zeros(len(rows))
    for k, (i, j) in enumerate(pairs):  # slack + z_y − z_j − 1 ≥ 0
        for c, sign in ((y[i], 1.0), (j, -1.0)):
            rows[k, c * d : (c + 1) * d] = sign * X[i]
            rows[k, classes * d + c] = sign
        rows[k, parameters + (i if worst_only else k)] = 1.0
        offset[k] = -1.0
    rows[len(pairs) :, parameters:] = np.eye(slacks)
    weights = np.arange(parameters + slacks) < classes * d

    def value(v: Any) -> tuple[float, Any]:
        gradient = alpha * v * weights
        gradient[parameters:] = 1 / n
        return float(alpha / 2 * v[weights] @ v[weights] + v[parameters:].sum() / n), gradient

    start = np.concatenate([np.zeros(parameters), np.ones(slacks)])
    constraint = {"type": "ineq", "fun": lambda v: rows @ v + offset, "jac": lambda v: rows}
    found = scipy_minimise(
        value, start, jac=True, method="SLSQP", constraints=[constraint], options={"ftol": 1e-13, "maxiter": 500}
    )
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("alpha", [0.02, 0.3, 10.0])
@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_optimum_of_the_quadratic_programme(name: str, alpha: float) -> None:
    X, y = gaussian(3, 10, 2, 3)
    result = minimise(objective := problem(X, y, get_loss(name), alpha), np.zeros(objective.size), tol=1e-8)
    truth = slack_truth(X, y, alpha, 3, worst_only=name == "crammer_singer")
    assert result.status == "converged"
    assert result.value == pytest.approx(truth, rel=1e-6)
    assert result.bound <= truth * (1 + 1e-7)


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_crammer_singer_of_liblinear(strength: float) -> None:
    X, y = load_iris(return_X_y=True)
    alpha = 1 / (strength * len(X))
    objective = problem(X, y, get_loss("crammer_singer"), alpha, intercept=False)
    result = minimise(objective, np.zeros(objective.size), tol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LinearSVC(
            multi_class="crammer_singer", C=strength, fit_intercept=False, tol=1e-8, max_iter=200_000, random_state=0
        )
        model.fit(X, y)
    theirs = objective.evaluate(objective.pack(model.coef_, np.zeros(3))).value
    assert result.status == "converged"
    assert result.value <= theirs * (1 + 1e-7)
    assert result.value == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("rows_per_alpha", [1, 100])
@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_digits_to_a_millionth(name: str, rows_per_alpha: float) -> None:
    X, y = load_digits(return_X_y=True)
    objective = problem(X / 16, y, get_loss(name), rows_per_alpha / len(X))
    result = minimise(objective, np.zeros(objective.size), tol=1e-6)
    assert result.status == "converged"
    assert result.gap <= 1e-6
    assert result.passes < 1000


@pytest.mark.parametrize("seed", range(24))
def test_awkward_problems(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, d, classes = (int(random.choice(sizes)) for sizes in ([10, 40, 200], [1, 2, 20], [2, 3, 5]))
    X, y = gaussian(seed, n, d, classes)
    y[:classes] = np.arange(classes)  # no class without rows
    if seed % 3 == 0:  # a column twice and one without content
        X = np.hstack([X, X[:, :1], np.zeros((n, 1))])
    if seed % 4 == 0:
        X = X * 10 ** random.uniform(-2, 2, size=X.shape[1])
    loss = get_loss(str(random.choice(["hinge", "crammer_singer"])))
    alpha = float(random.choice([1e-4, 1e-2, 1.0, 10.0]))
    objective = problem(X, y, loss, alpha, intercept=bool(seed % 5), classes=classes)
    result = minimise(objective, np.zeros(objective.size), tol=1e-6)
    assert result.status == "converged"
    assert result.bound <= result.value


def test_sparse_and_single_precision_features() -> None:
    X, y = gaussian(5, 120, 8, 3)
    X[np.abs(X) < 0.5] = 0
    values = []
    for features in (X, csr_matrix(X), X.astype(np.float32)):
        objective = problem(features, y, get_loss("hinge"), 0.01)
        result = minimise(objective, np.zeros(objective.size), tol=1e-6)
        assert result.status == "converged"
        values.append(result.value)
    np.testing.assert_allclose(values, values[0], rtol=3e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["hinge", "crammer_singer", "softmax", "squared_hinge", "binary", "squared_error"])
def test_every_way_to_solve_inverts_the_hessian(name: str, intercept: bool, monkeypatch: Any) -> None:
    X, y = gaussian(7, 60, 5, 4)
    objective = problem(X, y, get_loss(name).smoothed(1.0), 0.01, intercept=intercept)
    random = np.random.default_rng(0)
    point, direction = random.normal(scale=0.3, size=(2, objective.size))
    for vector in (point, direction):
        vector[-4:] = vector[-4:] - vector[-4:].mean() if intercept else 0.0
    step = 1e-6
    after, before = (objective.evaluate(point + sign * step * direction).gradient for sign in (1, -1))
    hessian = objective.hessian(objective.evaluate(point))
    assert hessian is not None
    product = hessian.multiply(direction)
    np.testing.assert_allclose(product, (after - before) / (2 * step), atol=1e-7)

    for limit in ("DENSE_FACTORS", "DENSE_PARAMETERS"):
        with monkeypatch.context() as context:
            context.setattr(factors, limit, 0)
            solved = hessian.solve(product[:, None])
        if solved is not None:
            np.testing.assert_allclose(hessian.multiply(solved[:, 0]), product, atol=1e-8)
    iterated = conjugate_gradients(hessian, product.copy(), 1e-10, 200)
    np.testing.assert_allclose(hessian.multiply(iterated), product, atol=1e-8)


def test_newton_by_itself() -> None:
    X, y = gaussian(9, 200, 6, 3)
    objective = problem(X, y, get_loss("softmax"), 1e-3)
    result = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=30)
    assert result.status == "converged"
    assert result.iterations <= 12
