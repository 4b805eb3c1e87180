"""Newton steps on the bias alone, which reduce the sums of the residuals when everything else is nearly optimal.

A bound needs Σ sᵢ rᵢ = 0. Making a point feasible costs the bound in proportion to these sums, and with many classes
even the sums that single iterations leave are too large. The Hessian with respect to the bias,

    ∂²F/∂b² = Σ sᵢ Hᵢ / Σ sᵢ, (C, C),

is cheap compared with a pass if it is summed over some rows of each class, and accurate enough that each step leaves a
tenth of the sums or less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, Float, Loss

ROWS_PER_CLASS, MIN_ROWS = 64, 1024  # rows that the curvature is summed over, at most those of a pass
BLOCK_SCORES = 1 << 19
SINGLE_CLASSES = 512  # with more, its factor is stored in single precision
DENSE_CLASSES = 2048  # with more, only the diagonal is used
ORIGIN_SHARE = 1e-3  # of the curvature at zero scores, so that none vanishes
RIDGE = 1e-12


@final
@dataclass(frozen=True)
class BiasCurvature:
    """∂²F/∂b² as its Cholesky factor (C, C), or as its diagonal (C,)."""

    factor: Array
    shift_invariant: bool

    @classmethod
    def of(cls, loss: Loss, data: TrainingData, weight: Float, bias: Float) -> BiasCurvature:
        """Estimate it from about 64 rows per class at W (C, D), b (C,)."""
        matrix = _summed(loss, _some_rows(data), weight, bias)
        diagonal = np.einsum("cc->c", matrix)  # a view
        largest = float(diagonal.max(initial=0.0))
        diagonal += RIDGE * largest if largest > 0 else 1.0  # no row is curved: a hinge far from its kinks
        if data.n_classes > DENSE_CLASSES:
            return cls(diagonal.copy(), loss.shift_invariant)
        if loss.shift_invariant:  # the null vector of H; any curvature along it will do
            matrix += float(diagonal.mean()) / len(matrix)
        alone = diagonal.copy()
        try:  # in place: for LAPACK, the transpose of a symmetric matrix is the same matrix
            factor = linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)
            if len(factor) > SINGLE_CLASSES:
                factor = factor.astype(np.float32)
        except linalg.LinAlgError:
            return cls(alone, loss.shift_invariant)
        return cls(factor, loss.shift_invariant)

    def step(self, gradient: Float) -> Float:
        """−(∂²F/∂b²)⁻¹ g of a bias gradient (C,)."""
        if self.factor.ndim == 1:
            step = -gradient / self.factor
        else:
            right = gradient.astype(self.factor.dtype, copy=False)
            step = -linalg.cho_solve((self.factor, True), right, check_finite=False).astype(np.float64, copy=False)
        return np.asarray(step - step.mean() if self.shift_invariant else step)


def _some_rows(data: TrainingData) -> TrainingData:
    """Evenly spaced rows, as views if the storage allows."""
    every = data.n_rows // max(MIN_ROWS, ROWS_PER_CLASS * data.n_classes)
    if every <= 1:
        return data
    weight = None if data.sample_weight is None else data.sample_weight[::every]
    if weight is not None and not weight.any():
        return data
    return TrainingData(data.features[::every], data.target[::every], data.n_classes, weight)


def _summed(loss: Loss, data: TrainingData, weight: Float, bias: Float) -> Float:
    """Σ sᵢ Hᵢ / Σ sᵢ at the scores, with a small share of that at zero scores, (C, C)."""
    matrix = np.zeros((data.n_classes, data.n_classes))
    single = weight.T.astype(data.features.dtype)
    rows = max(1, BLOCK_SCORES // data.n_classes)
    for first in range(0, data.n_rows, rows):
        block = data.block(first, first + rows)
        share = block.weights / data.total_weight
        with np.errstate(invalid="ignore"):  # some BLAS kernels raise it for numbers past the end of a short row
            scores = np.asarray(block.features @ single) + bias.astype(single.dtype)
        matrix += loss.curvature(scores, block.target, share).classes
    count = min(data.n_rows, MIN_ROWS)
    for first in range(0, count, rows):
        target = data.target[first : min(first + rows, count)]
        zero = np.zeros((len(target), data.n_classes), dtype=single.dtype)
        matrix += loss.curvature(zero, target, np.full(len(target), ORIGIN_SHARE / count)).classes
    return matrix
