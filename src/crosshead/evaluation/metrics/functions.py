"""Single measures as plain functions of all rows; `evaluate` finds them all in one reading.

Outputs are (N, C), targets class indices (N,) or labels among ``classes``; rows carry ``sample_weight`` (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from math import e
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation import _checks
from crosshead.evaluation.bootstrap import checked_weights
from crosshead.evaluation.metrics.row_outcomes import outcomes_of_probabilities, outcomes_of_scores
from crosshead.losses import as_loss
from crosshead.losses._samples import nats_to
from crosshead.losses.protocol import Array, Float, Loss

RowValues = Callable[[Any, NDArray[np.intp], int], Array]


def classification_error(outputs: Any, target: Any, *, classes: Any = None, sample_weight: Any = None) -> float:
    """Compute the share of rows whose highest output, the first of equal ones, is not the target.

    Outputs may be probabilities or scores.

    Examples
    --------
    >>> classification_error([[0.5, 0.5], [0.25, 0.75]], [1, 1])
    0.5
    """
    return top_k_error(outputs, target, 1, classes=classes, sample_weight=sample_weight)


def top_k_error(outputs: Any, target: Any, k: int = 5, *, classes: Any = None, sample_weight: Any = None) -> float:
    """Compute the share of rows whose target is not among the k highest outputs; of equal ones the first are higher.

    k = 1 gives the classification error, k = C gives 0. Outputs may be probabilities or scores.

    Examples
    --------
    >>> top_k_error([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], [0, 2], k=2)
    0.5
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")

    def missed(block: Any, indices: NDArray[np.intp], first: int) -> Array:
        return outcomes_of_scores(_checks.as_score_block(block, first), indices).rank >= k

    total, weight = _sums(outputs, target, missed, classes, sample_weight)
    return total / weight


def log_loss(
    probabilities: Any, target: Any, *, base: float = e, classes: Any = None, sample_weight: Any = None
) -> float:
    """Compute the mean cross-entropy −log p of the targets: in nats, in bits with ``base=2``, in bans with ``base=10``.

    It is +inf if any target has probability exactly 0, without clipping: `evaluate` counts such rows and names the
    first.

    Examples
    --------
    >>> round(log_loss([[0.25, 0.75], [0.5, 0.5]], [0, 1], base=2), 4)
    1.5
    """
    total, weight = _sums(probabilities, target, _nll, classes, sample_weight)
    return total / weight * nats_to(base)


def log_likelihood(
    probabilities: Any, target: Any, *, base: float = e, classes: Any = None, sample_weight: Any = None
) -> float:
    """Compute the log-likelihood Σ log p_i of all targets, in nats by default.

    The likelihood itself underflows on a few hundred rows; its logarithm does not.

    Examples
    --------
    >>> round(log_likelihood([[0.25, 0.75], [0.5, 0.5]], [0, 1], base=2), 4)
    -3.0
    """
    return -_sums(probabilities, target, _nll, classes, sample_weight)[0] * nats_to(base)


def brier_score(probabilities: Any, target: Any, *, classes: Any = None, sample_weight: Any = None) -> float:
    """Compute the Brier score Σ_c (p_c − y_c)², summed over classes and averaged over rows, between 0 and 2.

    For two classes it is twice the Brier score of one probability. Brier, Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> brier_score([[0.5, 0.25, 0.25]], [0])
    0.375
    """
    total, weight = _sums(probabilities, target, _brier, classes, sample_weight)
    return total / weight


def mean_loss(
    scores: Any, target: Any, loss: Loss | str = "hinge", *, classes: Any = None, sample_weight: Any = None
) -> float:
    """Compute the (weighted) mean of a loss on scores (N, C): "hinge", "softmax" or another of `crosshead.losses`.

    Examples
    --------
    >>> scores = [[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]
    >>> round(mean_loss(scores, [0, 1, 2]), 4)  # (2.9 + 0 + 12.9)/3
    5.2667
    """
    charged = as_loss(loss)

    def cost(block: Any, indices: NDArray[np.intp], first: int) -> Array:
        return charged.value(_checks.as_score_block(block, first), indices)

    total, weight = _sums(scores, target, cost, classes, sample_weight)
    return total / weight


def _nll(block: Any, indices: NDArray[np.intp], first: int) -> Float:
    found = outcomes_of_probabilities(_checks.as_probability_block(block, first), indices).nll
    assert found is not None
    return found


def _brier(block: Any, indices: NDArray[np.intp], first: int) -> Float:
    found = outcomes_of_probabilities(_checks.as_probability_block(block, first), indices).brier
    assert found is not None
    return found


def _sums(outputs: Any, target: Any, values: RowValues, classes: Any, sample_weight: Any) -> tuple[float, float]:
    """The weighted sum of one number per row over all rows, and the sum of the weights."""
    matrix, indices, weights = _checks.as_rows(outputs, target, classes, sample_weight)
    step, total, weight = _checks.block_rows(matrix.shape[1]), 0.0, 0.0
    for first in range(0, len(matrix), step):
        rows = slice(first, first + step)
        found = values(matrix[rows], indices[rows], first)
        own = np.ones(len(found)) if weights is None else checked_weights(weights[rows], first)
        total += float(found[own > 0] @ own[own > 0])
        weight += float(own.sum())
    if not weight > 0:
        raise ValueError("the weights sum to zero")
    return total, weight
