"""cyanure: variance-reduced and quasi-Newton proximal methods, solver "auto". Its bias is unpenalised.

With two classes it has one column of weights, and squared hinges too, of which it takes the half.

Its objective is mean loss + λ₁/2·‖W‖² ("l2"), λ₁‖W‖₁ ("l1") or λ₁‖W‖₁ + λ₂/2·‖W‖² ("elasticnet").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import (
    Fit,
    Solution,
    both_columns,
    doubling,
    installed,
    one_column_factor,
    only_pure,
    only_softmax,
    with_dtype,
)
from problems import Problem


def penalty(problem: Problem) -> dict[str, Any]:
    """Its settings for α and ρ."""
    strength = problem.alpha * one_column_factor(problem) * (0.5 if problem.loss == "squared_hinge" else 1.0)
    if problem.l1_ratio == 0:
        return {"penalty": "l2", "lambda_1": strength}
    if problem.l1_ratio == 1:
        return {"penalty": "l1", "lambda_1": strength}
    l1, l2 = problem.alpha * problem.l1_ratio, problem.alpha * (1 - problem.l1_ratio)
    return {"penalty": "elasticnet", "lambda_1": l1, "lambda_2": l2}


def loss_name(problem: Problem) -> str:
    """Its loss: two classes have those of one column."""
    if problem.classes > 2:
        return "multiclass-logistic"
    return "logistic" if problem.loss == "softmax" else "sqhinge"


@final
class Cyanure:
    environment = "cyanure"
    knob = "max_iter"

    def __init__(self, dtype: str = "float32") -> None:
        self.name, self.dtype = with_dtype("cyanure", dtype, "float32"), dtype

    def cannot(self, problem: Problem) -> str | None:
        if problem.classes == 2:
            fits = problem.loss in ("softmax", "squared_hinge")
            return only_pure(problem) if fits else f"has no {problem.loss.replace('_', ' ')} loss of this form"
        return only_softmax(problem)

    def budgets(self) -> Iterator[float]:
        return doubling(5)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        from cyanure.estimators import Classifier

        model = Classifier(
            loss=loss_name(problem),
            fit_intercept=problem.fit_intercept,
            solver="auto",
            tol=1e-12,
            max_iter=int(budget),
            n_threads=threads,
            verbose=False,
            random_state=0,
            **penalty(problem),
        )

        def fit() -> Solution:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(features, labels)
            intercept = np.ravel(model.intercept_) if problem.fit_intercept else np.zeros(problem.classes)
            words = f"{int(np.max(model.n_iter_))} passes"
            if problem.classes == 2:
                column = np.reshape(model.coef_, (1, -1))
                offset = np.ravel(model.intercept_)[:1] if problem.fit_intercept else np.zeros(1)
                return Solution(both_columns(column), both_columns(offset), None, words)
            coef = model.coef_ if model.coef_.shape[0] == problem.classes else model.coef_.T
            return Solution(coef, intercept, None, words)

        return fit

    def version(self) -> str:
        return installed("cyanure", "numpy")
