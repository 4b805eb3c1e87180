"""Out-of-fold probabilities: each row is predicted by a model that was not trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_X_y

from crosshead.engines import TrainingData
from crosshead.linear.base import FEATURE_TYPES
from crosshead.linear.classifier import check_budget, check_flags, check_number, seed_of
from crosshead.linear.folds import Fold, make_folds
from crosshead.linear.path_measures import BLOCK_ELEMENTS
from crosshead.linear.prediction import score_blocks
from crosshead.linear.training import train
from crosshead.losses import as_loss
from crosshead.losses.protocol import Array, Float, Loss
from crosshead.penalties import ElasticNet
from crosshead.solvers import Progress
from crosshead.sparse_structure import canonical, require_structure


def out_of_fold_probabilities(
    X: Any,
    y: Any,
    *,
    cv: Any = 5,
    loss: str | Loss = "softmax",
    alpha: float = 1e-4,
    l1_ratio: float = 0.0,
    fit_intercept: bool = True,
    class_weight: Mapping[Any, float] | str | None = None,
    tol: float = 1e-4,
    max_iter: int = 1000,
    max_time: float | None = None,
    engine: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[Progress], object] | None = None,
    random_state: Any = None,
    start: tuple[Float, Float] | None = None,
) -> tuple[Float, Array]:
    """Compute class probabilities (N, C) of each row by the model of the fold that leaves it out, and the classes (C,).

    Parameters
    ----------
    X, y : features (N, D), dense or sparse, and labels (N,)
        X is read in its own dtype and never copied.
    cv : int, splitter or iterable
        As in scikit-learn; the held-out rows must be all rows, each exactly once.
    start : (weight (C, D), bias (C,)), optional
        Initial weights of every fold's fit; they affect its speed, not its optimum.
    loss, alpha, l1_ratio, …
        As in `LinearClassifier`. The loss must have probabilities.

    Returns
    -------
    probabilities : ndarray (N, C)
    classes : ndarray (C,)

    Raises
    ------
    ValueError
        For a loss without probabilities, a row that is held out twice or never, or a fold without some class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> p, classes = out_of_fold_probabilities(X, y, alpha=1e-3)
    >>> p.shape, float((classes[p.argmax(axis=1)] == y).mean().round(2))
    ((150, 3), 0.97)
    """
    cost = as_loss(loss)
    if not cost.has_probabilities:
        raise ValueError(f"the loss {cost.name!r} has no probabilities: use 'softmax' or 'binary'")
    check_budget(tol, max_iter, max_time)
    check_flags(fit_intercept=fit_intercept)
    penalty = ElasticNet(check_number("alpha", alpha), check_number("l1_ratio", l1_ratio))
    require_structure(X)
    X, y = check_X_y(X, y, accept_sparse="csr", dtype=FEATURE_TYPES, ensure_min_samples=2)
    X = canonical(X)
    classes = np.unique(y)
    probabilities = np.full((len(y), len(classes)), np.nan)
    for fold in make_folds(cv, X, y, None, class_weight, classes=classes):
        if not np.isnan(probabilities[fold.held_out, 0]).all():
            raise ValueError("a row is held out twice: the folds must hold out each row once")
        weight, bias, _ = train(
            fold.training.data,
            cost,
            penalty,
            fit_intercept=fit_intercept,
            tol=tol,
            max_iter=max_iter,
            max_time=max_time,
            engine=engine,
            precision="auto",
            n_threads=n_threads,
            callback=callback,
            verbose=0,
            seed=seed_of(random_state),
            start=start,
        )
        _fill(probabilities, fold, weight, bias, X, cost, {"engine": engine, "n_threads": n_threads})
    if np.isnan(probabilities).any():
        raise ValueError("a row is never held out: the folds must hold out each row once")
    return probabilities, classes


def _fill(
    out: Float, fold: Fold, weight: Float, bias: Float, features: Any, loss: Loss, options: dict[str, Any]
) -> None:
    step = max(1, BLOCK_ELEMENTS // max(1, features.shape[1]))
    for first in range(0, len(fold.held_out), step):
        rows = fold.held_out[first : first + step]
        block = TrainingData(features, np.zeros(features.shape[0], dtype=np.int32), len(bias)).take(rows).features
        for start, scores in score_blocks(weight, bias, block, **options):
            out[rows[start : start + len(scores)]] = loss.predict_proba(scores.astype(np.float64))
