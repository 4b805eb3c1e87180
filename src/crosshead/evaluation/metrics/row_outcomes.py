"""Outcomes of the predictions of one block of rows, (n,) each, from which all measures are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosshead.losses.protocol import Array, Float


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Predictions of n rows compared with their target.

    * ``predicted``: the class with the highest output, the first of equal ones
    * ``rank``: number of classes before the target, 0 if the prediction is right; of equal outputs the class with the
      lower index comes first
    * ``confidence``: the highest probability; ``nll``: −log p of the target in nats, +inf where p is 0; ``brier``:
      Σ_c (p_c − y_c)². None where there are no probabilities
    """

    predicted: NDArray[np.intp]
    rank: NDArray[np.intp]
    confidence: Float | None = None
    nll: Float | None = None
    brier: Float | None = None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the prediction is not the target."""
        return self.rank > 0


def outcomes_of_scores(scores: Array, target: NDArray[np.intp]) -> Outcomes:
    """Predictions from scores (n, C) alone.

    Examples
    --------
    >>> outcomes_of_scores(np.array([[1.0, 3.0, 3.0]]), np.array([2])).rank
    array([1])
    """
    own = scores[np.arange(len(target)), target][:, None]
    ahead = scores > own
    ahead |= (scores == own) & (np.arange(scores.shape[1]) < target[:, None])
    return Outcomes(scores.argmax(axis=1), ahead.sum(axis=1))


def outcomes_of_probabilities(p: Float, target: NDArray[np.intp], nll: Float | None = None) -> Outcomes:
    """Predictions from probabilities (n, C); ``nll`` where it is known better than from a p that may underflow.

    Examples
    --------
    >>> found = outcomes_of_probabilities(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 1]))
    >>> found.nll.round(4), found.brier
    (array([0.2877,    inf]), array([0.125, 2.   ]))
    """
    from_scores = outcomes_of_scores(p, target)
    rows = np.arange(len(target))
    own = p[rows, target]
    if nll is None:
        with np.errstate(divide="ignore"):
            nll = np.abs(np.log(np.minimum(own, 1.0)))
    error = p.copy()
    error[rows, target] -= 1
    brier = np.einsum("ij,ij->i", error, error)
    return Outcomes(from_scores.predicted, from_scores.rank, p[rows, from_scores.predicted], nll, brier)
