"""Certificates against truth that shares no code with them.

Objectives are written again in plain NumPy, optima come from SciPy: L-BFGS-B with W = P − N for smooth losses, a
quadratic or linear program with slacks for the hinges. Every bound, at every point, must lie below every value; and
nothing may be called converged that is further from the optimum than it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import minimise

C, D = 3, 3
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("softmax", {"label_smoothing": 0.2}),
    ("hinge", {"margin": 2.0}),
    ("crammer_singer", {"margin": 0.5}),
]
SHAPES = ["plain", "separable", "duplicated column", "constant column", "far from zero", "scales", "one row each"]


def seeded(examples: int) -> Any:
    return settings(derandomize=True, max_examples=examples, phases=[Phase.generate])


def loss_of_rows(name: str, parameters: dict[str, float], Z: Any, T: Any) -> Any:
    """The losses once more, from their textbook formulas; T are rows of targets."""
    if name == "softmax":
        e = parameters.get("label_smoothing", 0.0)
        T = (1 - e) * T + e / Z.shape[1]
        return special.logsumexp(Z, axis=1) - (T * Z).sum(axis=1)
    if name == "binary":
        return (np.logaddexp(0, Z) - T * Z).sum(axis=1)
    if name == "squared_error":
        return ((Z - T) ** 2).sum(axis=1)
    y = T.argmax(axis=1)
    m = Z - Z[np.arange(len(Z)), y][:, None] + parameters.get("margin", 1.0)
    m = np.maximum(np.where(T > 0, 0, m), 0)
    return {"hinge": m.sum(1), "squared_hinge": (m**2).sum(1), "crammer_singer": m.max(1)}[name]


@dataclass
class Problem:
    """A small problem of any kind, drawn from a seed."""

    name: str
    parameters: dict[str, float]
    X: Any
    target: Any
    weight: Any
    alpha: float
    l1_ratio: float
    fit_intercept: bool

    @classmethod
    def draw(cls, variant: Any, seed: int, shape: str, *, alpha: float, l1_ratio: float, single: bool) -> Problem:
        random = np.random.default_rng(seed)
        name, parameters = variant
        n = C if shape == "one row each" else 14
        y = np.concatenate([np.arange(C), random.integers(0, C, n - C)]).astype(np.int32)
        X = random.normal(size=(n, D)) + 0.5 * random.normal(size=(C, D))[y]
        if shape == "separable":
            X += 8 * np.eye(C, D)[y]
        elif shape == "duplicated column":
            X[:, 1] = X[:, 0]
        elif shape == "constant column":
            X[:, 2] = 3
        elif shape == "far from zero":
            X += 50
        elif shape == "scales":
            X *= 10 ** random.uniform(-3, 3, D)
        target: Any = y
        if get_loss(name).accepts_probabilities and seed % 3 == 0:
            target = random.dirichlet(np.ones(C), size=n)
            if name == "squared_error":
                target = 5 * random.normal(size=(n, C)) - 3
        elif name == "binary" and seed % 3 == 1:
            target = np.where(random.uniform(size=n) < 0.2, -1, y).astype(np.int32)
            target[:C] = np.arange(C)
        weight = random.uniform(0.1, 5, size=n) if seed % 2 else None
        X = X.astype(np.float32 if single else np.float64)
        return cls(name, parameters, X, target, weight, alpha, l1_ratio, bool(seed % 5))

    @property
    def rows(self) -> Any:
        return self.target if self.target.ndim == 2 else (self.target[:, None] == np.arange(C)).astype(float)

    @property
    def share(self) -> Any:
        s = np.ones(len(self.X)) if self.weight is None else self.weight
        return s / s.sum()

    def penalty(self, W: Any) -> float:
        return self.alpha * (self.l1_ratio * np.abs(W).sum() + (1 - self.l1_ratio) / 2 * (W**2).sum())

    def value(self, point: Any) -> float:
        W, b = point[: C * D].reshape(C, D), point[C * D :]
        Z = self.X.astype(np.float64) @ W.T + b
        return float(self.share @ loss_of_rows(self.name, self.parameters, Z, self.rows)) + self.penalty(W)

    def objective(self, engine: str = "auto") -> Objective:
        data = TrainingData(self.X, self.target, C, self.weight)
        loss = get_loss(self.name, **self.parameters)
        penalty = ElasticNet(self.alpha, self.l1_ratio)
        return Objective(make_engine(engine, data), loss, penalty, fit_intercept=self.fit_intercept)

    def polished(self, start: Any) -> float:
        """The smallest value that can be found from a start. Whatever finds it, a value is above the optimum."""
        if get_loss(self.name).smooth:
            found = self._quasi_newton(start)
        elif self.l1_ratio == 1:
            found = self.program()
        else:  # the quadratic program takes long
            objective = self.objective()
            found = minimise(objective, start, tol=1e-9, max_iter=50).point
        return min(self.value(start), self.value(found))

    def _quasi_newton(self, start: Any) -> Any:
        loss, k = get_loss(self.name, **self.parameters), C * D
        X = self.X.astype(np.float64)

        def function(v: Any) -> tuple[float, Any]:
            point = np.concatenate([v[:k] - v[k : 2 * k], v[2 * k :]])
            W = point[:k].reshape(C, D)
            _, r = loss.value_and_gradient(X @ W.T + point[k:], self.target)
            r = r * self.share[:, None]
            G = (r.T @ X + self.alpha * (1 - self.l1_ratio) * W).ravel()
            l1 = self.alpha * self.l1_ratio
            g = r.sum(axis=0) if self.fit_intercept else np.zeros(C)
            value = self.value(point) + l1 * (v[: 2 * k].sum() - np.abs(point[:k]).sum())
            return value, np.concatenate([G + l1, l1 - G, g])

        v = np.concatenate([np.maximum(start[:k], 0), np.maximum(-start[:k], 0), start[k:]])
        bounds = [(0, None)] * (2 * k) + [(None, None)] * C
        options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 150}
        best = optimize.minimize(function, v, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        return np.concatenate([best[:k] - best[k : 2 * k], best[2 * k :]])

    def program(self) -> Any:
        """min over (P, N, b, ξ) with ξ ≥ the margins' violations: exact, by HiGHS or by SLSQP."""
        n, k, X = len(self.X), C * D, self.X.astype(np.float64)
        each = self.name == "hinge"
        slacks = n * (C - 1) if each else n
        lines, slack = [], 0
        for i, y in enumerate(self.target):
            for j in set(range(C)) - {int(y)}:
                row = np.zeros(2 * k + C + slacks)
                for c, sign in ((j, 1.0), (int(y), -1.0)):
                    row[c * D : (c + 1) * D] += sign * X[i]
                    row[k + c * D : k + (c + 1) * D] -= sign * X[i]
                    row[2 * k + c] += sign
                row[2 * k + C + (slack if each else i)] = -1
                slack += 1
                lines.append(row)
        A, margin = np.array(lines), self.parameters.get("margin", 1.0)
        l1, l2 = self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio)
        share = np.repeat(self.share, C - 1) if each else self.share
        cost = np.concatenate([np.full(2 * k, l1), np.zeros(C), share])
        free = (None, None) if self.fit_intercept else (0, 0)
        bounds = [(0, None)] * (2 * k) + [free] * C + [(0, None)] * slacks
        if l2 == 0:
            v = optimize.linprog(cost, A, np.full(len(A), -margin), bounds=bounds).x
        else:

            def function(v: Any) -> tuple[float, Any]:
                W = v[:k] - v[k : 2 * k]
                slope = cost.copy()
                slope[:k] += l2 * W
                slope[k : 2 * k] -= l2 * W
                return float(cost @ v + l2 / 2 * W @ W), slope

            start = np.concatenate([np.zeros(2 * k + C), np.full(slacks, margin)])
            constraint = {"type": "ineq", "fun": lambda v: -margin - A @ v, "jac": lambda v: -A}
            options = {"ftol": 1e-12, "maxiter": 200}
            v = optimize.minimize(
                function, start, jac=True, method="SLSQP", bounds=bounds, constraints=[constraint], options=options
            ).x
        return np.concatenate([v[:k] - v[k : 2 * k], v[2 * k : 2 * k + C]])


