"""scikit-learn's LogisticRegression (lbfgs, newton-cholesky, saga) and LinearSVC (Crammer–Singer).

C = 1 / (αN), and 2 / (αN) for two classes with L2, where it has one column of weights; its bias is unpenalised in
LogisticRegression and penalised in LinearSVC.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import (
    Cannot,
    Fit,
    Solution,
    both_columns,
    doubling,
    falling,
    installed,
    one_column_factor,
    only_l2,
    only_pure,
    only_softmax,
    with_dtype,
)
from problems import Problem

HESSIAN_GIB = 8.0  # the most that newton-cholesky's (C·D)² float64 matrix, of which it makes a copy, may take


def fit_logistic(model: Any, features: Any, labels: np.ndarray) -> Solution:
    """Run it, and say what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, labels)
    said = sorted({entry.category.__name__ for entry in caught})
    words = " ".join([f"{int(np.max(model.n_iter_))} iterations", *said])
    intercept = np.ravel(model.intercept_)
    if len(model.coef_) == 1:
        return Solution(both_columns(model.coef_), both_columns(intercept), None, words)
    return Solution(model.coef_, np.broadcast_to(intercept, (len(model.classes_),)), None, words)


def logistic(problem: Problem, **settings: Any) -> Any:
    """A LogisticRegression that minimises the problem."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength(problem), fit_intercept=problem.fit_intercept, **settings)


def strength(problem: Problem) -> float:
    """Its C: for two classes it has one column of weights."""
    return problem.inverse_penalty / one_column_factor(problem)


@final
class LBFGS:
    environment = "scikit-learn"
    knob = "max_iter"

    def __init__(self, dtype: str = "float64") -> None:
        self.name, self.dtype = with_dtype("sklearn-lbfgs", dtype, "float64"), dtype

    def cannot(self, problem: Problem) -> str | None:
        return only_softmax(problem) or only_l2(problem)

    def budgets(self) -> Iterator[float]:
        return doubling(5)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        model = logistic(problem, solver="lbfgs", tol=0.0, max_iter=int(budget))
        return lambda: fit_logistic(model, features, labels)

    def version(self) -> str:
        return installed("scikit-learn", "numpy", "scipy")


@final
class NewtonCholesky:
    name = "sklearn-newton-cholesky"
    environment = "scikit-learn"
    dtype = "float64"
    knob = "max_iter"

    def cannot(self, problem: Problem) -> str | None:
        columns = 1 if problem.classes == 2 else problem.classes
        gib = (columns * (problem.features + 1)) ** 2 * 8 / 2**30
        if gib > HESSIAN_GIB:
            return f"its Hessian would take {gib:,.0f} GiB"
        return only_softmax(problem) or only_l2(problem)

    def budgets(self) -> Iterator[float]:
        return iter((1, 2, 3, 4, 6, 8, 10, 12, 14, 17, 20, 25, 30, 40))

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        model = logistic(problem, solver="newton-cholesky", tol=0.0, max_iter=int(budget))
        return lambda: fit_logistic(model, features, labels)

    def version(self) -> str:
        return installed("scikit-learn", "numpy", "scipy")


@final
class Saga:
    name = "sklearn-saga"
    environment = "scikit-learn"
    dtype = "float32"
    knob = "max_iter"

    def cannot(self, problem: Problem) -> str | None:
        if problem.classes == 2:
            return only_softmax(problem) or only_pure(problem)
        return only_softmax(problem)

    def budgets(self) -> Iterator[float]:
        return doubling(2)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        model = logistic(
            problem, solver="saga", l1_ratio=problem.l1_ratio, tol=0.0, max_iter=int(budget), random_state=0
        )
        return lambda: fit_logistic(model, features, labels)

    def version(self) -> str:
        return installed("scikit-learn", "numpy", "scipy")


@final
class LinearSVC:
    name = "sklearn-linear-svc"
    environment = "scikit-learn"
    dtype = "float64"
    knob = "tol"

    def cannot(self, problem: Problem) -> str | None:
        if problem.loss != "crammer_singer":
            return f"has no multiclass {problem.loss.replace('_', ' ')} loss (only one-vs-rest, and Crammer–Singer)"
        if problem.fit_intercept:
            return "penalises the bias"
        if problem.classes == 2:
            return "has Crammer–Singer for more than two classes"
        return only_l2(problem)

    def budgets(self) -> Iterator[float]:
        return falling(10.0, 1e-7, 1)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        from sklearn.svm import LinearSVC as Model

        model = Model(
            multi_class="crammer_singer",
            C=problem.inverse_penalty,
            fit_intercept=False,
            tol=budget,
            max_iter=1_000_000,
            random_state=0,
        )

        def fit() -> Solution:
            model.fit(features, labels)
            if len(model.classes_) != problem.classes:
                raise Cannot("dropped classes")
            return Solution(model.coef_, np.zeros(problem.classes), None, f"{int(np.max(model.n_iter_))} iterations")

        return fit

    def version(self) -> str:
        return installed("scikit-learn", "numpy", "scipy")
