"""One fit, from prepared data to a result; shared by all estimators of this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning as SklearnConvergenceWarning

from crosshead.data.memmap import check_mapped
from crosshead.engines import TrainingData, make_engine
from crosshead.losses.protocol import Float, Loss
from crosshead.objective import Objective
from crosshead.objective.row_space import reduce_features
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress, Result, minimise

REDUCED_SHARE = 0.5  # of tol for the reduced problem; the rest allows for rounding when its solution is mapped back


class ConvergenceWarning(SklearnConvergenceWarning):
    """Warning that a fit ended before its relative duality gap reached ``tol``; the message has the gap and the reason.

    Examples
    --------
    >>> import warnings
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifier
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = LinearClassifier(max_iter=1).fit(*load_iris(return_X_y=True))
    >>> caught[0].category.__name__, model.status_
    ('ConvergenceWarning', 'max_iter')
    """


def train(
    data: TrainingData,
    loss: Loss,
    penalty: ElasticNet,
    *,
    fit_intercept: bool,
    tol: float,
    max_iter: int,
    max_time: float | None,
    engine: str,
    precision: str,
    n_threads: int | None,
    callback: Callable[[Progress], object] | None,
    verbose: int,
    seed: int,
    start: tuple[Float, Float] | None = None,
) -> tuple[Float, Float, Result]:
    """Fit; return the weights (C, D), the bias (C,) and the solver's result.

    Issues a `ConvergenceWarning` if the result is not certified to ``tol``. ``start`` is a warm start.
    """
    callback = _with_printing(callback, verbose)

    def solve(data: TrainingData, start: tuple[Float, Float] | None, tol: float, spent: Result | None) -> Any:
        objective = Objective(
            make_engine(engine, data, n_threads, precision), loss, penalty, fit_intercept=fit_intercept, seed=seed
        )
        point = np.zeros(objective.size) if start is None else objective.pack(*start)
        result = minimise(
            objective, point, tol=tol, max_iter=max_iter, max_time=max_time, callback=callback, after=spent
        )
        return objective.unpack(result.point), result

    reduction = reduce_features(data) if penalty.l1_weight == 0 else None
    spent = None
    if reduction is not None:
        lowered = None if start is None else (reduction.lower(start[0]), start[1])
        (weight, bias), spent = solve(reduction.data, lowered, REDUCED_SHARE * tol, None)
        start = reduction.lift(weight), bias
    (weight, bias), result = solve(data, start, tol, spent)
    check_mapped(data.features)  # engines check after each pass; other readers of the features are above
    if result.status != "converged":
        warnings.warn(not_certified(result, tol), ConvergenceWarning, stacklevel=3)
    # Of the biases with the same predictions, choose the one with mean zero.
    return weight.copy(), bias - bias.mean() if loss.shift_invariant else bias.copy(), result


def not_certified(result: Result, tol: float) -> str:
    """Say in one line why a fit ended, how far from the optimum it may be, and what to do."""
    advice = {
        "max_iter": "raise max_iter, scale the features, or raise tol",
        "max_time": "raise max_time, or raise tol",
        "stalled": "raise tol",
        "no_certificate": "set alpha > 0 for a certified optimum",
    }.get(result.status, "fit again for a certified optimum")
    distance = (
        f"the relative duality gap is {result.gap:.2e} (tol {tol:.2e})"
        if np.isfinite(result.gap)
        else "no duality gap exists for alpha = 0"
    )
    return f"not certified: {result.message}; {distance}; {advice}"


def _with_printing(callback: Callable[[Progress], object] | None, verbose: int) -> Any:
    if verbose <= 0:
        return callback

    def report(progress: Progress) -> object:
        print(
            f"iteration {progress.iteration:5d}  passes {progress.passes:5d}  objective {progress.objective:.8f}  "
            f"gap {progress.gap:.2e}  {progress.seconds:.2f} s",
            file=sys.stderr,
        )
        return callback(progress) if callback is not None else None

    return report
