"""Ours: LinearClassifier, run to a certified gap. And the float64 run that everything is measured against."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from peers.base import Fit, Solution, falling
from problems import Problem

REFERENCE_TOL = 1e-10


def classifier(problem: Problem, features: Any, labels: np.ndarray, threads: int, **settings: Any) -> Fit:
    """The call of a LinearClassifier's fit."""
    from crosshead.linear import LinearClassifier

    model = LinearClassifier(
        problem.loss,
        alpha=problem.alpha,
        l1_ratio=problem.l1_ratio,
        fit_intercept=problem.fit_intercept,
        max_iter=1_000_000,
        n_threads=threads,
        **settings,
    )

    def fit() -> Solution:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(features, labels)
        words = f"{model.status_}, {model.n_iter_} iterations, {model.n_passes_} passes"
        return Solution(model.coef_, model.intercept_, float(model.gap_), words, int(model.n_passes_))

    return fit


def version() -> str:
    """Version (a source tree on PYTHONPATH has none), and whether the native engine was there."""
    from importlib import metadata
    from importlib.util import find_spec

    try:
        number = metadata.version("crosshead")
    except metadata.PackageNotFoundError:
        number = "from source"
    built = "native" if find_spec("crosshead._native") is not None else "reference engine only"
    return f"crosshead {number} ({built})"


@final
class Crosshead:
    name = "crosshead"
    environment = ""
    dtype = "float32"
    knob = "tol"

    def cannot(self, problem: Problem) -> str | None:
        return None

    def budgets(self) -> Iterator[float]:
        return falling(0.5, 1e-8, 2)

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        return classifier(problem, features, labels, threads, tol=budget)

    def version(self) -> str:
        return version()


@final
class Reference:
    """The run that gives the optimum and its bound; it is no competitor."""

    name = "crosshead-reference"
    environment = ""
    dtype = "float64"
    knob = "max_time"

    def cannot(self, problem: Problem) -> str | None:
        return None

    def budgets(self) -> Iterator[float]:
        return iter((900.0,))

    def prepare(self, problem: Problem, features: Any, labels: np.ndarray, budget: float, threads: int) -> Fit:
        return classifier(problem, features, labels, threads, tol=REFERENCE_TOL, max_time=budget)

    def version(self) -> str:
        return version()
