"""The curvature of each class by itself on its non-zero weights, a preconditioner of Newton's equation there.

Of ∇²F ≈ Σ wᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ)I over subsampled rows the diagonal blocks of each class c are used,

    A_c = Σᵢ wᵢ (Hᵢ)_cc (xᵢ − x̄_c)(xᵢ − x̄_c)ᵀ + α(1 − ρ)I    over the features S_c of c that are free,

where x̄_c is the mean feature under those weights, relative to which the bias hardly interacts with W. With a Kronecker
product, which has the same A for all classes, conjugate gradients take two to five times as many products.

Memory: 4 bytes for each pair of features that a class may use, twice. With many classes, or more than `MAX_ELEMENTS`
such pairs, the inverse of the Kronecker metric is used, with the rows and columns of the free weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np

from crosshead.curvature.inverses import Inverse
from crosshead.curvature.kronecker import KroneckerMetric
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, QuadraticLoss

MAX_CLASSES, MAX_ELEMENTS = 64, 1 << 23
BLOCK_BYTES = 1 << 20  # rows copied at a time
RIDGE = 1e-4  # of the diagonal, and of that over all classes: subsampled rows may lack a rare feature
TINY = float(np.finfo(np.float64).tiny)


@dataclass
class ClassBlock:
    """The features (k,) of a class with correlations (k, k), sizes (k,), mean (k,); the inverse for the free ones."""

    features: Array
    correlations: Array
    size: Float
    mean: Float
    total: float
    free: Array
    center: Float
    inverse: Inverse | None

    def restrict(self, free: Array, l2_weight: float) -> None:
        """Compute the inverse for these features."""
        where = np.searchsorted(self.features, free)
        self.free, self.center = free, self.mean[where]
        size = self.size[where]
        block = self.correlations[np.ix_(where, where)] * np.outer(size, size)
        self.inverse = Inverse.of(block, l2_weight) if len(free) else None

    def holds(self, free: Array) -> bool:
        """Whether the block has these features."""
        return bool(np.isin(free, self.features, assume_unique=True).all())


@final
@dataclass
class SupportMetric:
    """The inverses of the A_c. Those of classes with unchanged support are kept."""

    engine: Engine
    quadratic: QuadraticLoss
    metric: KroneckerMetric
    fit_intercept: bool
    shift_invariant: bool
    _blocks: dict[int, ClassBlock] = field(default_factory=dict)
    _free: Array | None = None
    _l2_weight: float = 0.0

    def adopt(self, other: SupportMetric) -> None:
        """Use the rows of another metric from now on, and keep the existing blocks."""
        self.engine, self.quadratic, self.metric = other.engine, other.quadratic, other.metric
        self.__dict__.pop("_own", None)

    def restrict(self, free: Array, near: Array, l2_weight: float) -> None:
        """Set the weights that are free, and those that may soon be, as boolean arrays (C, D)."""
        if l2_weight != self._l2_weight:
            for block in self._blocks.values():
                block.inverse = None
        self._free, self._l2_weight = free, l2_weight
        counts = np.count_nonzero(free | near, axis=1)
        if len(free) > MAX_CLASSES or int(counts @ counts) > MAX_ELEMENTS:
            self._blocks.clear()
            return
        for c in range(len(free)):
            support = np.flatnonzero(free[c])
            if c not in self._blocks or not self._blocks[c].holds(support):
                self._blocks[c] = self._formed(c, np.flatnonzero(free[c] | near[c]))
            block = self._blocks[c]
            if block.inverse is None or not np.array_equal(block.free, support):
                block.restrict(support, l2_weight)

    def apply(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """Apply the inverse to a gradient (C, D), (C,); entries that are not free remain zero."""
        if not self._blocks:
            assert self._free is not None
            step, shift = self.metric.precondition(np.where(self._free, weight, 0.0), bias)
            return np.where(self._free, step, 0.0), shift
        step, shift = np.zeros_like(weight), np.zeros_like(bias)
        if self.shift_invariant:
            bias = bias - bias.mean()
        for c, block in self._blocks.items():
            found = weight[c, block.free] - bias[c] * block.center if self.fit_intercept else weight[c, block.free]
            if block.inverse is not None:
                found = block.inverse.apply(found)
            step[c, block.free] = found
            if self.fit_intercept:
                shift[c] = bias[c] / block.total - float(found @ block.center)
        return step, shift - shift.mean() if self.shift_invariant else shift

    def _formed(self, c: int, features: Array) -> ClassBlock:
        data, own, count = self.engine.data, np.ascontiguousarray(self._own[:, c]), len(features)
        gram, mean = np.zeros((count, count)), np.zeros(count)
        total = max(float(own.sum()), TINY)
        step = max(1, BLOCK_BYTES // (data.features.dtype.itemsize * max(1, count)))
        for first in range(0, data.n_rows if count else 0, step):
            part = slice(first, first + step)
            block = data.features[part, features]
            block = np.ascontiguousarray(block if isinstance(block, np.ndarray) else block.toarray())
            mean += own[part].astype(block.dtype) @ block
            gram += self.engine.gram(block, own[part])
        mean /= total
        if self.fit_intercept:
            gram -= total * np.outer(mean, mean)
        diagonal = np.einsum("ii->i", gram)  # a view
        np.maximum(diagonal, 0.0, out=diagonal)
        diagonal += RIDGE * (diagonal + total * self.metric.features.diagonal[features])
        size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        gram /= size
        gram /= size[:, None]  # float32 has a range of 38 decades
        return ClassBlock(features, gram.astype(np.float32), size, mean, total, features[:0], mean[:0], None)

    @cached_property
    def _own(self) -> Float:
        """wᵢ (Hᵢ)_cc, (n, C)."""
        p, *others = self.quadratic.factors(self.engine.data.target.astype(np.float64), self.engine.data.weights)
        if others:
            p = p - (others[0] ** 2 if len(others) == 1 else 2 * others[0] * others[1])
        return np.maximum(p, 0.0)
