"""Every solver on extreme problems, against values in extended precision.

One row, one class, classes and features without rows, rows of zero and of widely different size, weights over twelve
decades, targets that are no classes, alpha from 1e-9 to 1e4, in every storage. Whatever any solver finds, its value is
at or above the optimum; so a bound of any other must be below all of them, to the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import costs, minimise, plan
from crosshead.solvers.loop import minimise_with

Long = np.longdouble
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("softmax", {"label_smoothing": 0.2}),
    ("hinge", {"margin": 3.0}),
    ("crammer_singer", {"margin": 0.25}),
]
SHAPES = ["plain", "duplicated", "constant", "scale", "columns", "rows", "zero rows", "far", "nothing", "separable"]
BATCHES, EXAMPLES = 8, 14


def loss_of_rows(name: str, parameters: dict[str, float], Z: Any, T: Any) -> Any:
    """The losses from their textbook formulas, in the precision of the scores; T are rows of targets."""
    if name == "softmax":
        share, top = Long(parameters.get("label_smoothing", 0.0)), Z.max(axis=1)
        T = (1 - share) * T + share / Z.shape[1]
        return top + np.log(np.exp(Z - top[:, None]).sum(axis=1)) - (T * Z).sum(axis=1)
    if name == "binary":
        return (np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z))) - T * Z).sum(axis=1)
    if name == "squared_error":
        return ((Z - T) ** 2).sum(axis=1)
    m = Z - Z[np.arange(len(Z)), T.argmax(axis=1)][:, None] + Long(parameters.get("margin", 1.0))
    m = np.maximum(np.where(T > 0, 0, m), 0)
    return {"hinge": m.sum(axis=1), "squared_hinge": (m**2).sum(axis=1), "crammer_singer": m.max(axis=1)}[name]


@dataclass
class Problem:
    """A problem drawn from a seed, and its value written again."""

    name: str
    parameters: dict[str, float]
    classes: int
    X: Any
    target: Any
    weight: Any
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    objective: Objective
    tol: float

    @classmethod
    def draw(cls, seed: int) -> Problem:
        random = np.random.default_rng(seed)
        name, parameters = VARIANTS[random.integers(len(VARIANTS))]
        n, C, D = (int(random.choice(sizes)) for sizes in ([1, 2, 7, 30], [1, 2, 3, 5, 70], [1, 2, 5]))
        y = random.integers(0, C if random.random() < 0.8 else 1, n).astype(np.int32)
        X = _features(SHAPES[random.integers(len(SHAPES))], random.normal(size=(n, D)), y, random)
        X = X.astype(random.choice([np.float32, np.float64]))
        target = _targets(name, y, C, random)
        weight = [
            None,
            random.uniform(0.1, 5, n),
            (y == y[0]) + random.integers(0, 3, n),
            10 ** random.uniform(-12, 0, n),
        ]
        alpha, l1_ratio = 10 ** random.uniform(-9, 4), float(random.choice([0.0, 0.0, 0.01, 0.5, 1.0]))
        stored = sparse.csr_matrix(X) if random.random() < 0.2 else X
        chosen = weight[random.integers(4)]
        data = TrainingData(stored, target, C, None if chosen is None else chosen.astype(np.float64))
        engine = make_engine("reference" if random.random() < 0.3 else "auto", data)
        fit_intercept = bool(random.random() < 0.7)
        objective = Objective(
            engine, get_loss(name, **parameters), ElasticNet(alpha, l1_ratio), fit_intercept=fit_intercept
        )
        tol = float(random.choice([1e-2, 1e-4, 1e-7, 0.0]))
        return cls(name, parameters, C, X, target, data.weights, alpha, l1_ratio, fit_intercept, objective, tol)

    def value(self, point: Any) -> Any:
        split = self.classes * self.X.shape[1]
        W, b = point[:split].reshape(self.classes, -1).astype(Long), point[split:].astype(Long)
        Z = (self.X.astype(Long)[:, None, :] * W).sum(axis=2) + b
        T = self.target if self.target.ndim == 2 else self.target[:, None] == np.arange(self.classes)
        s, alpha, ratio = self.weight.astype(Long), Long(self.alpha), Long(self.l1_ratio)
        loss = (s * loss_of_rows(self.name, self.parameters, Z, T.astype(Long))).sum() / s.sum()
        return loss + alpha * (ratio * np.abs(W).sum() + (1 - ratio) / 2 * (W**2).sum())

    @property
    def methods(self) -> list[Any]:
        facts = self.objective.facts
        return [method() for method in plan.METHODS if method.needs <= facts.traits and within(method, facts)]


def within(method: Any, facts: Any) -> bool:
    """Whether a method is not beyond what it may hold."""
    return bool(method.__name__ != "InteriorPoint" or costs.quadratic_program_fits(facts))


def _features(shape: str, X: Any, y: Any, random: Any) -> Any:
    if shape == "duplicated":
        X[:, -1] = X[:, 0]
    elif shape == "constant":
        X[:, 0] = 2
    elif shape == "scale":
        X *= 10 ** random.uniform(-8, 8)
    elif shape == "columns":
        X *= 10 ** random.uniform(-4, 4, X.shape[1])
    elif shape == "rows":
        X *= 10 ** random.uniform(-6, 6, len(X))[:, None]
    elif shape == "zero rows":
        X[::2] = 0
    elif shape == "far":
        X += 1e4
    elif shape == "nothing":
        X[:] = 0
    elif shape == "separable":
        X += 3 * np.eye(70, X.shape[1])[y]
    return X


def _targets(name: str, y: Any, classes: int, random: Any) -> Any:
    if get_loss(name).accepts_probabilities and random.random() < 0.3:
        rows = random.dirichlet(np.ones(classes), size=len(y))
        return 5 * rows - 3 if name == "squared_error" else rows
    if name == "binary" and random.random() < 0.3:
        return np.where(random.random(len(y)) < 0.3, -1, y).astype(np.int32)
    return y


@pytest.mark.parametrize("batch", range(BATCHES))
def test_bounds_are_below_and_results_are_what_they_say(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(batch * EXAMPLES, (batch + 1) * EXAMPLES):
        if seed % 3:  # else exact from the first pass on, as small problems are
            monkeypatch.setattr(costs, "SMALL_PARAMETERS", 0)
        problem = Problem.draw(seed)
        start = np.zeros(problem.objective.size)
        options: dict[str, Any] = {"tol": problem.tol, "max_iter": 60}
        results = [minimise_with(method, problem.objective, start, **options) for method in problem.methods]
        results.append(minimise(problem.objective, start, **options))
        values = [problem.value(result.point) for result in results]
        lowest = min([*values, problem.value(start)])
        for result, value in zip(results, values, strict=True):
            said = f"seed {seed}: {result.status}, value {value}, lowest {lowest}, bound {result.bound}"
            assert result.bound <= lowest * (1 + Long(1e-17)) + (2e-16 if problem.classes == 1 else 0), said
            size = float(np.linalg.norm(result.point) * (1 + np.linalg.norm(problem.X, axis=1).max()))
            assert abs(result.value - value) <= 1e-12 * value + 1e-15 * (problem.classes + size), said
            assert (result.status == "converged") == (result.gap <= problem.tol), said
            assert value - lowest <= max(result.gap, 1e-15) * value * (1 + 1e-9) + 1e-300, said
        monkeypatch.undo()
