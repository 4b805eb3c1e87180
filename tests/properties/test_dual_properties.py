"""A repaired dual point must be a bound: proved on explicit residuals, and by minimising the primal side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from crosshead.losses import LOSSES, DualPoint, Moments, get_loss
from crosshead.penalties import ElasticNet

VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("softmax", {"label_smoothing": 0.3}),
    ("hinge", {"smoothing": 0.5, "margin": 2.0}),
    ("squared_hinge", {"margin": 0.5}),
    ("crammer_singer", {"smoothing": 0.2}),
]
ALL = [get_loss(name, **parameters) for name, parameters in VARIANTS]
SMOOTH = [loss for loss in ALL if loss.smooth and loss.kernel[1][1] == 0]
# No shrinking: a smaller seed is not a simpler case.
seeded = settings(derandomize=True, max_examples=15, phases=[Phase.generate])


@dataclass
class Problem:
    """Data, weights that sum to one, and the dual point of a random linear model."""

    loss: Any
    features: Any
    target: Any
    rows: Any
    weight: Any
    residual: Any

    @classmethod
    def random(cls, loss: Any, seed: int, *, samples: int = 12, classes: int = 3) -> Problem:
        random = np.random.default_rng(seed)
        features = random.normal(size=(samples, 2)) + random.normal(size=2)
        target = np.concatenate([np.arange(classes), random.integers(0, classes, samples - classes)])
        if loss.name == "binary":
            target[classes:][random.uniform(size=samples - classes) < 0.2] = -1
        weight = random.uniform(size=samples) ** 2 + 0.01
        if loss.accepts_probabilities and seed % 2:
            target = random.dirichlet(np.ones(classes), size=samples)
        rows = target if target.ndim == 2 else (target[:, None] == np.arange(classes)).astype(float)
        scores = features @ random.normal(size=(2, classes)) + random.normal(size=classes)
        residual = loss.value_and_gradient(scores, target)[1]
        return cls(loss, features, target, rows, weight / weight.sum(), residual)

    def point(self, residual: Any = None) -> DualPoint:
        r = self.residual if residual is None else residual
        value = -float(self.weight @ self.loss.conjugate(r, self.target))
        return DualPoint(value, (r * self.weight[:, None]).T @ self.features, self.weight @ r)

    @property
    def moments(self) -> Moments:
        weighted = self.rows * self.weight[:, None]
        return Moments(weighted.sum(axis=0), self.weight @ self.features, weighted.T @ self.features)

    def objective(self, W: Any, b: Any) -> float:
        return float(self.weight @ self.loss.value(self.features @ W.T + b, self.target))


def explicit_anchor(problem: Problem) -> tuple[Any, float]:
    """The residual rows r⁰ and their share ε, written out row by row and class by class."""
    loss, f, g = problem.loss, problem.moments.target, problem.point().bias_gradient
    classes = len(f)
    if loss.name in ("softmax", "binary"):
        e = loss.kernel[1][2]
        y = (1 - e) * problem.rows + e / classes
        f = problem.weight @ y
        p = f + g
        share = max(1 - f[c] / p[c] for c in range(classes))
        if loss.name == "binary":
            share = max(share, *(1 - (1 - f[c]) / (1 - p[c]) for c in range(classes)))
        q = p + (f - p) / share
        return q - y, share
    lack = -g[g < 0].sum()
    transport = np.array([[max(a, 0) * max(-b, 0) / lack for b in g] for a in g]) / f[:, None]
    tau = {
        "hinge": transport.max(),
        "crammer_singer": transport.sum(axis=1).max(),
        "squared_hinge": transport.max() / (2 * loss.kernel[1][0]),
    }[loss.name]
    anchor = (transport / tau)[problem.target]
    anchor[np.arange(len(anchor)), problem.target] = -anchor.sum(axis=1)
    return anchor, tau / (1 + tau)


@pytest.mark.parametrize("loss", ALL, ids=repr)
@seeded
@given(seed=st.integers(0, 10**6))
def test_balanced_point_belongs_to_explicit_feasible_residuals(loss: Any, seed: int) -> None:
    problem = Problem.random(loss, seed)
    balanced = loss.balance(problem.point(), problem.moments)
    assert balanced is not None
    assert not balanced.bias_gradient.any()
    if loss.name == "squared_error":
        residual = problem.residual - problem.point().bias_gradient
        expected = problem.point(residual).value
    else:
        anchor, share = explicit_anchor(problem)
        residual = (1 - share) * problem.residual + share * anchor
        expected = (1 - share) * problem.point().value + share * problem.point(anchor).value
    truth = problem.point(residual)
    np.testing.assert_allclose(truth.bias_gradient, 0, atol=1e-12)
    np.testing.assert_allclose(truth.weight_gradient, balanced.weight_gradient, atol=1e-11)
    assert np.isfinite(truth.value)
    assert balanced.value <= truth.value + 1e-11
    assert balanced.value == pytest.approx(expected, abs=1e-11)


def smallest_tilted(problem: Problem, G: Any) -> float:
    """min over (W, b) of Σ sᵢ ℓᵢ(W xᵢ + b) − ⟨G, W⟩, or something above it."""
    shape = G.shape
    stacked = np.column_stack([problem.features, np.ones(len(problem.features))])

    def function(flat: Any) -> tuple[float, Any]:
        V = flat.reshape(shape[0], -1)
        value, residual = problem.loss.value_and_gradient(stacked @ V.T, problem.target)
        slope = (residual * problem.weight[:, None]).T @ stacked
        slope[:, :-1] -= G
        return float(problem.weight @ value - np.vdot(G, V[:, :-1])), slope.ravel()

    start = np.zeros(shape[0] * (shape[1] + 1))
    return float(minimize(function, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun)


def smallest_tilted_hinge(problem: Problem, G: Any) -> float:
    """The same for the two piecewise linear hinges, exactly, as a linear program."""
    loss, (samples, classes) = problem.loss, problem.rows.shape
    separate = loss.name == "hinge"
    width = problem.features.shape[1] + 1
    slacks = samples * classes if separate else samples
    cost = np.concatenate(
        [
            -np.column_stack([G, np.zeros(classes)]).ravel(),
            np.repeat(problem.weight, classes) if separate else problem.weight,
        ]
    )
    constraints = []
    for i, y in enumerate(problem.target):
        for j in set(range(classes)) - {y}:
            row = np.zeros(len(cost))
            x = np.append(problem.features[i], 1)
            row[j * width : (j + 1) * width] += x
            row[y * width : (y + 1) * width] -= x
            row[classes * width + (i * classes + j if separate else i)] = -1
            constraints.append(row)
    bounds = [(None, None)] * (classes * width) + [(0, None)] * slacks
    solution = linprog(cost, np.array(constraints), np.full(len(constraints), -loss.margin), bounds=bounds)
    return float(solution.fun) if solution.status == 0 else -np.inf


@pytest.mark.parametrize("loss", ALL, ids=repr)
@seeded
@given(seed=st.integers(0, 10**6))
def test_balanced_value_is_below_the_tilted_primal(loss: Any, seed: int) -> None:
    """Weak duality in its sharpest form, which knows nothing of how the point was repaired."""
    problem = Problem.random(loss, seed, samples=9)
    balanced = loss.balance(problem.point(), problem.moments)
    assert balanced is not None
    if loss.name in ("hinge", "crammer_singer"):
        smallest = smallest_tilted_hinge(problem, balanced.weight_gradient)
    else:
        smallest = smallest_tilted(problem, balanced.weight_gradient)
    assert balanced.value <= smallest + 1e-8


@pytest.mark.parametrize("loss", ALL, ids=repr)
@seeded
@given(
    seed=st.integers(0, 10**6),
    alpha=st.floats(1e-3, 10),
    l1_ratio=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_best_bound_is_below_any_objective(loss: Any, seed: int, alpha: float, l1_ratio: float) -> None:
    problem, penalty = Problem.random(loss, seed), ElasticNet(alpha, l1_ratio)
    balanced = loss.balance(problem.point(), problem.moments)
    floor = float(problem.weight @ loss.infimum(problem.target))
    bound = penalty.best_bound(balanced.value, balanced.weight_gradient, floor)
    assert bound >= floor
    assert bound >= balanced.value - penalty.conjugate(balanced.weight_gradient)
    original = Problem(**{**vars(problem), "loss": loss.smoothed(0)})
    random = np.random.default_rng(seed)
    for size in (0.0, 0.1, 1.0, 5.0):
        W, b = size * random.normal(size=(3, 2)), size * random.normal(size=3)
        assert bound <= original.objective(W, b) + penalty.value(W) + 1e-10


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
def test_the_gap_closes_at_the_optimum(loss: Any) -> None:
    problem, penalty = Problem.random(loss, 4, samples=40), ElasticNet(0.05)
    stacked = np.column_stack([problem.features, np.ones(40)])

    def function(flat: Any) -> tuple[float, Any]:
        V = flat.reshape(3, 3)
        value, residual = loss.value_and_gradient(stacked @ V.T, problem.target)
        slope = (residual * problem.weight[:, None]).T @ stacked
        slope[:, :-1] += penalty.gradient(V[:, :-1])
        return float(problem.weight @ value) + penalty.value(V[:, :-1]), slope.ravel()

    options = {"ftol": 1e-15, "gtol": 1e-8, "maxiter": 2000}
    solution = minimize(function, np.zeros(9), jac=True, method="L-BFGS-B", options=options)
    problem.residual = loss.value_and_gradient(stacked @ solution.x.reshape(3, 3).T, problem.target)[1]
    point = problem.point()
    assert point.bias_gradient.any()  # near zero, but something is left to repair
    balanced = loss.balance(point, problem.moments)
    assert balanced is not None
    gap = solution.fun - penalty.best_bound(balanced.value, balanced.weight_gradient, 0.0)
    assert -1e-12 <= gap <= 1e-6


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_balanced_point_is_returned_as_it_is(loss: Any) -> None:
    problem = Problem.random(loss, 2)
    point = DualPoint(-1.0, np.ones((3, 2)), np.zeros(3))
    assert loss.balance(point, problem.moments) is point


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_sums_that_are_not_numbers_have_no_repair(loss: Any) -> None:
    problem = Problem.random(loss, 2)
    point = DualPoint(0.1, np.ones((3, 2)), np.array([np.nan, 0.1, -0.1]))
    assert loss.balance(point, problem.moments) is None


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_class_without_rows(loss: Any) -> None:
    problem = Problem.random(loss, 6)
    keep = problem.target != 2
    for name in ("features", "target", "rows", "weight", "residual"):
        setattr(problem, name, getattr(problem, name)[keep])
    problem.weight /= problem.weight.sum()
    balanced = loss.balance(problem.point(), problem.moments)
    if "hinge" in loss.name or loss.name == "crammer_singer":
        assert problem.point().bias_gradient[2] > 0
        assert balanced is None  # no row can send back what class 2 received
        return
    assert balanced is not None
    assert not balanced.bias_gradient.any()
    assert balanced.value <= smallest_tilted(problem, balanced.weight_gradient) + 1e-8


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_repair_of_almost_nothing_costs_almost_nothing(loss: Any) -> None:
    problem = Problem.random(loss, 8)
    balanced = loss.balance(problem.point(), problem.moments)
    nudged = DualPoint(balanced.value, balanced.weight_gradient, np.array([1e-13, -3e-13, 2e-13]))
    again = loss.balance(nudged, problem.moments)
    assert not again.bias_gradient.any()
    assert again.value == pytest.approx(balanced.value, abs=1e-11)
    np.testing.assert_allclose(again.weight_gradient, balanced.weight_gradient, atol=1e-11)


@pytest.mark.parametrize("name", ["softmax", "hinge", "squared_hinge", "crammer_singer"])
def test_sums_of_one_sign_are_rounding_or_a_mistake(name: str) -> None:
    problem = Problem.random(get_loss(name), 8)
    for size, repaired in ((1e-9, True), (1e-3, False)):
        point = DualPoint(0.1, np.ones((3, 2)), np.array([0.0, -size, 0.0]))
        assert (problem.loss.balance(point, problem.moments) is not None) == repaired
