"""Reduction of problems with fewer rows than features to as many coordinates as rows.

With an L2 penalty the optimal W lies in the row space of X. From X Xᵀ = Q Λ Qᵀ (N, N),

    X̃ = Q Λ^½  (N, r),    W = W̃ Λ^-½ Qᵀ X,    so that  X Wᵀ = X̃ W̃ᵀ  and  ‖W‖ = ‖W̃‖,

and the objective, its gradient and its gap do not change, while the cost of a pass is that of min(N, D) features. The
final certificate is computed on X itself and accounts for rounding errors of the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from crosshead.curvature.eigenvectors import eigenvectors
from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, Float

MAX_ROWS = 2048  # the factorisation takes of the order of N³ operations
MIN_FEATURES = 512
MIN_RATIO = 1.5  # features per row from which on it pays
NEGLIGIBLE = 1e-13  # share of the largest eigenvalue below which a direction holds only rounding
BLOCK = 1024  # features converted to float64 at a time


@final
@dataclass(frozen=True)
class Reduction:
    """The reduced data (N, r), and the transformation back."""

    data: TrainingData
    features: Array
    basis: Float  # Q Λ^-½, (N, r)

    def lift(self, weight: Float) -> Float:
        """Transform a reduced W̃ (C, r) to W (C, D)."""
        mixing = weight @ self.basis.T
        return _blockwise(mixing, self.features)

    def lower(self, weight: Float) -> Float:
        """Transform W (C, D) to W̃ (C, r), without its part outside the row space."""
        products = np.zeros((weight.shape[0], self.features.shape[0]))
        for first in range(0, self.features.shape[1], BLOCK):
            block = self.features[:, first : first + BLOCK].astype(np.float64)
            products += weight[:, first : first + BLOCK] @ block.T
        return products @ self.basis


def reduce_features(data: TrainingData) -> Reduction | None:
    """Reduce the problem; None if it would not be cheaper."""
    features = data.features
    if data.sparse or data.n_rows > MAX_ROWS or data.n_features < max(MIN_FEATURES, MIN_RATIO * data.n_rows):
        return None
    inner = np.zeros((data.n_rows, data.n_rows))
    for first in range(0, data.n_features, BLOCK):
        block = features[:, first : first + BLOCK].astype(np.float64)
        inner += block @ block.T
    values, vectors = eigenvectors(inner)
    usable = values > NEGLIGIBLE * max(float(values[-1]), np.finfo(np.float64).tiny)
    if not usable.any():
        return None
    root = np.sqrt(values[usable])
    reduced = TrainingData(
        np.ascontiguousarray(vectors[:, usable] * root), data.target, data.n_classes, data.sample_weight
    )
    return Reduction(reduced, features, vectors[:, usable] / root)


def _blockwise(mixing: Float, features: Array) -> Float:
    out = np.empty((mixing.shape[0], features.shape[1]))
    for first in range(0, features.shape[1], BLOCK):
        out[:, first : first + BLOCK] = mixing @ features[:, first : first + BLOCK].astype(np.float64)
    return out
