"""The Kronecker metric on some weights alone: what preconditions Newton's equation where the others stay zero.

Of B ⊗ A + αI (`crosshead.objective.metric`) the rows and columns of the free weights are kept, and of those the blocks
of each class with itself: B_cc A[S_c, S_c] + αI for the features S_c of class c. With an intercept it is seen from the
mean feature, as the whole metric is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from scipy import linalg

from crosshead.losses.protocol import Array, Float
from crosshead.objective.metric import KroneckerMetric

MOST_ELEMENTS = 1 << 22  # of all blocks together; beyond, the whole metric's inverse stands in for them
RIDGE = 1e-4  # of the diagonal: features that are copies of each other must not make a step of any length


@final
@dataclass
class SupportMetric:
    """The inverse of the metric's blocks. Those of classes whose support has not changed are kept."""

    metric: KroneckerMetric
    _blocks: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    _free: Array | None = None
    _whole: bool = False

    def restrict(self, free: Array) -> None:
        """Take (C, D) truth values, which weights are free."""
        self._free = free
        counts = free.sum(axis=1)
        self._whole = int(counts @ counts) > MOST_ELEMENTS
        if self._whole or self._matrix is None:
            self._blocks.clear()
            return
        for c, row in enumerate(free):
            support = np.flatnonzero(row)
            if c not in self._blocks or not np.array_equal(self._blocks[c][0], support):
                self._blocks[c] = support, self._factor(c, support)

    def apply(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """The inverse applied to a gradient (C, D), (C,) that is zero where weights are not free."""
        metric, free = self.metric, self._free
        assert free is not None
        if self._whole:
            step, shift = metric.precondition(weight, bias)
            return np.where(free, step, 0.0), shift
        center = metric.center if metric.fit_intercept else None
        bias = bias - bias.mean()  # XXX
        step = np.zeros_like(weight)
        for c in range(len(weight)):
            row = weight[c] if center is None else weight[c] - bias[c] * center
            if self._matrix is None:
                step[c] = np.where(free[c], row / self._diagonal(c), 0.0)
                continue
            support, factor = self._blocks[c]
            if len(support):
                step[c, support] = _solve(factor, row[support])
        if center is None:
            return step, np.zeros_like(bias)
        shift = bias / self._classes
        shift -= step @ center
        shift -= shift.mean() # XXX
        return step, shift

    @property
    def _matrix(self) -> Float | None:
        return self.metric.features.matrix

    @property
    def _classes(self) -> Float:
        """B's diagonal, nowhere zero, (C,)."""
        B = self.metric.class_matrix
        diagonal = np.diag(B) if B.ndim == 2 else B
        return np.maximum(diagonal, RIDGE * float(diagonal.mean()))

    def _diagonal(self, c: int) -> Float:
        diagonal = self._classes[c] * self.metric.features.diagonal
        return np.asarray(diagonal + self.metric.l2_weight + RIDGE * float(diagonal.mean()) + np.finfo(np.float64).tiny)

    def _factor(self, c: int, support: Array) -> Array:
        assert self._matrix is not None
        block = self._classes[c] * self._matrix[np.ix_(support, support)]
        diagonal = np.einsum("ii->i", block)  # a view
        diagonal += self.metric.l2_weight + RIDGE * diagonal + np.finfo(np.float64).tiny
        diagonal[diagonal < 1e-12 * diagonal.max(initial=0.0)] = max(diagonal.max(initial=0.0), 1.0)
        return np.asarray(linalg.cholesky(block, lower=True, check_finite=False))


def _solve(factor: Array, row: Float) -> Float:
    return np.asarray(linalg.cho_solve((factor, True), row, check_finite=False))
