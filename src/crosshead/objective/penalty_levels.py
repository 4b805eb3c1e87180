"""An objective with stronger penalties than its own, for following the path of the penalty.

At a level μ the penalty of feature j is at least μ vⱼ, with vⱼ its variance: F(W) + ½ Σ (μ vⱼ − α)₊ ‖W_·j‖².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from crosshead.curvature.factored import AllRowsHessian, FactoredHessian, factorise
from crosshead.curvature.row_sampling import RowSampler
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Float, Loss, QuadraticLoss
from crosshead.penalties import ElasticNet

HIGHEST_LEVEL = 1e300  # its product with any variance is finite


@final
@dataclass(frozen=True)
class PenaltyLevels:
    """The penalty and the Hessian of an objective at levels of the penalty; points are flat parameters."""

    engine: Engine
    loss: Loss
    penalty: ElasticNet
    sampler: RowSampler
    fit_intercept: bool
    seed: int

    def diagonal(self, level: float) -> Float:
        """The diagonal of the penalty's Hessian at a level, flat; at 0 it is that of the penalty itself."""
        classes = self.engine.data.n_classes
        return np.concatenate([np.tile(self._feature_diagonal(level), classes), np.zeros(classes)])

    @property
    def last(self) -> float:
        """The level below which `diagonal` is that of the penalty itself."""
        largest = float(self.sampler.variance.max(initial=0.0))
        return min(self.penalty.l2_weight / largest, HIGHEST_LEVEL) if largest > 0 else self.penalty.l2_weight

    @property
    def row_share(self) -> float:
        """The share of a typical row in the mean over all rows."""
        data = self.engine.data
        return float(np.sum(data.weights**2)) / data.total_weight**2

    def factored(self, point: Float, level: float, draw: int) -> FactoredHessian | None:
        """The factorised Hessian at a point and a level; None if it is not available. ``draw`` selects the rows."""
        model = self._quadratic(point)
        if model is None or (self.loss.shift_invariant and self.engine.data.n_classes == 1):
            return None
        return factorise(
            self.engine,
            *model,
            self.sampler.leverage,
            self.sampler.center,
            self._feature_diagonal(level),
            fit_intercept=self.fit_intercept,
            shift_invariant=self.loss.shift_invariant,
            seed=self.seed + draw,
        )

    def products(
        self, point: Float, level: float, factored: FactoredHessian, *, exact: bool, count: Callable[[], None]
    ) -> AllRowsHessian | None:
        """Products with the same Hessian over all rows; ``count`` is called for each, which costs a pass."""
        model = self._quadratic(point)
        if model is None:
            return None
        data = self.engine.data
        rows = TrainingData(data.features, model[1], data.n_classes, data.sample_weight)
        return AllRowsHessian(
            self.engine.over(rows), model[0], factored, self.diagonal(level), self.loss.shift_invariant, exact, count
        )

    def _feature_diagonal(self, level: float) -> Float:
        return np.maximum(self.penalty.l2_weight, level * self.sampler.variance)

    def _quadratic(self, point: Float) -> tuple[QuadraticLoss, Float] | None:
        """The second-order model of the loss at every row."""
        data = self.engine.data
        split = data.n_classes * data.n_features
        scores = self.engine.scores(point[:split].reshape(data.n_classes, -1), point[split:], 0, data.n_rows)
        return self.loss.quadratic(scores, data.target, 0.0)
