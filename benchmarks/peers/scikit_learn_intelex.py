"""scikit-learn-intelex: oneDAL's passes under SciPy's L-BFGS. C as in scikit-learn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import Cannot, Fit, Solution, doubling, installed, only_l2, only_softmax, with_dtype
from peers.scikit_learn import fit_logistic, strength
from problems import Problem


@final
class LBFGS:
    environment = "scikit-learn-intelex"
    knob = "max_iter"

    def __init__(self, dtype: str = "float32") -> None:
        self.name, self.dtype = with_dtype("sklearnex-lbfgs", dtype, "float32"), dtype

    def cannot(self, problem: Problem) -> str | None:
        if problem.sparse:
            return "falls back to scikit-learn for CSR"
        return only_softmax(problem) or only_l2(problem)

    def budgets(self) -> Iterator[float]:
        return doubling(5)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        from sklearnex.linear_model import LogisticRegression

        messages = _listen()
        model = LogisticRegression(
            C=strength(problem),
            fit_intercept=problem.fit_intercept,
            solver="lbfgs",
            tol=0.0,
            max_iter=int(budget),
            n_jobs=threads,
        )

        def fit() -> Solution:
            solution = fit_logistic(model, features, labels)
            if any("fallback" in message for message in messages):
                raise Cannot("falls back to scikit-learn")
            return solution

        return fit

    def version(self) -> str:
        return installed("scikit-learn-intelex", "daal", "scikit-learn", "numpy", "scipy")


def _listen() -> list[str]:
    """A list to which everything is added that the library logs: only there it says that it did not do the work."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("sklearnex")
    logger.setLevel(logging.INFO)
    logger.addHandler(Collect())
    logger.propagate = False
    return messages
