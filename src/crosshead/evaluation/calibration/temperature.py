"""Temperature scaling: calibrate a classifier's confidence with one parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from crosshead.evaluation import _checks
from crosshead.evaluation.bootstrap import checked_weights
from crosshead.losses.functions import softmax
from crosshead.losses.protocol import Array

MAX_STEPS = 200
EXACT = 64 * float(np.finfo(np.float64).eps)


class TemperatureScaler(TransformerMixin, BaseEstimator):
    """Temperature scaling, p = softmax(z/T), with the T > 0 that minimises the mean cross-entropy.

    f(u) = Σ sᵢ [log Σ_c exp(u z_ic) − u z_iy] / Σ sᵢ is convex in u = 1/T, with f′ = E_p[z] − z_y and f″ = Var_p[z].
    The root of f′ is found by Newton's method, safeguarded by bisection. The order of scores within a row, and so the
    error, does not change. Source: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017.

    Fit it on rows that the classifier was not trained on, and evaluate it on rows that it was not fitted on.

    Attributes
    ----------
    temperature_ : float
        T. Above 1, the classifier was overconfident.
    cross_entropy_ : float
        The mean cross-entropy at T on the rows of the fit, in nats.
    n_features_in_ : int
        C, the number of classes.

    Examples
    --------
    >>> scores = np.log([[0.9, 0.1]] * 4)  # confidence 0.9, accuracy 0.75
    >>> scaler = TemperatureScaler().fit(scores, [0, 0, 0, 1])
    >>> scaler.predict_proba(scores)[0].round(4), round(scaler.temperature_, 4)
    (array([0.75, 0.25]), 2.0)
    """

    temperature_: float
    cross_entropy_: float
    n_features_in_: int

    def fit(self, scores: Any, target: Any, sample_weight: Any = None) -> TemperatureScaler:
        """Fit the temperature to scores (N, C), or log-probabilities, and class indices (N,).

        Raises ValueError if there is no optimal temperature: if every row is right, T → 0 is optimal, and if the
        scores are no better than chance, T → ∞ is. Also for scores that are not finite, naming the row.
        """
        matrix, indices, weights = _checks.as_rows(scores, target, None, sample_weight)
        problem = _Problem(matrix, indices, weights)
        sharpness = _root(problem)
        self.temperature_ = 1 / sharpness
        self.cross_entropy_ = problem.value(sharpness)
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, scores: Any) -> Array:
        """Divide the scores by T, (N, C)."""
        return self._known(scores) / self.temperature_

    def predict_proba(self, scores: Any) -> Array:
        """Compute softmax(z/T), (N, C)."""
        return softmax(self.transform(scores))

    def _known(self, scores: Any) -> Array:
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        matrix = _checks.as_matrix("scores", scores)
        if matrix.shape[1] != self.n_features_in_:
            raise ValueError(f"{matrix.shape[1]} classes, but the temperature was fitted on {self.n_features_in_}")
        return _checks.as_score_block(matrix, 0)


class _Problem:
    """f, f′ and f″ at a sharpness u = 1/T, summed over blocks of rows."""

    def __init__(self, scores: Array, target: Array, weights: Array | None) -> None:
        self.scores, self.target = scores, target
        self.weights = np.ones(len(target)) if weights is None else checked_weights(weights)
        self.total = float(self.weights.sum())
        if not self.total > 0:
            raise ValueError("the weights sum to zero")
        self.flat, self.sharp, self.scale = self._ends()

    def _blocks(self) -> Any:
        step = _checks.block_rows(self.scores.shape[1])
        for first in range(0, len(self.target), step):
            rows = slice(first, first + step)
            z = _checks.as_score_block(self.scores[rows], first)
            own = z[np.arange(len(z)), self.target[rows]]
            # Subtracting the highest score of the row avoids overflow, and log Σ exp(u z) is exact for any u.
            top = z.max(axis=1)
            yield z - top[:, None], own - top, self.weights[rows]

    def _ends(self) -> tuple[float, float, float]:
        """f′ at u = 0 and its limit for u → ∞, and the mean size of the shifted scores."""
        flat = sharp = scale = 0.0
        for z, own, s in self._blocks():
            flat += float(s @ (z.mean(axis=1) - own))
            sharp -= float(s @ own)
            scale += float(s @ np.abs(z).mean(axis=1))
        return flat / self.total, sharp / self.total, scale / self.total

    def value(self, u: float) -> float:
        """The mean cross-entropy in nats."""
        sums = [float(s @ (np.log(np.exp(u * z).sum(axis=1)) - u * own)) for z, own, s in self._blocks()]
        return math.fsum(sums) / self.total

    def slopes(self, u: float) -> tuple[float, float]:
        """First and second derivative in u times `scale`: numbers near one for any scores."""
        first, second = [], []
        for z, own, s in self._blocks():
            p = np.exp(u * z)
            p /= p.sum(axis=1, keepdims=True)
            mean = np.einsum("ij,ij->i", p, z)
            first.append(float(s @ ((mean - own) / self.scale)))
            second.append(float(s @ np.einsum("ij,ij->i", p, ((z - mean[:, None]) / self.scale) ** 2)))
        return math.fsum(first) / self.total, math.fsum(second) / self.total


def _root(problem: _Problem) -> float:
    """The root u of f′, by Newton's method inside a bracket."""
    if problem.sharp <= 0:
        raise ValueError(
            "there is no optimal temperature: every row is right, so that smaller temperatures are always better; "
            "give more rows, some of which the classifier gets wrong"
        )
    if problem.flat >= -EXACT * problem.scale:
        raise ValueError(
            "there is no optimal temperature: on these rows the scores are no better than chance, so that larger "
            "temperatures are always better"
        )
    lower, upper, u = 0.0, math.inf, 1 / problem.scale
    for _ in range(MAX_STEPS):
        first, second = problem.slopes(u)
        if first == 0:
            return u
        lower, upper = (u, upper) if first < 0 else (lower, u)
        step = u - first / second / problem.scale if second > 0 else math.nan
        if abs(step - u) <= EXACT * u or upper - lower <= EXACT * u:
            return u
        if not lower < step < upper:  # also if the step is NaN
            step = 4 * u if upper == math.inf else (lower + upper) / 2
        elif upper == math.inf:
            step = min(step, 4 * u)
        u = step
    return u
