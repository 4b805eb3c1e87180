"""The interior-point method of violations, against linear programs solved by HiGHS, L-BFGS-B and derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize, sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result, minimise
from crosshead.solvers.costs import quadratic_program_fits
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.interior_point import InteriorPoint, centred, centred_squares
from crosshead.solvers.methods.primal_dual import PrimalDual

KINKED = [name for name in LOSSES if not get_loss(name).smooth]
WITH_VIOLATIONS = [name for name in LOSSES if get_loss(name).pieces is not None]
CLASSES, COLUMNS = 4, 5


def rows(n: int = 41, *, seed: int = 0, weighted: bool = True, missing: bool = False, dtype: Any = np.float64) -> Any:
    """Overlapping classes on features of different scales; some weights are zero."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n).astype(np.int32)
    if missing:
        y[y == 2] = 0
    X = random.normal(size=(n, COLUMNS)) + np.eye(CLASSES, COLUMNS)[y]
    X *= [1, 0.03, 20, 1, 1]
    s = random.integers(0, 4, n).astype(np.float64) if weighted else None
    return TrainingData(X.astype(dtype), y, CLASSES, s)


def objective_of(
    data: TrainingData, name: str, alpha: float, l1_ratio: float = 1.0, *, fit_intercept: bool = True, **options: Any
) -> Objective:
    loss = get_loss(name, **options)
    return Objective(make_engine("auto", data), loss, ElasticNet(alpha, l1_ratio), fit_intercept=fit_intercept)


def fit(objective: Objective, **options: Any) -> Result:
    return minimise(objective, np.zeros(objective.size), **{"max_iter": 100, **options})


def linear_program(objective: Objective) -> float:
    """min αΣ(P + N) + Σ sᵢξ over P, N, ξ ≥ 0 and b, ξ ≥ z_j − z_y + Δ, by HiGHS."""
    data = objective.engine.data
    X = np.asarray(data.features.todense() if data.sparse else data.features, dtype=np.float64)
    n, D, C = *X.shape, data.n_classes
    share = data.weights / data.total_weight
    each = objective.loss.name == "hinge"
    columns = 2 * C * D + C
    lines, cost = [], []
    for i, y in enumerate(data.target):
        for j in range(C):
            if j == y:
                continue
            line = np.zeros((2, C, D))
            line[0, j], line[0, y] = X[i], -X[i]
            line[1] = -line[0]
            bias = np.eye(C)[j] - np.eye(C)[y]
            lines.append(np.concatenate([line.ravel(), bias]))
            cost.append(i)
    slack = np.arange(len(lines)) if each else np.array(cost)
    count = len(lines) if each else n
    entries = sparse.csr_matrix((-np.ones(len(lines)), (np.arange(len(lines)), slack)), shape=(len(lines), count))
    matrix = sparse.hstack([sparse.csr_matrix(np.array(lines)), entries], format="csc")
    price = np.concatenate(
        [np.full(columns - C, objective.l1_weight), np.zeros(C), share[np.array(cost)] if each else share]
    )
    free = (None, None) if objective.fit_intercept else (0, 0)
    bounds = [(0, None)] * (columns - C) + [free] * C + [(0, None)] * count
    right = np.full(len(lines), -objective.loss.margin)  # type: ignore[attr-defined]
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = optimize.linprog(price, matrix, right, bounds=bounds, method="highs", options=options)
    assert found.status == 0
    return float(found.fun)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("alpha", [1e-5, 1e-3, 3e-2])
