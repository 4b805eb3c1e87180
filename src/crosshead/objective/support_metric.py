"""The curvature of each class by itself on the weights that are not zero: what preconditions Newton's equation there.

Of ∇²F ≈ Σ wᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ)I over drawn rows the blocks of each class c with itself are kept,

    A_c = Σᵢ wᵢ (Hᵢ)_cc (xᵢ − x̄_c)(xᵢ − x̄_c)ᵀ + α(1 − ρ)I    over the features S_c of c that are free,

where x̄_c is the mean feature under those weights, as seen from which the bias hardly interacts with W.
"""

from __future__ import annotations

from functools import cached_property
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, QuadraticLoss
from crosshead.objective.metric import Inverse, KroneckerMetric

BLOCK_BYTES = 1 << 22
MOST_ELEMENTS = 1 << 23  # of all blocks together
RIDGE = 1e-4
import os
KEPT = float(os.environ.get("KEPT", 0.95))
BLOCK_ROWS = int(os.environ.get("BROWS", 4096))
TINY = 1e-300


@dataclass
class _Block:
    """A class's features (k,), their Gram matrix (k, k) and mean (k,); of the free ones among them, the inverse."""

    features: Array
    gram: Array
    center: Float
    total: float
    free: Array | None = None
    inverse: Inverse | None = None
    middle: Any = None
    mask: Any = None


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
            if block is not None and block.free is not None:
                inside = np.isin(block.free, support, assume_unique=True)
                if inside.sum() == len(support) >= KEPT * len(block.free):
                    block.mask = None if inside.all() else inside.astype(np.float64)
                    continue
            if block is None or not np.isin(support, block.features, assume_unique=True).all():
                block = self._blocks[c] = self._formed(c, np.flatnonzero(free[c] | near[c]))
            where = np.searchsorted(block.features, support)
            block.free, block.inverse, block.mask = support, None, None
            block.middle = block.center[where]
            if len(support):
                block.inverse = Inverse.of(block.gram[np.ix_(where, where)].astype(np.float64), self.l2_weight)

    def apply(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """The inverse applied to a gradient (C, D), (C,)."""
        step, shift = np.zeros_like(weight), np.zeros_like(bias)
        if self.fit_intercept and self.shift_invariant:
            bias = bias - bias.mean()
        for c, block in self._blocks.items():
            assert block.free is not None
            center = block.middle
            if block.inverse is not None:
                row = weight[c, block.free]
                if self.fit_intercept:
                    row = row - bias[c] * center
                if block.mask is not None:
                    row = row * block.mask
                found = block.inverse.apply(row)
                if block.mask is not None:
                    found = found * block.mask
                step[c, block.free] = found
                if self.fit_intercept:
                    shift[c] = -float(found @ center)
            if self.fit_intercept:
                shift[c] += bias[c] / block.total
        if self.fit_intercept and self.shift_invariant:
            shift -= shift.mean()
        return step, shift

    def _formed(self, c: int, features: Array) -> _Block:
        data, own = self.engine.data, self._own
        count = len(features)
        gram, center, total = np.zeros((count, count)), np.zeros(count), max(float(own[:, c].sum()), TINY)
        step = data.rows_in(BLOCK_BYTES)
        every = self._every
        for first in range(0, len(own) if count else 0, step):
            part = slice(first * every, min((first + step), len(own)) * every, every)
            block = data.features[part, features]
            if not isinstance(block, np.ndarray):
                block = block.toarray()
            weight = own[first : first + step, c]
            center += weight.astype(block.dtype) @ block
            gram += self.engine.gram(np.ascontiguousarray(block), weight)
        if self.fit_intercept:
            center /= total
            gram -= total * np.outer(center, center)
        diagonal = np.einsum("ii->i", gram)
        diagonal += RIDGE * (np.maximum(diagonal, 0) + total * self.metric.features.diagonal[features])
        return _Block(features, gram.astype(np.float32), center, total)

    @property
    def _every(self):
        return max(1, self.engine.data.n_rows // BLOCK_ROWS)

    @cached_property
    def _own(self) -> Float:
        """w (H)_cc of the rows that blocks are made of, (n, C)."""
        data, every = self.engine.data, self._every
        weight = data.weights[::every]
        p, *others = self.quadratic.factors(data.target[::every].astype(np.float64), weight * (data.weights.sum() / weight.sum()))
        if len(others) == 1:
            p = p - others[0] ** 2
        elif others:
            p = p - 2 * others[0] * others[1]
        return np.maximum(p, 0.0)
