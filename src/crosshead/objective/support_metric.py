"""The curvature of each class by itself on the weights that are not zero: what preconditions Newton's equation there.

Of ∇²F ≈ Σ wᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ)I over drawn rows the blocks of each class c with itself are kept,

    A_c = Σᵢ wᵢ (Hᵢ)_cc (xᵢ − x̄_c)(xᵢ − x̄_c)ᵀ + α(1 − ρ)I    over the features S_c of c that are free,

where x̄_c is the mean feature under those weights, as seen from which the bias hardly interacts with W.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, QuadraticLoss
from crosshead.objective.metric import Inverse, KroneckerMetric

BLOCK_BYTES = 1 << 22
MOST_ELEMENTS = 1 << 23  # of all blocks together
RIDGE = 1e-4


@dataclass
class _Block:
    """A class's features (k,), their Gram matrix (k, k) and mean (k,); of the free ones among them, the inverse."""

    features: Array
    gram: Array
    center: Float
    total: float
    free: Array | None = None
    inverse: Inverse | None = None


@final
@dataclass
class SupportMetric:
    """The inverses of the A_c. What classes need whose support has not changed is kept."""

    engine: Engine
    quadratic: QuadraticLoss
    metric: KroneckerMetric
    l2_weight: float
    fit_intercept: bool
    shift_invariant: bool
    _blocks: dict[int, _Block] = field(default_factory=dict)

    def restrict(self, free: Array, near: Array) -> None:
        """Take (C, D) truth values: which weights are free, and which may soon be."""
        for c in range(len(free)):
            support = np.flatnonzero(free[c])
            block = self._blocks.get(c)
            if block is not None and block.free is not None and np.array_equal(block.free, support):
                continue
            if block is None or not np.isin(support, block.features, assume_unique=True).all():
                block = self._blocks[c] = self._formed(c, np.flatnonzero(free[c] | near[c]))
            where = np.searchsorted(block.features, support)
            block.free, block.inverse = support, None
            if len(support):
                block.inverse = Inverse.of(block.gram[np.ix_(where, where)].astype(np.float64), self.l2_weight)

    def apply(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """The inverse applied to a gradient (C, D), (C,)."""
        step, shift = np.zeros_like(weight), np.zeros_like(bias)
        if self.fit_intercept and self.shift_invariant:
            bias = bias - bias.mean()
        for c, block in self._blocks.items():
            assert block.free is not None
            center = block.center[np.searchsorted(block.features, block.free)] if self.fit_intercept else None
            if block.inverse is not None:
                row = weight[c, block.free]
                if center is not None:
                    row = row - bias[c] * center
                step[c, block.free] = block.inverse.apply(row)
            if center is not None:
                shift[c] = bias[c] / block.total - step[c, block.free] @ center
        if self.fit_intercept and self.shift_invariant:
            shift -= shift.mean()
        return step, shift

    def _formed(self, c: int, features: Array) -> _Block:
        data = self.engine.data
        gram, center, total = np.zeros((len(features), len(features))), np.zeros(len(features)), 0.0
        step = data.rows_in(BLOCK_BYTES) if len(features) else data.n_rows
        rows = data.features
        weights = data.weights
        for first in range(0, data.n_rows, step):
            part = slice(first, min(first + step, data.n_rows))
            p, *others = self.quadratic.factors(data.target[part, :], weights[part])
            own = p[:, c]
            if len(others) == 1:
                own = own - others[0][:, c] ** 2
            elif others:
                own = own - 2 * others[0][:, c] * others[1][:, c]
            own = np.maximum(own, 0.0)
            total += float(own.sum())
            if not len(features):
                continue
            block = rows[part, features]
            if not isinstance(block, np.ndarray):
                block = block.toarray()
            center += own.astype(block.dtype) @ block
            gram += self.engine.gram(np.ascontiguousarray(block), own)
        total = max(total, 1e-300)
        if self.fit_intercept:
            center /= total
            gram -= total * np.outer(center, center)
        diagonal = np.einsum("ii->i", gram)
        diagonal += RIDGE * (np.maximum(diagonal, 0) + total * self.metric.features.diagonal[features])
        return _Block(features, gram.astype(np.float32), center, total)