@pytest.mark.parametrize("case", ["plain", "weighted", "missing class", "no bias", "sparse", "single", "margin"])
def test_the_optimum_is_that_of_the_linear_program(name: str, alpha: float, case: str) -> None:
    data = rows(
        weighted=case not in ("plain", "margin"),
        missing=case in ("missing class", "no bias"),
        dtype=np.float32 if case == "single" else np.float64,
    )
    if case == "sparse":
        data = TrainingData(sparse.csr_matrix(data.features), data.target, CLASSES, data.sample_weight)
    options = {"margin": 3.0} if case == "margin" else {}
    objective = objective_of(data, name, alpha, fit_intercept=case != "no bias", **options)
    result = fit(objective, tol=1e-7)
    optimum = linear_program(objective)
    assert result.status == "converged"
    assert result.iterations <= 60
    assert result.value == pytest.approx(optimum, rel=1.1e-7, abs=1e-12)
    assert result.bound <= optimum * (1 + 1e-9) + 1e-12
    assert result.value >= optimum * (1 - 1e-9) - 1e-12


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("seed", range(6))
def test_rows_and_columns_over_six_decades(name: str, seed: int) -> None:
    """Against the linear program; a barrier that weighs rows as the loss does ended in steps of no length here."""
    random = np.random.default_rng(seed)
    data = rows(90, seed=seed, weighted=False)
    X = data.features * 10 ** random.uniform(-3, 3, data.n_features)
    data = TrainingData(X, data.target, CLASSES, 10 ** random.uniform(-3, 3, 90))
    objective = objective_of(data, name, 10 ** random.uniform(-5, -3))
    result, optimum = fit(objective, tol=1e-5), linear_program(objective)
    assert result.status == "converged"
    assert optimum * (1 - 1e-7) <= result.value <= optimum * (1 + 1.1e-5)
    assert result.bound <= optimum * (1 + 1e-7)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("alpha", [1e-6, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("l1_ratio", [0.01, 0.5, 1.0])
def test_small_gaps_with_any_mixture(name: str, alpha: float, l1_ratio: float) -> None:
    """1e-7 everywhere, where stages of first-order steps used to end at 1e-3 to 1."""
    result = fit(objective_of(rows(seed=1), name, alpha, l1_ratio), tol=1e-7)
    assert result.status == "converged", result


@pytest.mark.parametrize("name", KINKED)
def test_weights_that_do_not_matter_are_exactly_zero(name: str) -> None:
    """A basic solution of the linear program has at most as many weights as rows; irrelevant features have none."""
    data = rows(90, weighted=False)
    noise = 1e-3 * np.random.default_rng(2).normal(size=(90, 6))
    data = TrainingData(np.hstack([data.features, noise]), data.target, CLASSES)
    objective = objective_of(data, name, 1e-2)
    weight, _ = objective.unpack(fit(objective, tol=1e-6).point)
    assert not weight[:, COLUMNS:].any()
    assert weight[:, :COLUMNS].any()


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_a_weight_of_three_is_three_rows(name: str, l1_ratio: float) -> None:
    data = rows(30)
    counts = data.weights.astype(int)
    repeated = TrainingData(np.repeat(data.features, counts, axis=0), np.repeat(data.target, counts), CLASSES)
    one, other = (fit(objective_of(each, name, 1e-3, l1_ratio), tol=1e-8) for each in (data, repeated))
    assert one.value == pytest.approx(other.value, rel=2e-8)
    assert abs(one.iterations - other.iterations) <= 1


@pytest.mark.parametrize("name", KINKED)
def test_the_result_is_the_same_again_and_with_any_number_of_threads(name: str) -> None:
    data = rows(200)
    points = []
    for threads in (1, 2, 3):
        objective = Objective(make_engine("auto", data, threads), get_loss(name), ElasticNet(1e-3, 0.5))
        points.append(fit(objective, tol=1e-6).point)
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])


@pytest.mark.parametrize("name", KINKED)
def test_the_start_is_never_left_for_something_worse(name: str) -> None:
    objective = objective_of(rows(), name, 1e-3, 0.5)
    cold = fit(objective, tol=1e-7)
    assert minimise(objective, cold.point, tol=1e-9, max_iter=3).value <= cold.value
    far = 1e4 * np.random.default_rng(3).normal(size=objective.size)
    assert minimise(objective, far, tol=1e-7).value == pytest.approx(cold.value, rel=2e-7)


