"""The protocol that solvers require of an objective, and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from crosshead.objective.facts import Facts

Float = NDArray[np.float64]

Status = Literal["converged", "max_iter", "max_time", "stalled", "no_certificate", "interrupted", "stopped"]

MEANING: dict[str, str] = {
    "converged": "the relative duality gap is at most tol",
    "max_iter": "max_iter iterations were used up",
    "max_time": "max_time was used up",
    "stalled": "no further progress is possible in double precision",
    "no_certificate": "alpha = 0 has no duality gap; the gradient is small, but nothing bounds the optimum",
    "interrupted": "interrupted before the end; the best weights so far are kept",
    "stopped": "the callback asked to stop; the best weights so far are kept",
}


class Evaluation(Protocol):
    """The result of one pass at a point; see `crosshead.objective.Evaluation`."""

    @property
    def point(self) -> Float: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def bound(self) -> float: ...  # noqa: D102
    @property
    def surrogate(self) -> float: ...  # noqa: D102
    @property
    def surrogate_bound(self) -> float: ...  # noqa: D102
    @property
    def gradient(self) -> Float: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102
    @property
    def coarse(self) -> bool: ...  # noqa: D102


class Objective(Protocol):
    """What a solver requires of an objective; see `crosshead.objective.Objective`."""

    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def smooth(self) -> bool: ...  # noqa: D102
    @property
    def has_certificate(self) -> bool: ...  # noqa: D102
    @property
    def inexact_passes(self) -> bool: ...  # noqa: D102
    @property
    def l1_weight(self) -> float: ...  # noqa: D102
    @property
    def facts(self) -> Facts: ...  # noqa: D102
    @property
    def alpha(self) -> float: ...  # noqa: D102
    @property
    def l2_weight(self) -> float: ...  # noqa: D102
    @property
    def coarse_resolution(self) -> float | None: ...  # noqa: D102
    @property
    def dual(self) -> Any: ...  # noqa: D102
    @property
    def n_features(self) -> int: ...  # noqa: D102
    @property
    def n_weights(self) -> int: ...  # noqa: D102
    @property
    def feature_sizes(self) -> Float: ...  # noqa: D102
    def dense_hessian(self, evaluation: Any) -> Any: ...  # noqa: D102
    def evaluate(self, point: Float, *, exact: bool = True, coarse: bool = False) -> Any: ...  # noqa: D102
    def evaluate_balanced(self, point: Float, *, exact: bool = True) -> Any: ...  # noqa: D102
    def class_blocks(self, evaluation: Any, *, share: float, groups: int, rows: int, seed: int) -> Any: ...  # noqa: D102
    def free_bound(self, evaluation: Any) -> float: ...  # noqa: D102
    def metric(self, evaluation: Any) -> Any: ...  # noqa: D102
    def model(self, evaluation: Any, *, rows: int, share: float, in_place: bool = False) -> Any: ...  # noqa: D102
    def active_model(self, evaluation: Any, coordinates: Any, *, share: float) -> Any: ...  # noqa: D102
    def hessian(self, evaluation: Any) -> Any: ...  # noqa: D102
    @property
    def levels(self) -> Any: ...  # noqa: D102
    def bias_curvature(self, evaluation: Any) -> Any: ...  # noqa: D102
    def move_bias(self, evaluation: Any, curvature: Any = None) -> Float: ...  # noqa: D102
    def certified_by(self, evaluation: Any, point: Any) -> Any: ...  # noqa: D102
    def without_shift(self, step: Float) -> Float: ...  # noqa: D102
    def without_common(self, point: Float) -> Float: ...  # noqa: D102
    def unpack(self, point: Float) -> tuple[Float, Float]: ...  # noqa: D102
    def pack(self, weight: Float, bias: Float) -> Float: ...  # noqa: D102
    def smoothed(self, smoothing: float) -> Objective: ...  # noqa: D102


@dataclass(frozen=True)
class Progress:
    """The state of a fit after an iteration, as callbacks and ``history_`` have it.

    ``objective`` and ``gap`` are the best so far; ``gap`` is relative, (F − D)/|F|, and inf without a bound.
    ``seconds`` count from the start of the fit, ``passes`` are full passes over the data,
    ``factorisations`` those of a Hessian so far, which take additional time.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifier
    >>> last = LinearClassifier().fit(*load_iris(return_X_y=True)).history_[-1]
    >>> type(last).__name__, last.gap <= 1e-4
    ('Progress', True)
    """

    iteration: int
    passes: int
    seconds: float
    objective: float
    gap: float
    factorisations: int = 0


Callback = Callable[[Progress], object]


@dataclass(frozen=True)
class Result:
    """The best parameters found, and their certificate; `minimise` returns it.

    ``value`` F and ``bound`` D are computed in float64 at the end; ``gap`` = (F − D)/|F|.

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.engines import TrainingData, make_engine
    >>> from crosshead.losses import Softmax
    >>> from crosshead.objective import Objective
    >>> from crosshead.penalties import ElasticNet
    >>> from crosshead.solvers import minimise
    >>> data = TrainingData(np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 1], dtype=np.int32), 2)
    >>> objective = Objective(make_engine("auto", data), Softmax(), ElasticNet(0.1))
    >>> result = minimise(objective, np.zeros(objective.size))
    >>> result.message, result.bound <= result.value
    ('the relative duality gap is at most tol', True)
    """

    point: Float
    value: float
    bound: float
    gap: float
    status: Status
    iterations: int
    passes: int
    seconds: float
    history: list[Progress] = field(repr=False)

    @property
    def message(self) -> str:
        """The status as a sentence."""
        return MEANING[self.status]


def relative_gap(value: float, bound: float) -> float:
    """The relative duality gap (F − D)/max(|F|, tiny), never negative; inf if there is no bound D.

    Examples
    --------
    >>> relative_gap(2.0, 1.5), relative_gap(2.0, float("-inf"))
    (0.25, inf)
    """
    if not np.isfinite(bound) or not np.isfinite(value):
        return float("inf")
    return max(0.0, value - bound) / max(abs(value), float(np.finfo(np.float64).tiny))
