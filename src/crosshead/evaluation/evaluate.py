"""`evaluate` and related functions, in one pass over the rows, block by block."""

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
    """Evaluate outputs (N, C) against the target (N,): errors, cross-entropy, Brier score, calibration, by class.

    Outputs are probabilities or, with ``loss``, scores. Rows are read once, one block at a time, and may be
    memory-mapped; memory does not grow with N × C.

    Parameters
    ----------
    outputs : array (N, C)
        Probabilities, or scores of a ``loss``.
    target : array (N,)
        Class indices, or labels among ``classes``.
    classes : sequence, optional
        Names of the columns, (C,).
    loss : str or Loss, optional
        The loss of the scores, whose mean is computed as well. Probabilities are those of the loss, if it has any.
    temperature : float, optional
        T of the probabilities softmax(z/T), for scores of any loss.
    sample_weight : array (N,), optional
        Weights of the rows; a weight of k counts a row k times in every measure.
    top_k : int
        k of the top-k error.
    bins : int
        Number of bins of the calibration errors.
    level : float, optional
        Level of the bootstrap intervals, such as 0.95; by default there are no intervals.
    resamples, seed : int
        Number of resamples and seed of the bootstrap.
    tolerance : float, optional
        Tolerance of the sum of a row's probabilities, by default 1e-6, for float32 1e-4.
    block_rows : int, optional
        Rows per block; results do not depend on it, except for rounding.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If probabilities are NaN, negative or do not sum to one, scores are not finite, or a target is not a class; it
        names the row (from 0).

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
    """Evaluate predictions against their own target; options are those of `evaluate`.

    Scores without a ``loss`` are treated as logits of "softmax". Raises DataError without a target or for an invalid
    row, naming the file and the row.

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
    """Create the evaluator for the blocks of predictions."""
    if predictions.kind == "scores":
        return Evaluator(predictions.n_rows, predictions.classes, loss=loss or "softmax", **options)
    if loss is not None:
        raise ValueError(f"{predictions.source}: a loss is for scores, and these are probabilities")
    # Predictions have applied their own tolerance already.
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
    """Compute the reliability table of probabilities (N, C) for class indices (N,), or labels among ``classes``.

    ``strategy`` "uniform" has bins of equal width, "quantile" bins of equal mass, except that equal confidences are
    never separated. Raises ValueError for invalid probabilities, naming the row.

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
    """Compute the expected calibration error, a share between 0 and 1; see `reliability`.

    It is biased upwards by the noise in the bins, more so with fewer rows per bin.

    Examples
    --------
    >>> calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
    0.0
    """
    options: dict[str, Any] = {"strategy": strategy, "classes": classes, "sample_weight": sample_weight}
    return reliability(probabilities, target, bins=bins, **options).ece