problems = st.builds(
    lambda variant, seed, shape, exponent, l1_ratio, single: Problem.draw(
        variant, seed, shape, alpha=10.0**exponent, l1_ratio=l1_ratio, single=single
    ),
    st.sampled_from(VARIANTS),
    st.integers(0, 10**6),
    st.sampled_from(SHAPES),
    st.floats(-6, 1.5),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.booleans(),
)


@seeded(150)
@given(problem=problems)
def test_no_bound_is_above_any_value(problem: Problem) -> None:
    """Every exact evaluation's bound, near the start, near the optimum, and far from both, smoothed or not."""
    objective = problem.objective()
    result = minimise(objective, np.zeros(objective.size), tol=1e-8, max_iter=40)
    random = np.random.default_rng(0)
    points = [result.point, 0.999 * result.point]
    for size in (0.0, 0.1, 1.0, 30.0):
        point = result.point + size * random.normal(size=objective.size)
        points += [point, size * random.normal(size=objective.size)]
    if not problem.fit_intercept:
        for point in points:
            point[C * D :] = 0
    lowest = min(problem.value(point) for point in points)
    relatives = [objective] if objective.smooth else [objective.smoothed(w) for w in (2.0, 0.1, 1e-4)] + [objective]
    for relative in relatives:
        for point in points:
            evaluation = relative.evaluate(point)
            assert evaluation.exact
            value = problem.value(point)
            assert evaluation.value == pytest.approx(value, rel=1e-9, abs=1e-12)
            assert evaluation.bound <= lowest + 1e-11 * max(1.0, abs(lowest))
            assert evaluation.surrogate <= evaluation.value + 1e-11 * (1 + abs(value))
    assert result.bound <= lowest + 1e-11 * max(1.0, abs(lowest))


