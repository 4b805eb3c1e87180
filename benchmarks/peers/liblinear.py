"""LIBLINEAR itself, by its authors' Python package; one thread.

It minimises R(v) + C_L Σ loss with R = ½‖v‖² or ‖v‖₁. That is our objective, divided by αN or half of it, for

* Crammer and Singer's hinge (-s 4), C_L = 1/(αN), without bias: it has no way to leave one unpenalised;
* one logistic loss a class (ours is "binary"; -s 0, -s 6): the classes are problems of their own, C_L = 1/(αN);
* two classes and softmax (-s 0, -s 6), squared hinge (-s 2, -s 5) or hinge (-s 3): only v = w₁ − w₀ counts, and the
  best W = (−v/2, v/2) has ½‖W‖² = ¼‖v‖² and ‖W‖₁ = ‖v‖₁, so C_L = 2/(αN) with L2 and 1/(αN) with L1.

More classes with a hinge it trains one against the rest, which is another objective. Its option -R leaves the bias
unpenalised, in the primal solvers (0, 2, 5, 6) alone. With two classes it trains one column for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import Cannot, Fit, Solution, both_columns, falling, installed, only_pure
from problems import Problem

PRIMAL = {
    ("binary", True): 0,
    ("binary", False): 6,
    ("softmax", True): 0,
    ("softmax", False): 6,
    ("squared_hinge", True): 2,
    ("squared_hinge", False): 5,
}
DUAL = {"softmax": 7, "squared_hinge": 1, "hinge": 3, "crammer_singer": 4, "binary": 7}
PER_CLASS = ("binary", "crammer_singer")  # losses that it has for any number of classes


def other_objective(problem: Problem) -> str | None:
    """The refusal where its objective is not ours."""
    if problem.loss not in PER_CLASS and problem.classes > 2:
        return f"has no multiclass {problem.loss.replace('_', ' ')} loss (only one-vs-rest, and Crammer–Singer)"
    return only_pure(problem)


def train(problem: Problem, solver: int, features: Any, labels: np.ndarray, tol: float) -> Fit:
    """The call of its training."""
    from liblinear import liblinearutil
    from scipy import sparse

    halved = problem.classes == 2 and problem.loss not in PER_CLASS and problem.smooth_penalty
    strength = (2.0 if halved else 1.0) * problem.inverse_penalty
    bias = " -B 1 -R" if problem.fit_intercept else ""
    parameters = liblinearutil.parameter(f"-s {solver} -c {strength!r} -e {tol!r} -q{bias}")
    rows = liblinearutil.problem(labels.astype(np.float64), sparse.csr_matrix(features))

    def fit() -> Solution:
        model = liblinearutil.train(rows, parameters)
        columns = 1 if problem.classes == 2 and solver != DUAL["crammer_singer"] else problem.classes
        length = problem.features + problem.fit_intercept
        weights = np.ctypeslib.as_array(model.w, (length * columns,)).reshape(length, columns).T.copy()
        order = model.get_labels()
        if len(order) != problem.classes:
            raise Cannot("dropped classes")
        if columns == 1:
            # The one column scores the label that it met first.
            share = 1.0 if problem.loss in PER_CLASS else 0.5
            both = both_columns(weights if order[0] == 1 else -weights, share)
        else:
            both = np.empty_like(weights)
            both[order] = weights
        intercept = both[:, -1] if problem.fit_intercept else np.zeros(problem.classes)
        return Solution(both[:, : problem.features], intercept, None, f"solver {solver}")

    return fit


@final
class Primal:
    name = "liblinear-primal"
    environment = "liblinear"
    dtype = "float64"
    knob = "tol"

    def cannot(self, problem: Problem) -> str | None:
        if (problem.loss, problem.smooth_penalty) not in PRIMAL:
            return "its primal solvers have no such loss"
        return other_objective(problem)

    def budgets(self) -> Iterator[float]:
        return falling(1.0, 1e-8, 1)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        return train(problem, PRIMAL[problem.loss, problem.smooth_penalty], features, labels, budget)

    def version(self) -> str:
        return installed("liblinear-official", "numpy")


@final
class Dual:
    name = "liblinear-dual"
    environment = "liblinear"
    dtype = "float64"
    knob = "tol"

    def cannot(self, problem: Problem) -> str | None:
        if problem.loss not in DUAL:
            return "its dual solvers have no such loss"
        if not problem.smooth_penalty:
            return "its dual solvers have no L1 penalty"
        return other_objective(problem) or ("penalises the bias" if problem.fit_intercept else None)

    def budgets(self) -> Iterator[float]:
        return falling(10.0, 1e-7, 1)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        return train(problem, DUAL[problem.loss], features, labels, budget)

    def version(self) -> str:
        return installed("liblinear-official", "numpy")
