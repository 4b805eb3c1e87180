"""The lower bound that certifies F, from the residuals of a pass.

By Fenchel duality a lower bound of F is

    D(r) = −Σ sᵢ ℓ*(rᵢ) / Σ sᵢ − R*(−G),    G = Σ sᵢ rᵢ xᵢᵀ / Σ sᵢ,    provided Σ sᵢ rᵢ = 0 if there is a bias.

The loss makes the residuals sum to zero (`Loss.balance`), and the penalty scales them into its domain
(`ElasticNet.best_bound`); neither needs another pass.
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np

from crosshead.engines.moments import column_sums, squares, weighted_moments
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import DualPoint, Float, Loss, Moments
from crosshead.penalties import ElasticNet

ROUNDINGS = 8  # plus half of one per class: the loss of accuracy of each addition in the sum over classes


@final
class Certificate:
    """Lower bounds of F for any penalty; quantities of the data alone are computed once."""

    def __init__(self, engine: Engine, loss: Loss, fit_intercept: bool) -> None:
        self._engine, self._loss, self._fit_intercept = engine, loss, fit_intercept

    @cached_property
    def moments(self) -> Moments:
        """Means of targets and features."""
        return weighted_moments(self._engine)

    @cached_property
    def floor(self) -> float:
        """The smallest possible value of the mean loss."""
        data = self._engine.data
        total = 0.0
        for first in range(0, data.n_rows, 1 << 18):
            block = data.block(first, first + (1 << 18))
            total += float(block.weights @ self._loss.infimum(block.target))
        return total / data.total_weight

    def bound(self, penalty: ElasticNet, point: DualPoint) -> float:
        """A lower bound of F; −inf if alpha = 0."""
        if penalty.alpha == 0:
            return -np.inf
        if not self._fit_intercept:
            return self.scaled(penalty, point.value, point.weight_gradient)
        balanced = self._loss.balance(point, self.moments)
        return self.floor if balanced is None else self.scaled(penalty, balanced.value, balanced.weight_gradient)

    def scaled(self, penalty: ElasticNet, value: float, weight_gradient: Float) -> float:
        """The bound of residuals whose sums are zero, or are assumed to be."""
        return penalty.best_bound(value, weight_gradient, self.floor) if penalty.alpha > 0 else -np.inf

    def rounding(self, weight: Float, bias: Float, value: float) -> float:
        """An estimate of the rounding error of F − D in float64, from the size of the terms of the scores.

        A loss close to zero is a difference of scores, each with a relative rounding error of 2⁻⁵³. Without this
        estimate a bound could exceed the optimum, and a gap of exactly zero would mean nothing.
        """
        with np.errstate(over="ignore"):  # an infinite rounding error makes the gap infinite
            size = float((np.abs(weight) @ self._sizes + np.abs(bias)).max(initial=0.0))
        return (ROUNDINGS + len(bias) / 2) * float(np.finfo(np.float64).eps) * (size + abs(value))

    @cached_property
    def _sizes(self) -> Float:
        """The features' root mean squares, (D,): times |W| they bound the terms of a score, in the mean over rows."""
        data = self._engine.data
        total = data.total_weight
        share = data.weights / total if total > 0 else np.full(data.n_rows, 1.0 / max(1, data.n_rows))
        with np.errstate(over="ignore"):  # infinite sizes make the gap infinite
            return np.asarray(np.sqrt(column_sums(data.features, share, squares)))