@seeded(50)
@given(problem=problems, tol=st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_nothing_is_called_converged_that_is_not(problem: Problem, tol: float) -> None:
    objective = problem.objective()
    result = minimise(objective, np.zeros(objective.size), tol=tol, max_iter=100)
    value = problem.value(result.point)
    assert result.value == pytest.approx(value, rel=1e-9, abs=1e-13)
    optimum = problem.polished(result.point)
    slack = 1e-12 * (1 + abs(value))
    assert result.gap * abs(value) >= value - optimum - slack
    assert (result.status == "converged") == (result.gap <= tol)
    if result.status == "converged":
        assert value - optimum <= tol * abs(value) + slack


@pytest.mark.parametrize("variant", [("hinge", {}), ("crammer_singer", {})], ids=str)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [1e-3, 1e-1])
def test_hinges_against_a_quadratic_program(variant: Any, l1_ratio: float, alpha: float) -> None:
    problem = Problem.draw(variant, 7, "plain", alpha=alpha, l1_ratio=l1_ratio, single=False)
    optimum = problem.value(problem.program())
    objective = problem.objective()
    result = minimise(objective, np.zeros(objective.size), tol=1e-4, max_iter=200)
    assert result.bound <= optimum * (1 + 1e-9)
    assert result.value * (1 - max(result.gap, 1e-12)) <= optimum * (1 + 1e-9)
    assert result.value >= optimum * (1 - 1e-6)  # the program's own precision
    for point in (np.zeros(objective.size), result.point, -result.point):
        assert objective.evaluate(point).bound <= optimum * (1 + 1e-9)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1e-4, 1e-1])
def test_ordinary_problems_do_converge(variant: Any, l1_ratio: float, alpha: float) -> None:
    """The other half of honesty: with hard and easy alpha the certificate is reached, in float32 and float64."""
    for single in (False, True):
        problem = Problem.draw(variant, 11, "plain", alpha=alpha, l1_ratio=l1_ratio, single=single)
        objective = problem.objective()
        result = minimise(objective, np.zeros(objective.size), tol=1e-4, max_iter=400)
        assert result.status == "converged", (result, single)


@pytest.mark.parametrize("classes", [3, 7, 13])
def test_rounded_sums_of_one_sign_are_no_warning(classes: int) -> None:
    """With equally many rows a class, p − y at W = 0 may leave the same small positive sum in each."""
    X = np.random.default_rng(0).normal(size=(classes, 3)).astype(np.float32)
    data = TrainingData(X, np.arange(classes, dtype=np.int32), classes)
    objective = Objective(make_engine("auto", data), get_loss("softmax"), ElasticNet(1e-3))
    assert np.isfinite(objective.evaluate(np.zeros(objective.size), exact=False).bound)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_both_engines_certify_the_same(name: str, fit_intercept: bool) -> None:
    problem = Problem.draw((name, {}), 3, "plain", alpha=0.01, l1_ratio=0.3, single=False)
    problem.fit_intercept = fit_intercept
    point = np.random.default_rng(1).normal(size=C * (D + 1))
    if not fit_intercept:
        point[C * D :] = 0
    one, other = (problem.objective(engine).evaluate(point) for engine in ("auto", "reference"))
    assert one.bound == pytest.approx(other.bound, rel=1e-11)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-10, atol=1e-13)


def test_targets_below_zero_keep_the_certificate_valid() -> None:
    """Mean targets are not frequencies for the squared error; clipped at zero they made bounds twice the optimum."""
    random = np.random.default_rng(0)
    X, Y = random.normal(size=(40, D)), random.normal(size=(40, C)) - 5
    problem = Problem("squared_error", {}, X, Y, None, 0.1, 0.0, True)
    for engine in ("auto", "reference"):
        objective = problem.objective(engine)
        centred, deviation = X - X.mean(axis=0), Y - Y.mean(axis=0)
        W = np.linalg.solve(centred.T @ centred / 40 + 0.05 * np.eye(D), centred.T @ deviation / 40).T
        best = problem.value(np.concatenate([W.ravel(), Y.mean(axis=0) - W @ X.mean(axis=0)]))
        assert objective.evaluate(np.zeros(objective.size)).bound <= best
        result = minimise(objective, np.zeros(objective.size), tol=1e-9)
        assert result.status == "converged"
        assert result.value == pytest.approx(best, rel=1e-8)
