"""Solve a regularisation path: fits at falling alphas on the same rows, each warm-started from the previous ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from crosshead.engines import TrainingData, make_engine
from crosshead.engines.caching import CachingEngine
from crosshead.engines.threads import one_blas_thread
from crosshead.linear.training import REDUCED_SHARE
from crosshead.losses.protocol import Float, Loss
from crosshead.objective import Objective
from crosshead.objective.row_space import Reduction
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress, Result, minimise
from crosshead.solvers.continuation import Carried, extrapolate

ENDING_STATUSES = ("max_time", "interrupted", "stopped")  # after these, only the current point is certified


@dataclass(frozen=True)
class PathOptions:
    """Options that are the same at every alpha. ``deadline`` is a time of `time.perf_counter`."""

    loss: Loss
    l1_ratio: float
    fit_intercept: bool
    tol: float
    max_iter: int
    deadline: float | None
    engine: str
    n_threads: int | None
    callback: Callable[[Progress], object] | None
    seed: int


@dataclass(frozen=True)
class Point:
    """The fit at one alpha: weight (C, D), bias (C,), its certificate and its cost."""

    alpha: float
    weight: Float
    bias: Float
    result: Result
    passes: int
    seconds: float


@final
class PathSolver:
    """Solves a path of falling alphas over one `TrainingData`.

    Curvature ``estimates`` and the ``reduction`` may be shared between paths over the same rows with other row weights.
    ``guide`` has the solutions of such a path at the same alphas: the difference from them changes less from alpha to
    alpha than the solution itself, and is easier to extrapolate.
    """

    def __init__(
        self,
        data: TrainingData,
        options: PathOptions,
        *,
        reduction: Reduction | None = None,
        estimates: dict[float, Any] | None = None,
        guide: Iterable[Point] = (),
    ) -> None:
        self.options, self._reduction = options, reduction
        self._guide, self._guided = iter(guide), deque[Float](maxlen=2)
        self._full = _make_objective(data, options)
        self._solved = self._full
        if reduction is not None:
            self._solved = _make_objective(replace(reduction.data, sample_weight=data.sample_weight), options)
        self._carried = Carried({} if estimates is None else estimates)
        self._points: list[Float] = []
        self._logs: list[float] = []
        self._ended: Result | None = None

    @property
    def objective(self) -> Objective:
        """The objective on the unreduced features, at some alpha."""
        return self._full

    def solve(self, alpha: float, start: tuple[Float, Float] | None = None) -> Point:
        """Fit the next alpha, from ``start`` (W, b) or an extrapolation of the last two fits."""
        with one_blas_thread():  # between two passes there are many small products
            return self._solve(alpha, start)

    def _solve(self, alpha: float, start: tuple[Float, Float] | None) -> Point:
        began, passes = time.perf_counter(), self._passes
        options = self.options
        penalty = ElasticNet(alpha, options.l1_ratio)
        objective = self._solved = self._solved.with_penalty(penalty)  # keeps what was computed for the last alpha
        tol = options.tol if self._reduction is None else REDUCED_SHARE * options.tol
        point = self._start(objective, alpha, start)
        if self._ended is None:
            result = minimise(objective, point, tol=tol, carried=self._carried, **self._budget())
        else:
            result = minimise(objective, self._points[-1] if self._points else point, tol=tol, after=self._ended)
        self._points, self._logs = [*self._points[-1:], result.point], [*self._logs[-1:], _log(alpha)]
        weight, bias = objective.unpack(result.point)
        if self._reduction is not None:
            weight, bias, result = self._certify(penalty, self._reduction.lift(weight), bias, result)
        if result.status in ENDING_STATUSES:
            self._ended = replace(result, iterations=0, passes=0, seconds=0.0, history=[])
        spent = time.perf_counter() - began
        return Point(alpha, weight.copy(), bias.copy(), result, self._passes - passes, spent)

    def _certify(self, penalty: ElasticNet, weight: Float, bias: Float, spent: Result) -> tuple[Float, Float, Result]:
        """Certify a solution of the reduced problem on the original features; improve it if rounding requires it."""
        objective = self._full = self._full.with_penalty(penalty)
        point = objective.pack(weight, bias)
        result = minimise(objective, point, tol=self.options.tol, after=spent, **self._budget())
        return *objective.unpack(result.point), result

    def _start(self, objective: Objective, alpha: float, start: tuple[Float, Float] | None) -> Float:
        if start is not None:
            weight = start[0] if self._reduction is None else self._reduction.lower(start[0])
            return objective.pack(weight, start[1])
        guide = next(self._guide, None)
        if guide is not None:
            return self._guided_start(objective, guide)
        if not self._points:
            return np.zeros(objective.size)
        sparse = objective.n_classes * objective.n_features if objective.l1_weight > 0 else 0
        return extrapolate(self._points, self._logs, _log(alpha), keep_signs=sparse)

    def _guided_start(self, objective: Objective, guide: Point) -> Float:
        """The guide's solution plus the extrapolated difference of this path from it."""
        weight = guide.weight if self._reduction is None else self._reduction.lower(guide.weight)
        there = objective.pack(weight, guide.bias)
        apart = [own - other for own, other in zip(self._points, self._guided, strict=True)]
        self._guided.append(there)
        if not apart:
            return there
        start = there + extrapolate(apart, self._logs, _log(guide.alpha))
        if objective.l1_weight > 0:  # zeros of both stay zero, and no weight changes its sign
            signed = start[: weight.size]
            signs = np.sign(signed)
            known = (signs == np.sign(there[: weight.size])) | (signs == np.sign(self._points[-1][: weight.size]))
            signed[~known] = 0.0
        return start

    def _budget(self) -> dict[str, Any]:
        deadline = self.options.deadline
        left = None if deadline is None else max(0.0, deadline - time.perf_counter())
        return {"max_iter": self.options.max_iter, "max_time": left, "callback": self.options.callback}

    @property
    def _passes(self) -> int:
        engines: list[Any] = [self._full.engine] + ([] if self._reduction is None else [self._solved.engine])
        return sum(engine.passes for engine in engines)


def _make_objective(data: TrainingData, options: PathOptions) -> Objective:
    engine = CachingEngine(make_engine(options.engine, data, options.n_threads))
    penalty = ElasticNet(1.0, options.l1_ratio)
    objective = Objective(engine, options.loss, penalty, fit_intercept=options.fit_intercept, seed=options.seed)
    assert objective.moments is not None  # computed here, so that all alphas share them
    assert objective.floor is not None
    return objective


def _log(alpha: float) -> float:
    return float(np.log(alpha)) if alpha > 0 else -np.inf
