"""Predictions in, measures out: `evaluate` and what stands on it, in one reading of the rows, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.data.predictions.predictions import Predictions
from crosshead.evaluation import _checks
from crosshead.evaluation.calibration.reliability import Reliability, Strategy
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.result import Evaluation
from crosshead.losses.protocol import Loss


def evaluate(
    outputs: Any,
    target: Any,
    *,
    classes: Any = None,
    sample_weight: Any = None,
    loss: Loss | str | None = None,
    temperature: float | None = None,
    top_k: int = 5,
    bins: int = 15,
    level: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    tolerance: float | None = None,
    block_rows: int | None = None,
) -> Evaluation:
    """Measure outputs (N, C) against the target (N,): errors, cross-entropy, Brier score, calibration, by class.

    Outputs are probabilities. Where a ``loss`` is named (an object or a name in `crosshead.losses`) they are scores:
    the mean loss is added, and probabilities are the loss's own, or softmax(z/T) where a ``temperature`` T is given,
    or none. The target is class indices, or labels where ``classes`` (C,) names the columns. Rows are read once, a
    block at a time, and may be memory-mapped; nothing that is kept grows with N × C.

    Parameters
    ----------
    sample_weight : array (N,), optional
        Weights of the rows; a weight of k counts a row k times in every measure.
    top_k : int
        For the top-k error.
    bins : int
        Bins of the calibration errors.
    level : float, optional
        The level of the bootstrap intervals, such as 0.95; without it there are none.
    resamples, seed : int
        Of the bootstrap.
    tolerance : float, optional
        How far from 1 the probabilities of a row may sum: 1e-6, for float32 1e-4.
    block_rows : int, optional
        Rows of one block; results do not depend on it, but for rounding.

    Raises
    ------
    ValueError
        Naming the row (from 0) where probabilities are NaN, negative or do not sum to one, scores are not finite,
        or a target is no class.

    Examples
    --------
    Three samples of a well-known example, whose true classes are the third, the second and the first:

    >>> found = evaluate([[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]], [2, 1, 0])
    >>> round(found.error, 4), round(found.brier, 4), round(-found.log_likelihood, 3)
    (0.3333, 0.8067, 4.135)
    """
    matrix, indices, weights = _checks.as_rows(outputs, target, classes, sample_weight)
    n_rows, n_classes = matrix.shape
    names = _checks.as_classes(classes, n_classes)
    evaluator = Evaluator(
        n_rows,
        names,
        loss=loss,
        temperature=temperature,
        top_k=top_k,
        bins=bins,
        level=level,
        resamples=resamples,
        seed=seed,
        tolerance=tolerance,
    )
    step = block_rows or _checks.block_rows(n_classes)
    for first in range(0, n_rows, step):
        rows = slice(first, first + step)
        evaluator.add(matrix[rows], indices[rows], None if weights is None else weights[rows])
    return evaluator.result()


def evaluate_predictions(predictions: Predictions, *, loss: Loss | str | None = None, **options: Any) -> Evaluation:
    """Measure predictions against their own target; options are those of `evaluate`.

    Scores whose ``loss`` is not named count as logits, of the loss "softmax". Raises DataError, which names the file
    and the row, where there is no target or where a row is not what it should be.

    Examples
    --------
    >>> found = Predictions(np.array([[0.25, 0.75]]), np.array(["no", "yes"]), np.array([1]))
    >>> round(evaluate_predictions(found).cross_entropy, 4)
    0.2877
    """
    evaluator = predictions_evaluator(predictions, loss=loss, **options)
    target = predictions.known_target()
    for first, block in predictions.blocks():
        evaluator.add(block, target[first : first + len(block)])
    return evaluator.result()


def predictions_evaluator(predictions: Predictions, *, loss: Loss | str | None = None, **options: Any) -> Evaluator:
    """The evaluator that the blocks of these predictions belong into."""
    if predictions.kind == "scores":
        return Evaluator(predictions.n_rows, predictions.classes, loss=loss or "softmax", **options)
    if loss is not None:
        raise ValueError(f"{predictions.source}: a loss is charged on scores, and these are probabilities")
    # Their own tolerance has been applied by the time a block comes.
    return Evaluator(predictions.n_rows, predictions.classes, tolerance=np.inf, **options)


def reliability(
    probabilities: Any,
    target: Any,
    *,
    bins: int = 15,
    strategy: Strategy = "uniform",
    classes: Any = None,
    sample_weight: Any = None,
) -> Reliability:
    """The reliability table of probabilities (N, C) against class indices (N,), or labels among ``classes``.

    ``strategy`` "uniform" makes bins of equal width, "quantile" bins of equal mass: as many rows in each as ties
    allow, for equal confidences are never parted. Blocks of rows are read once. Raises ValueError for what are no
    probabilities, naming the row.

    Examples
    --------
    >>> table = reliability([[0.6, 0.4], [0.8, 0.2], [0.1, 0.9]], [0, 0, 0], bins=3, strategy="quantile")
    >>> table.confidence.tolist(), table.accuracy.tolist()
    ([0.6, 0.8, 0.9], [1.0, 1.0, 0.0])
    """
    if strategy not in ("uniform", "quantile"):
        raise ValueError(f"strategy must be 'uniform' or 'quantile', not {strategy!r}")
    found = evaluate(probabilities, target, classes=classes, sample_weight=sample_weight, bins=bins)
    table = found.reliability if strategy == "uniform" else found.reliability_equal_mass
    assert table is not None
    return table


def calibration_error(
    probabilities: Any,
    target: Any,
    *,
    bins: int = 15,
    strategy: Strategy = "uniform",
    classes: Any = None,
    sample_weight: Any = None,
) -> float:
    """Expected calibration error, a share between 0 and 1; see `reliability`.

    It is a biased estimate: noise in the bins makes it larger, the more so the fewer rows there are in a bin.

    Examples
    --------
    >>> calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
    0.0
    """
    options: dict[str, Any] = {"strategy": strategy, "classes": classes, "sample_weight": sample_weight}
    return reliability(probabilities, target, bins=bins, **options).ece
