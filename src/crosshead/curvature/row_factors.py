"""An exact solve of Newton's equation from the curved rows, in the smaller of parameters and factors.

Every row's Hessian is Hᵢ = Σ_p l_p l_pᵀ with few l_p (C,): for a smoothed hinge one per active margin. Then

    ∇²F = αI + BᵀB,    row p of B = √sᵢ l_p ⊗ (xᵢ, 1),    without α on the bias,

is solved directly or, with fewer rows of B than parameters, through αI + BBᵀ (Woodbury's identity), with
the bias, which has no α to invert, eliminated in a C × C system (a Schur complement).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from scipy import linalg, sparse

from crosshead.curvature.eigenvectors import eigenvectors
from crosshead.losses.protocol import Array, Float, Loss

DENSE_PARAMETERS = 1500
DENSE_FACTORS = 6000
ROW_HESSIANS_BYTES = 1 << 27
BLOCK_ELEMENTS = 1 << 22
MIN_EIGENVALUE = 1e-12  # of the largest of a row
FLAT_BIAS = 1e-6  # substitute for the curvature of a bias without curved rows
BIAS_RIDGE = 1e-11  # relative
RIDGE = 1e-12  # relative; needed because all scores may be shifted by a constant


@final
@dataclass(frozen=True)
class RowFactors:
    """B in parts: ``vectors`` √sᵢ l_p (P, C), the ascending row ``owner`` i of each (P,), and those rows, (n, D)."""

    vectors: Float
    owner: Array
    features: Any
    fit_intercept: bool

    def forward(self, weight: Float) -> Float:
        """B applied to the weights alone, flat: (P,)."""
        scores = np.asarray(self.features @ weight.reshape(self.vectors.shape[1], -1).T)
        return np.asarray((self.vectors * scores[self.owner]).sum(axis=1))

    def backward(self, values: Float) -> Float:
        """Bᵀ applied to (P,), the weights' part, flat."""
        residual = np.asarray(self._gather @ (self.vectors * values[:, None]))
        return np.asarray(self.features.T @ residual).T.ravel()

    @cached_property
    def _gather(self) -> Any:
        """Sums over the factors of each row, (n, P)."""
        count = len(self.owner)
        shape = (self.features.shape[0], count)
        return sparse.csr_matrix((np.ones(count), (self.owner, np.arange(count))), shape=shape)

    def solve(self, right: Float, l2_weight: float) -> Float | None:
        """Apply (∇²F)⁻¹ to flat columns (C·(D + 1), k); None if both sides are too large."""
        factors = len(self.owner)
        if len(right) < factors and len(right) <= DENSE_PARAMETERS:
            return self._solve_parameters(right, l2_weight)
        if factors <= DENSE_FACTORS and l2_weight > 0:
            return self._solve_factors(right, l2_weight)
        return None

    def _solve_parameters(self, right: Float, l2_weight: float) -> Float:
        size, split = len(right), self._split
        matrix = np.zeros((size, size))
        step = max(1, BLOCK_ELEMENTS // size)
        for first in range(0, len(self.owner), step):
            rows = _dense(self.features[self.owner[first : first + step]])
            vectors = self.vectors[first : first + step]
            ones = vectors if self.fit_intercept else np.zeros_like(vectors)
            block = np.hstack([(vectors[:, :, None] * rows[:, None, :]).reshape(len(rows), -1), ones])
            matrix += block.T @ block
        diagonal = np.einsum("ii->i", matrix)  # a view
        diagonal[:split] += l2_weight
        diagonal[split:] += RIDGE * float(diagonal.max(initial=0.0)) + np.finfo(np.float64).tiny
        try:
            factor = linalg.cho_factor(matrix, check_finite=False)
        except linalg.LinAlgError:
            return np.asarray(linalg.lstsq(matrix, right, check_finite=False)[0])
        return np.asarray(linalg.cho_solve(factor, right, check_finite=False))

    def _solve_factors(self, right: Float, l2_weight: float) -> Float | None:
        weight, bias = right[: self._split], right[self._split :]
        if not len(self.owner):
            return np.concatenate([weight / l2_weight, bias / FLAT_BIAS])
        products = self._products(l2_weight).T
        try:
            factor = (linalg.cholesky(products, lower=False, overwrite_a=True, check_finite=False), False)
        except linalg.LinAlgError:  # the penalty is smaller than rounding errors of the products
            return None
        free = np.column_stack([self.forward(column) for column in weight.T])
        if not self.fit_intercept:
            values, moved = linalg.cho_solve(factor, free, check_finite=False), np.zeros_like(bias)
        else:
            # t = (αI + K)⁻¹(B_W g_W + α B_b d_b) with B_bᵀ t = g_b fixes the bias step d_b.
            solved = linalg.cho_solve(factor, np.column_stack([free, self.vectors]), check_finite=False)
            values, sensitivity = np.split(solved, [free.shape[1]], axis=1)
            coupling = l2_weight * (self.vectors.T @ sensitivity)
            # If no row has curvature in the bias it still has to move; a line search determines how far.
            sizes, axes = eigenvectors((coupling + coupling.T) / 2)
            sizes = np.maximum(sizes, BIAS_RIDGE * float(sizes.max(initial=0.0)) + np.finfo(np.float64).tiny)
            moved = axes @ ((axes.T @ (bias - self.vectors.T @ values)) / sizes[:, None])
            values = values + l2_weight * (sensitivity @ moved)
        back = np.column_stack([self.backward(column) for column in values.T])
        return np.concatenate([(weight - back) / l2_weight, moved])

    @property
    def _split(self) -> int:
        return int(self.vectors.shape[1] * self.features.shape[1])

    def _products(self, l2_weight: float) -> Float:
        """αI + K with K_pq = ⟨l_p, l_q⟩⟨x_p, x_q⟩, its lower triangle, (P, P)."""
        count = len(self.owner)
        products = np.empty((count, count))
        step = 512
        for first in range(0, count, step):
            last = min(first + step, count)
            inner = self.features[self.owner[first:last]] @ self.features[self.owner[:last]].T
            products[first:last, :last] = _dense(inner)
            products[first:last, :last] *= self.vectors[first:last] @ self.vectors[:last].T
        np.einsum("ii->i", products)[:] += l2_weight
        return products


def row_factors(
    loss: Loss, scores: Float, target: Array, row_weight: Float, features: Any, fit_intercept: bool
) -> RowFactors | None:
    """B from the Hessians of all rows, from products with unit vectors; None if there are too many."""
    n, C = scores.shape
    if 8 * n * C * C > ROW_HESSIANS_BYTES:
        return None
    hessians = np.empty((n, C, C))
    unit = np.zeros((1, C))
    for c in range(C):
        unit[0, c] = 1.0
        hessians[:, :, c] = loss.hessian_product(scores, target, np.broadcast_to(unit, scores.shape))
        unit[0, c] = 0.0
    values, vectors = np.linalg.eigh(hessians)
    used = values > MIN_EIGENVALUE * values.max(axis=1, initial=0.0)[:, None]
    owner, which = np.nonzero(used)
    scale = np.sqrt(values[owner, which] * row_weight[owner])
    return RowFactors(
        vectors[owner, :, which] * scale[:, None], owner, features.astype(np.float64, copy=False), fit_intercept
    )


def _dense(block: Any) -> Float:
    return block if isinstance(block, np.ndarray) else np.asarray(block.toarray())
