"""An objective seen with a dual point of its own: what Newton's method on both problems at once asks for.

The residuals rᵢ = ∇ℓ(ζᵢ, yᵢ) of *virtual scores* ζ (N, C) are a dual point, whatever ζ is; at the optimum
ζᵢ = W xᵢ + b. Linearised about both, the optimality conditions Σ sᵢ rᵢ xᵢᵀ / Σ sᵢ + α W = 0 and ζ = X Wᵀ + b are

    (Xᵀ H X + α) d = −(Xᵀ r + α W) − Xᵀ H (z − ζ),    H = ∇²ℓ(ζ),  z = X Wᵀ + b,    r ← r + H (z + X d − ζ),

where the new residuals solve the first condition exactly: however little a feature is penalised, they are a good dual
point (`Loss.follow` keeps them in their domain).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import DualPoint, Float, Loss, QuadraticLoss
from crosshead.losses.quadratic import DiagonalQuadratic
from crosshead.objective.factored_hessian import (
    MOST_PARAMETERS,
    AllRowsHessian,
    FactoredHessian,
    factor_passes,
    factorise,
)
from crosshead.objective.sampling import RowSampler
from crosshead.penalties import ElasticNet

MOST_SCORES = 1 << 24  # of all rows together
BLOCK_BYTES = 1 << 23
PROBES, FIRST_SHARE = 6, 0.1  # random vectors that estimate leverages, and the share of what was known before


@dataclass(frozen=True)
class DualSums:
    """A dual point, and what pulls the weights: Xᵀ r + αW + Xᵀ H (z − ζ), flat."""

    dual: DualPoint
    pull: Float


@final
@dataclass(frozen=True)
class RowDuals:
    """The scores and virtual scores of all rows, (N, C) in float64, and the Hessian there; points are flat."""

    engine: Engine
    loss: Loss
    penalty: ElasticNet
    sampler: RowSampler
    fit_intercept: bool
    seed: int

    @property
    def factor_passes(self) -> float:
        """What a factorised Hessian costs, in passes; inf where there is none to be had."""
        data = self.engine.data
        size = data.n_classes * (data.n_features + 1)
        fits = not data.sparse and size <= MOST_PARAMETERS and data.n_rows * data.n_classes <= MOST_SCORES
        if not (fits and self.loss.smooth and self.penalty.l2_weight > 0 and self.penalty.l1_weight == 0):
            return np.inf
        return factor_passes(data.n_rows, data.n_features, data.n_classes)

    def scores(self, point: Float, count: Callable[[], None]) -> Float:
        """X Wᵀ + b in float64: a product with X, counted as a pass by ``count``."""
        count()
        data = self.engine.data
        weight, bias = self._unpacked(point)
        found = np.empty((data.n_rows, data.n_classes))
        step = max(1, BLOCK_BYTES // (8 * max(1, data.n_features)))
        for first in range(0, data.n_rows, step):
            block = data.features[first : first + step].astype(np.float64)
            found[first : first + step] = block @ weight.T + bias
        return found

    def value(self, scores: Float, point: Float) -> float:
        """F where the scores are known: no pass."""
        data = self.engine.data
        losses = self.loss.value(scores, data.target)
        return float(data.weights @ losses) / data.total_weight + self.penalty.value(self._unpacked(point)[0])

    def sums(self, virtual: Float, scores: Float, point: Float, count: Callable[[], None]) -> DualSums | None:
        """Of the residuals at virtual scores, at a point that has these scores: two products with Xᵀ, two passes."""
        data = self.engine.data
        classes = data.n_classes
        model = self.loss.quadratic(virtual, data.target, 0.0)
        if model is None:
            return None
        for _ in range(2):
            count()
        residual = self.loss.value_and_gradient(virtual, data.target)[1]
        change = model[0].value_and_gradient(scores - virtual, model[1])[1]
        both = np.hstack([residual, change])
        rows = TrainingData(data.features, both, 2 * classes, data.sample_weight)
        still = np.zeros((2 * classes, data.n_features)), np.ones(2 * classes)
        found = self.engine.over(rows).evaluate(*still, DiagonalQuadratic(), exact=True)  # of scores of one
        total = data.total_weight
        G, g = found.weight_gradient / total, found.bias_gradient / total
        if not self.fit_intercept:
            g = np.zeros_like(g)
        value = -float(data.weights @ self.loss.conjugate(residual, data.target)) / total
        weight = self._unpacked(point)[0]
        pull = G[:classes] + G[classes:] + self.penalty.gradient(weight)
        return DualSums(
            DualPoint(value, G[:classes], g[:classes]), np.concatenate([pull.ravel(), g[:classes] + g[classes:]])
        )

    def follow(self, virtual: Float, change: Float) -> Float | None:
        """The virtual scores whose residuals are those of ``virtual`` and H · ``change``, or near them.

        None where the scores of the weights serve as well.
        """
        return self.loss.follow(virtual, self.engine.data.target, change)

    @property
    def first_leverage(self) -> Float:
        """How far out each row lies, (N, C): what is known before there is a factor."""
        return np.repeat(self.sampler.leverage[:, None], self.engine.data.n_classes, axis=1)

    def leverage(self, factored: FactoredHessian, draw: int, count: Callable[[], None]) -> Float:
        """The variances of the rows' scores under (∇²F)⁻¹, (N, C), from a few random vectors; a pass for each."""
        random = np.random.default_rng([self.seed, draw])
        first = self.first_leverage
        found = np.zeros_like(first)
        for _ in range(PROBES):
            count()
            weight, bias = self._unpacked(factored.probe(random))
            found += self.engine.scores(weight, bias, 0, len(found)).astype(np.float64) ** 2 / PROBES
        return found + FIRST_SHARE * float(found.sum()) / float(first.sum()) * first

    def factored(self, virtual: Float, leverage: Float, draw: int) -> FactoredHessian | None:
        """The Hessian at virtual scores, factorised; None where it cannot be. ``draw`` chooses the rows."""
        model = self.loss.quadratic(virtual, self.engine.data.target, 0.0)
        if model is None or (self.loss.shift_invariant and self.engine.data.n_classes == 1):
            return None
        return factorise(
            self.engine,
            *model,
            leverage,
            self.sampler.center,
            np.full(self.engine.data.n_features, self.penalty.l2_weight),
            fit_intercept=self.fit_intercept,
            shift_invariant=self.loss.shift_invariant,
            seed=self.seed + draw,
        )

    def products(self, virtual: Float, factored: FactoredHessian, *, count: Callable[[], None]) -> AllRowsHessian:
        """Products with the same Hessian over all rows in float64; ``count`` is called for each, a pass."""
        data = self.engine.data
        model = self.loss.quadratic(virtual, data.target, 0.0)
        assert model is not None  # else there would be no factor
        rows = TrainingData(data.features, model[1], data.n_classes, data.sample_weight)
        charge = np.full(data.n_classes * data.n_features, self.penalty.l2_weight)
        flat = np.concatenate([charge, np.zeros(data.n_classes)])
        quadratic: QuadraticLoss = model[0]
        return AllRowsHessian(self.engine.over(rows), quadratic, factored, flat, self.loss.shift_invariant, True, count)

    def _unpacked(self, point: Float) -> tuple[Float, Float]:
        data = self.engine.data
        split = data.n_classes * data.n_features
        return point[:split].reshape(data.n_classes, data.n_features), point[split:]