@pytest.mark.parametrize("name", WITH_VIOLATIONS)
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_linear_system_is_the_derivative(name: str, fit_intercept: bool) -> None:
    """Where u·r = τ throughout, r is a function of θ; its adjoint image changes by the matrix that is factorised."""
    objective = objective_of(rows(23), name, 0.1, fit_intercept=fit_intercept)
    program = objective.dual.program
    random = np.random.default_rng(4)
    theta, step = random.normal(size=(2, CLASSES, COLUMNS + 1))
    for each in (theta, step):
        each[:, -1] -= each[-1, -1] if fit_intercept else each[:, -1]

    def groups(at: Any) -> Any:
        violations = program.violations(at).reshape(-1, *program.group_shape)
        if program.pieces.squared:
            return centred_squares(violations, 0.3, 1.0)
        return centred(np.concatenate([np.zeros((*violations.shape[:2], 1)), violations], axis=2), 0.3, 1.0)

    def image(at: Any) -> Any:
        residual = groups(at).residual
        return program.collect(residual.reshape(len(residual), -1))

    h = 1e-5
    change = (image(theta + h * step) - image(theta - h * step)) / (2 * h) + 0.2 * step
    solved = program.solver(groups(theta).ratios, np.full(theta.shape, 0.2))(change)
    np.testing.assert_allclose(solved, step, atol=1e-6 * np.abs(step).max())
    violations = random.normal(size=program.others.shape)
    inner = float((program.row_weight[:, None] * violations * program.moved(step)).sum())
    assert float(np.vdot(program.collect(violations), step)) == pytest.approx(inner, rel=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
@pytest.mark.parametrize("case", ["plain", "missing class", "no bias", "rows"])
def test_squared_violations_against_bounded_quasi_newton(l1_ratio: float, alpha: float, case: str) -> None:
    """F over W = P − Q with P, Q ≥ 0, by L-BFGS-B with the textbook gradient."""
    random = np.random.default_rng(1)
    data = rows(60, weighted=False, missing=case == "missing class")
    weight = 10 ** random.uniform(-3, 3, 60) if case == "rows" else None
    data = TrainingData(data.features, data.target, CLASSES, weight)
    objective = objective_of(data, "squared_hinge", alpha, l1_ratio, fit_intercept=case != "no bias")
    X, y, s = data.features, data.target, data.weights / data.total_weight
    one_hot, count = np.eye(CLASSES)[y], CLASSES * COLUMNS

    def function(v: Any) -> Any:
        P, Q, b = v[:count], v[count : 2 * count], v[2 * count :]
        W = (P - Q).reshape(CLASSES, COLUMNS)
        Z = X @ W.T + b
        M = np.maximum(Z - Z[np.arange(len(y)), y][:, None] + 1, 0) * (1 - one_hot)
        R = 2 * M - one_hot * (2 * M).sum(axis=1, keepdims=True)
        G, l1 = (s[:, None] * R).T @ X + alpha * (1 - l1_ratio) * W, alpha * l1_ratio
        value = s @ (M**2).sum(axis=1) + alpha * (1 - l1_ratio) / 2 * (W**2).sum() + l1 * (P + Q).sum()
        return value, np.concatenate([G.ravel() + l1, l1 - G.ravel(), (s[:, None] * R).sum(axis=0)])

    free = (None, None) if objective.fit_intercept else (0, 0)
    bounds = [(0, None)] * (2 * count) + [free] * CLASSES
    v, options = np.zeros(2 * count + CLASSES), {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-15, "gtol": 1e-11}
    for _ in range(3):
        v = optimize.minimize(function, v, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    result = minimise_with(InteriorPoint(), objective, np.zeros(objective.size), tol=1e-9, max_iter=100)
    assert result.status == "converged"
    assert result.value <= function(v)[0] * (1 + 1e-9)
    assert result.bound <= function(v)[0]
    assert result.value == pytest.approx(function(v)[0], rel=1e-3)


@pytest.mark.parametrize("name", WITH_VIOLATIONS)
def test_what_all_classes_have_in_common_is_not_rounded_away(name: str) -> None:
    """With an L1 part one of an odd number of classes has a weight of zero; the loss does not see the common shift."""
    random = np.random.default_rng(9)
    X = random.normal(size=(200, 20)) * 10 ** random.uniform(-3, 3, 20)
    data = TrainingData(X, random.integers(0, 3, 200).astype(np.int32), 3)
    objective = objective_of(data, name, 1e-5)
    result = minimise_with(InteriorPoint(), objective, np.zeros(objective.size), tol=1e-8, max_iter=100)
    assert result.status == "converged"
    middle = np.sort(objective.unpack(result.point)[0], axis=0)[1]
    if name in KINKED:  # squares end at a gap of 1e-8 with weights that are zero but for that
        assert (middle == 0).all()


@pytest.mark.parametrize("name", KINKED)
def test_central_groups(name: str) -> None:
    """ξ of widely different maxima: Σ τ/(ξ − m_k) = 1, and for two equal ones ξ − m = 2τ."""
    values = np.array([[0.0, 0.0, -1e6], [0.0, 1e6, 3.0], [0.0, -1e-9, 5.0]])
    found = centred(values, 0.01, 1.0)
    np.testing.assert_allclose(found.dual.sum(axis=1), 1, rtol=1e-14)
    assert (found.slack > 0).all()
    np.testing.assert_allclose(found.slack[0, :2], 0.02, rtol=1e-6)
    np.testing.assert_allclose(found.slack[1, 1], 0.01, rtol=1e-6)


def test_only_losses_of_violations_have_a_program_and_only_small_ones() -> None:
    assert [name for name in LOSSES if quadratic_program_fits(objective_of(rows(), name, 0.1).facts)] == WITH_VIOLATIONS
    smoothed = objective_of(rows(), "hinge", 0.1).smoothed(0.5)
    assert not quadratic_program_fits(smoothed.facts)
    with pytest.raises(ValueError, match="not one of violations"):
        _ = smoothed.dual.program
    for n_rows, n_features in ((4000, 4000), (400000, 80)):
        assert not quadratic_program_fits(
            replace(objective_of(rows(), "hinge", 0.1).facts, n_rows=n_rows, n_features=n_features)
        )


@pytest.mark.parametrize("name", WITH_VIOLATIONS)
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_in_the_violations_it_is_the_same_system(name: str, fit_intercept: bool) -> None:
    """With few rows and many features it is factorised in the violations."""
    random = np.random.default_rng(6)
    data = TrainingData(random.normal(size=(12, 40)), (np.arange(12) % 4).astype(np.int32), 4)
    program = objective_of(data, name, 0.1, fit_intercept=fit_intercept).dual.program
    groups, members = program.group_shape
    ratios, charge = random.uniform(0.1, 2, (12, groups, members + 1)), random.uniform(0.1, 2, (4, 41))
    right = random.normal(size=(4, 41))
    charge[:, -1] = 0.0
    right[:, -1] -= right[:, -1].mean() if fit_intercept else right[:, -1]
    one, other = program.solver(ratios, charge)(right), program._solver_in_violations(ratios, charge)(right)
    np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", KINKED)
def test_more_features_than_could_be_factorised(name: str) -> None:
    random = np.random.default_rng(6)
    y = random.integers(0, 3, 60).astype(np.int32)
    X = 0.1 * random.normal(size=(60, 1100))
    X[:, :3] += np.eye(3)[y]
    objective = objective_of(TrainingData(X, y, 3), name, 0.01, 0.5)
    found = fit(objective, tol=1e-7)
    other = minimise_with(PrimalDual(), objective, np.zeros(objective.size), tol=1e-6, max_iter=1000)
    assert found.status == "converged"
    assert other.status == "converged"
    assert found.value == pytest.approx(other.value, rel=2e-6)
