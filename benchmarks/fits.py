"""One fit of a generated problem, and whether a fit that stalled is certified from elsewhere."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "properties"))

from generated_problems import KINDS, GeneratedProblem, realistic, small

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.threads import one_blas_thread
from crosshead.linear import LinearClassifier
from crosshead.losses import get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import minimise_with
from tracing import alternatives, recorded

MAX_ITER = 100_000  # the time is the limit
ORDINARY_ALPHA_ROWS, ORDINARY_WEIGHTS, ORDINARY_TOL = 0.05, 1e6, 1e-4
SLACK = 1.001  # weights drawn over six decades lie within six decades
SEEDS_APART = 1_000_000


@dataclass(frozen=True)
class Request:
    """A problem by kind and seed, and what it is run with."""

    kind: str
    seed: int
    tol: float
    seconds: float
    restarts: bool
    clock: str = "wall"

    def now(self) -> float:
        """The time by which the limit counts: of the wall clock, or of this process's work alone."""
        return time.process_time() if self.clock == "cpu" else time.perf_counter()

    def limits(self) -> dict[str, Any]:
        """What ends a fit. Solvers know the wall clock; the other one is looked at after each iteration."""
        if self.clock == "wall":
            return {"max_iter": MAX_ITER, "max_time": self.seconds}
        until = self.now() + self.seconds
        return {"max_iter": MAX_ITER, "callback": lambda progress: self.now() >= until}

    def problem(self) -> GeneratedProblem:
        return small(self.seed) if self.kind == "small" else realistic(self.kind, self.seed)


@dataclass(frozen=True)
class Record:
    """How one fit ended. ``restart`` says what certifies it after all, or "nothing"; empty where nothing was tried."""

    kind: str
    seed: int
    description: str
    loss: str
    l1_ratio: float
    alpha_rows: float
    weight_range: float
    tol: float
    limit: float
    status: str
    gap: float = float("inf")
    value: float = float("nan")
    seconds: float = float("nan")
    passes: int = 0
    method: str = "none"
    restart: str = ""

    @property
    def certified(self) -> bool:
        return self.status == "converged"

    @property
    def restarted(self) -> bool:
        """Whether it is certified from elsewhere."""
        return bool(self.restart) and not self.restart.startswith("nothing")

    @property
    def ordinary(self) -> bool:
        """Whether the settings are such as people choose."""
        within = self.alpha_rows >= ORDINARY_ALPHA_ROWS and self.weight_range <= SLACK * ORDINARY_WEIGHTS
        return within and self.tol >= ORDINARY_TOL

    @property
    def overshoot(self) -> float:
        """Seconds beyond the limit; nan where it was killed or failed."""
        return self.seconds - self.limit


def requests(kind: str, count: int, seed: int, **settings: Any) -> Iterator[Request]:
    """So many problems; the realistic ones of every kind in turn. ``settings`` are those of `Request`."""
    kinds = ["small"] if kind == "small" else list(KINDS)
    for place in range(count):
        yield Request(kinds[place % len(kinds)], SEEDS_APART * seed + place // len(kinds), **settings)


def named(name: str, **settings: Any) -> Request:
    """The request of "kind:seed", or of the call in a description."""
    found = re.fullmatch(r"(\w+):(\d+)|(small)\((\d+)\)|realistic\('(\w+)', (\d+)\)", name.strip())
    kind, seed = [part for part in found.groups() if part is not None] if found else ("", "0")
    if kind not in (*KINDS, "small"):
        raise ValueError(f"no problem is called {name!r}: give a kind and a seed, such as pixels:3 or small:17")
    return Request(kind, int(seed), **settings)


def unfinished(request: Request, status: str, **found: Any) -> Record:
    """A record of a fit that gave no result."""
    problem = request.problem()
    return Record(
        kind=problem.kind,
        seed=problem.seed,
        description=problem.description,
        loss=problem.loss,
        l1_ratio=problem.l1_ratio,
        alpha_rows=problem.alpha_rows,
        weight_range=problem.weight_range,
        tol=request.tol,
        limit=request.seconds,
        status=status,
        **found,
    )


def fit(request: Request) -> Record:
    """Fit a problem by the public estimator."""
    problem = request.problem()
    with recorded() as trace, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, began = _estimator(problem, request), request.now()
        try:
            model.fit(problem.X, problem.target, problem.weight)
        except Exception as error:
            return unfinished(request, f"{type(error).__name__}: {error}", method=trace.last_method)
        seconds = request.now() - began
    return unfinished(
        request,
        "max_time" if model.status_ == "stopped" else model.status_,
        gap=float(model.gap_),
        value=float(model.objective_),
        seconds=seconds,
        passes=model.n_passes_,
        method=trace.last_method,
    )


def stalled(record: Record, request: Request) -> bool:
    """Whether it is to be tried from elsewhere."""
    return record.status == "stalled" and request.restarts


def _estimator(problem: GeneratedProblem, request: Request) -> LinearClassifier:
    return LinearClassifier(
        problem.loss,
        alpha=problem.alpha,
        l1_ratio=problem.l1_ratio,
        fit_intercept=problem.fit_intercept,
        tol=request.tol,
        n_threads=1,
        **request.limits(),
    )


def from_elsewhere(request: Request) -> str:
    """What certifies a problem that stalled: a random start, or another method from zero; else "nothing"."""
    problem = request.problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, attempt in _attempts(problem, request):
            try:
                status = attempt()
            except Exception:  # a method that cannot do it, which says no more than that
                continue
            if status == "converged":
                return name
    return "nothing"


def _attempts(problem: GeneratedProblem, request: Request) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "a random start", lambda: _from_random(problem, request)
    data = TrainingData(problem.X, problem.target, problem.n_classes, problem.weight)
    objective = Objective(
        make_engine("auto", data, 1),
        get_loss(problem.loss),
        ElasticNet(problem.alpha, problem.l1_ratio),
        fit_intercept=problem.fit_intercept,
    )
    for name, method in alternatives(objective).items():
        yield name, partial(_by_method, method, objective, request)


def _from_random(problem: GeneratedProblem, request: Request) -> str:
    random = np.random.default_rng(problem.seed)
    D, C = problem.X.shape[1], problem.n_classes
    model = _estimator(problem, request).set_params(warm_start=True)
    scale = np.sqrt(_mean_square(problem.X))
    model.coef_ = random.normal(size=(C, D)) / np.where(scale > 0, scale, 1) / np.sqrt(D)
    model.intercept_ = random.normal(size=C) * problem.fit_intercept
    model.classes_ = np.arange(C)
    return str(model.fit(problem.X, problem.target, problem.weight).status_)


def _by_method(method: Any, objective: Objective, request: Request) -> str:
    start = np.zeros(objective.size)
    with one_blas_thread():
        result = minimise_with(method, objective, start, tol=request.tol, **request.limits())
    return result.status


def _mean_square(X: Any) -> Any:
    squares = X.multiply(X) if hasattr(X, "multiply") else np.square(X, dtype=np.float64)
    return np.asarray(squares.mean(axis=0)).ravel()
