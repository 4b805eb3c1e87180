"""F as a saddle point of weights and residuals, for primal–dual methods.

With the loss as the maximum over residuals, ℓ(z) = max_r ⟨r, z⟩ − ℓ*(r),

    min F = min_W,b max_r  Σ sᵢ (⟨rᵢ, W(xᵢ − x̄) + b′⟩ − ℓ*(rᵢ)) + R(W),

where x̄ is the mean feature with an intercept, b = b′ − W x̄, and zero without one. Steps of a weight are scaled by its
feature's standard deviation, those of residuals by the row weights sᵢ: neither depends on the scale of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from crosshead.data.memmap import check_mapped
from crosshead.engines.protocol import Engine, MovedSums, ResidualMove
from crosshead.losses.protocol import DualPoint, Float, Loss
from crosshead.penalties import ElasticNet

POWER_STEPS = 15  # steps of the power method, each of which reads the features twice
SETTLED = 1e-3  # relative change of its square at which the method ends
MARGIN = 1.05  # factor of the largest singular value


@final
@dataclass(frozen=True)
class SaddlePoint:
    """The objective of a loss with dual steps; ``center`` x̄ and ``sizes`` of the features, (D,).

    Parameters θ (C, D + 1) are W, and b′ in the last column.
    """

    engine: Engine
    loss: Loss
    penalty: ElasticNet
    fit_intercept: bool
    center: Float
    sizes: Float

    @cached_property
    def units(self) -> Float:
        """The squared unit of each column of θ, (D + 1,): the inverse variance of the feature, zero if it has none."""
        with np.errstate(divide="ignore", over="ignore"):
            units = np.append(1.0 / np.square(self.sizes), float(self.fit_intercept))
        return np.where(np.isfinite(units), units, 0.0)

    @cached_property
    def norm(self) -> float:
        """An upper estimate of the largest singular value of θ ↦ scores, in these units, by the power method."""
        data = self.engine.data
        share, unit = data.weights / data.total_weight, np.sqrt(self.units[:-1])
        vector, square = np.random.default_rng(0).standard_normal(data.n_features), 0.0
        for _ in range(POWER_STEPS):
            vector = vector * unit
            scores = np.asarray(data.features @ vector.astype(data.features.dtype), dtype=np.float64)
            weighted = share * (scores - float(self.center @ vector))
            pulled = np.asarray(weighted.astype(data.features.dtype) @ data.features, dtype=np.float64)
            check_mapped(data.features)
            vector = (pulled - weighted.sum() * self.center) * unit
            before, square = square, float(np.linalg.norm(vector))
            if not square > 0 or abs(square - before) <= SETTLED * square:
                break
            vector /= square
        return MARGIN * max(float(np.sqrt(square)), float(self.fit_intercept)) or 1.0  # without features

    def enter(self, weight: Float, bias: Float) -> Float:
        """Transform W (C, D) and b (C,) to θ."""
        return np.column_stack([weight, bias + weight @ self.center if self.fit_intercept else np.zeros(len(bias))])

    def leave(self, theta: Float) -> tuple[Float, Float]:
        """Transform θ to W and b."""
        weight = np.ascontiguousarray(theta[:, :-1])
        return weight, theta[:, -1] - weight @ self.center if self.fit_intercept else np.zeros(len(theta))

    def shrink(self, theta: Float, step: float) -> Float:
        """The proximal step of the penalty, in these units; b′ is not changed."""
        found = theta.copy()
        found[:, :-1] = self.penalty.prox(theta[:, :-1], step * self.units[:-1])
        return found

    def move(self, move: ResidualMove, theta: Float, *, exact: bool) -> tuple[MovedSums, Float]:
        """Update residuals at the scores of θ; return means over rows, and Σ sᵢ rᵢ′ (xᵢ − x̄, 1)ᵀ, (C, D + 1)."""
        sums = self.engine.move_residuals(move, *self.leave(theta), self.loss, exact=exact)
        total = self.engine.data.total_weight
        bias = sums.bias_gradient / total if self.fit_intercept else np.zeros(len(theta))
        means = MovedSums(
            sums.dual / total, sums.distance / total, sums.travelled / total, sums.weight_gradient / total, bias
        )
        return means, np.column_stack([means.weight_gradient - np.outer(bias, self.center), bias])

    def square(self, step: Float) -> float:
        """‖Δθ‖² in these units."""
        units = self.units
        return float((np.square(step) @ np.divide(1.0, units, out=np.zeros_like(units), where=units > 0)).sum())


def dual_point(sums: MovedSums) -> DualPoint:
    """Convert means over rows to a dual point."""
    return DualPoint(sums.dual, sums.weight_gradient, sums.bias_gradient)
