"""The Hessian of an objective at a point, from the rows where the loss has curvature.

With score Hessians Hᵢ (C, C), x̃ᵢ = (xᵢ, 1) and normalised row weights sᵢ,

    ∇²F = Σ sᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ) I (on W only).

Rows with Hᵢ = 0 are left out. For a hinge with little smoothing those are nearly all rows; the others are copied once,
and a product with the Hessian costs far less than a pass over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from crosshead.curvature.kronecker import KroneckerMetric, build_metric
from crosshead.curvature.row_factors import RowFactors, row_factors
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, Loss

SCORES_BYTES = 1 << 25  # scores of one block of rows in the search for curved rows
SMALL_BYTES = 1 << 24  # features whose scores are cheap in double precision
GATHERED_BYTES = 1 << 27  # limit of copies of curved rows with their scores


@final
@dataclass(frozen=True)
class Hessian:
    """∇²F on flat parameters, from the curved rows ``data`` (n, D) with their float64 ``scores`` (n, C).

    ``row_weight`` (n,) are the sᵢ, normalised over all rows of the fit.
    """

    engine: Engine
    data: TrainingData
    scores: Float
    row_weight: Float
    loss: Loss
    l2_weight: float
    fit_intercept: bool

    def multiply(self, direction: Float) -> Float:
        """Multiply ∇²F by a flat vector."""
        weight, bias = self._unpack(direction)
        moved = _product(self.data.features, weight.T) + bias
        product = self.loss.hessian_product(self.scores, self.data.target, moved)
        return self._collect(product, weight)

    @cached_property
    def drift(self) -> Float:
        """∂(∇F)/∂μ, the derivative of the gradient with respect to the smoothing width, flat."""
        slope = self.loss.smoothing_slope(self.scores, self.data.target)
        return self._collect(slope, np.zeros((self.data.n_classes, self.data.n_features)))

    def precondition(self, vector: Float) -> Float:
        """Apply the inverse of the curved rows' Kronecker metric, approximately (∇²F)⁻¹, to a flat vector."""
        weight, bias = self._metric.solve(*self._unpack(vector))
        return np.concatenate([weight.ravel(), bias])

    @cached_property
    def _metric(self) -> KroneckerMetric:
        return build_metric(
            self.engine,
            self.loss.curvature(self.scores, self.data.target, self.row_weight),
            self.data.features,
            self.row_weight,
            l2_weight=self.l2_weight,
            fit_intercept=self.fit_intercept,
        )

    def solve(self, right: Float) -> Float | None:
        """Apply (∇²F)⁻¹ to flat columns (·, k), by one factorisation; None if that would be too large."""
        factors = self._factors
        return None if factors is None else factors.solve(right, self.l2_weight)

    @cached_property
    def _factors(self) -> RowFactors | None:
        features = self.data.features
        return row_factors(self.loss, self.scores, self.data.target, self.row_weight, features, self.fit_intercept)

    def _collect(self, residual: Array, weight: Float) -> Float:
        """Σ sᵢ rᵢ x̃ᵢᵀ + α(1 − ρ) W, flat."""
        residual = residual * self.row_weight[:, None]
        gradient = _product(self.data.features.T, residual).T + self.l2_weight * weight
        bias = residual.sum(axis=0) if self.fit_intercept else np.zeros(self.data.n_classes)
        return np.concatenate([gradient.ravel(), bias])

    def _unpack(self, point: Float) -> tuple[Float, Float]:
        split = self.data.n_classes * self.data.n_features
        bias = point[split:] if self.fit_intercept else np.zeros(self.data.n_classes)
        return point[:split].reshape(self.data.n_classes, -1), bias


def curved_rows(engine: Engine, loss: Loss, weight: Float, bias: Float) -> Array | None:
    """The indices of the rows with Hᵢ ≠ 0 and sᵢ > 0; None if they exceed ``GATHERED_BYTES``."""
    data = engine.data
    probe = np.random.default_rng(0).standard_normal((1, data.n_classes))  # almost surely Hᵢ v = 0 only if Hᵢ = 0
    stored = data.features.nbytes if isinstance(data.features, np.ndarray) else data.features.data.nbytes * 2
    row_bytes = stored / max(1, data.n_rows) + 8 * data.n_classes
    step = max(1, SCORES_BYTES // (8 * data.n_classes))
    small = stored <= SMALL_BYTES
    found: list[Array] = []
    count = 0
    for first in range(0, data.n_rows, step):
        last = min(first + step, data.n_rows)
        if small:  # single precision would miss rows at widths near its rounding
            scores = _double_scores(data.block(first, last), weight, bias)
        else:
            scores = engine.scores(weight, bias, first, last)
        direction = np.broadcast_to(probe.astype(scores.dtype), scores.shape)
        product = loss.hessian_product(scores, data.target[first:last], direction)
        curved = product.any(axis=1)
        if data.sample_weight is not None:
            curved &= data.sample_weight[first:last] > 0
        found.append(np.flatnonzero(curved) + first)
        count += len(found[-1])
        if count * row_bytes > GATHERED_BYTES:
            return None
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


def build_hessian(
    engine: Engine, loss: Loss, weight: Float, bias: Float, *, l2_weight: float, fit_intercept: bool
) -> Hessian | None:
    """Build the Hessian at W (C, D), b (C,); None if too many rows are curved to copy them, or if it is zero."""
    rows = curved_rows(engine, loss, weight, bias)
    if rows is None or (not len(rows) and l2_weight == 0):
        return None
    data = engine.data.take(rows)
    # Float32 scores select the rows; their curvature is computed in float64.
    scores = _double_scores(data, weight, bias)
    row_weight = data.weights / engine.data.total_weight
    return Hessian(engine, data, scores, row_weight, loss, l2_weight, fit_intercept)


def _double_scores(data: TrainingData, weight: Float, bias: Float) -> Float:
    scores = np.empty((data.n_rows, data.n_classes))
    step = max(1, SCORES_BYTES // (8 * max(1, data.n_features)))
    for first in range(0, data.n_rows, step):
        block = data.features[first : first + step]
        if isinstance(block, np.ndarray):
            block = block.astype(np.float64, copy=False)
        scores[first : first + step] = block @ weight.T + bias
    return scores


def _product(features: Any, matrix: Float) -> Float:
    """The product of features and a matrix in the dtype of the features, as float64."""
    if isinstance(features, np.ndarray):
        matrix = matrix.astype(features.dtype, copy=False)
    return np.asarray(features @ matrix, dtype=np.float64)
