"""A Kronecker approximation of the Hessian: B ⊗ A + α I, inverted through the eigenbases of its two factors.

With per-sample score Hessians Hᵢ (C, C) and their traces wᵢ,

    B = Σ sᵢ Hᵢ,    A = Σ sᵢ wᵢ (xᵢ − x̄)(xᵢ − x̄)ᵀ / Σ sᵢ wᵢ,    x̄ = Σ sᵢ wᵢ xᵢ / Σ sᵢ wᵢ,

which is exact if all Hᵢ are equal (squared error) and close if they vary little with the features. An
unpenalised bias is relative to the mean feature, b′ = b + W x̄, where it hardly interacts with W.

Memory: A takes 8·D² bytes up to ``DENSE_FEATURES`` features; with more, or with fewer rows than features, a basis of at
most min(rows, ``BASIS_ROWS``) directions, never more than ``BASIS_ELEMENTS`` numbers, replaces it. With more sparse
features than that only the variances are used: a basis would cost more than the pass that it saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from crosshead.curvature.eigenvectors import eigenvectors
from crosshead.curvature.inverses import MIN_DENOMINATOR, Inverse, inverses
from crosshead.engines.moments import column_sums, squares
from crosshead.engines.protocol import Engine
from crosshead.engines.row_subset import RowSubset, is_sparse
from crosshead.losses.protocol import Array, Curvature, Float

DENSE_FEATURES = 2048
DENSE_CLASSES = 256
BASIS_ROWS = 1024
SOLVED_ROWS = 256  # rows copied at a time
BASIS_ELEMENTS = 1 << 25


@dataclass(frozen=True)
class ClassFactor:
    """B by its eigenvectors (C, C), or None if B is treated as diagonal, and its eigenvalues (C,)."""

    vectors: Float | None
    values: Float

    @classmethod
    def of(cls, matrix: Float) -> ClassFactor:
        """The factor of a symmetric positive semidefinite B (C, C), or of its diagonal (C,)."""
        if matrix.ndim == 1:
            return cls(None, np.maximum(matrix, 0.0))
        if matrix.shape[0] > DENSE_CLASSES:
            return cls(None, np.maximum(np.diag(matrix), 0.0))
        values, vectors = eigenvectors(matrix)
        return cls(vectors, np.maximum(values, 0.0))

    def enter(self, gradient: Float) -> Float:
        """Transform to the eigenbasis: Vᵀ G."""
        return gradient if self.vectors is None else self.vectors.T @ gradient

    def leave(self, gradient: Float) -> Float:
        """Transform back: V G."""
        return gradient if self.vectors is None else self.vectors @ gradient

    def solve(self, gradient: Float) -> Float:
        """Apply B⁺ to a bias gradient (C,): the step of the bias alone."""
        usable = self.values > self.values.max(initial=0.0) * 1e-12
        inverse = np.where(usable, 1.0 / np.where(usable, self.values, 1.0), 0.0)
        return self.leave(inverse * self.enter(gradient))


@dataclass(frozen=True)
class FeatureFactor:
    """A by r eigenvectors (D, r), their eigenvalues (r,), and one eigenvalue ``rest`` for all other directions.

    Without ``vectors``, A is diagonal with ``values``, (D,).
    """

    vectors: Float | None
    values: Float
    rest: float
    diagonal: Float
    matrix: None = None


@dataclass(frozen=True)
class DenseFactor:
    """A itself, (D, D); eigenvectors and eigenvalues are computed on demand, as L1 problems do not need them."""

    matrix: Float
    rest: float = 0.0

    @cached_property
    def _eigen(self) -> tuple[Float, Float]:
        values, vectors = eigenvectors(self.matrix)
        return np.maximum(values, 0.0), vectors

    @property
    def vectors(self) -> Float:
        """The eigenvectors, (D, D)."""
        return self._eigen[1]

    @property
    def values(self) -> Float:
        """The eigenvalues, (D,)."""
        return self._eigen[0]

    @cached_property
    def diagonal(self) -> Float:
        """A's diagonal, (D,)."""
        return np.maximum(np.diag(self.matrix), 0.0)


@final
@dataclass(frozen=True)
class KroneckerMetric:
    """The metric B ⊗ A + α(1 − ρ) I on parameters (W, b)."""

    classes: ClassFactor
    features: FeatureFactor | DenseFactor
    center: Float
    l2_weight: float
    fit_intercept: bool
    class_matrix: Float

    def solve(self, weight: Float, bias: Float, scale: float = 1.0) -> tuple[Float, Float]:
        """Apply (B ⊗ A / scale + α I)⁻¹ to a gradient (C, D), (C,).

        The scale does not apply to α: where the loss is flat the curvature of the penalty is exact, and longer steps
        would amplify rounding errors from one iteration to the next.
        """
        if self.fit_intercept:
            weight = _centred(weight, bias, self.center)
        rotated = self.classes.enter(weight)
        lam = self.classes.values[:, None] / scale
        step = self.classes.leave(self._divide(rotated, lam))
        if not self.fit_intercept:
            return step, np.zeros_like(bias)
        return step, scale * self.classes.solve(bias) - step @ self.center

    def precondition(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """Apply `solve` at scale 1, or approximately, by one factorisation for all similar λ, if that is cheaper."""
        if self._inverses is None:
            return self.solve(weight, bias)
        own = self.fit_intercept or self.classes.vectors is not None
        if self.fit_intercept:
            weight = _centred(weight, bias, self.center)
        rotated = self.classes.enter(weight) if own else weight.copy()  # overwritten, as it may be as large as X
        del weight
        flat = np.ones(len(rotated), dtype=bool)
        for rows, inverse in self._inverses:
            flat[rows] = False
            for part in np.array_split(rows, -(-len(rows) // SOLVED_ROWS)):
                rotated[part] = inverse.apply(rotated[part])
        rotated[flat] /= self._flat
        step = self.classes.leave(rotated)
        if not self.fit_intercept:
            return step, np.zeros_like(bias)
        return step, self.classes.solve(bias) - step @ self.center

    @property
    def _flat(self) -> float:
        """The curvature along eigenvectors of B with eigenvalue zero."""
        size = float(self.classes.values.max(initial=0.0) * self.features.diagonal.max(initial=0.0))
        return max(self.l2_weight, MIN_DENOMINATOR * size, float(np.finfo(np.float64).tiny))

    @cached_property
    def _inverses(self) -> list[tuple[Array, Inverse]] | None:
        """(λA + αI)⁻¹ for groups of similar eigenvalues λ of B; None if they would cost more than A's eigenbasis."""
        if not isinstance(self.features, DenseFactor):
            return None
        return inverses(self.features.matrix, self.classes.values, self.l2_weight)

    def _divide(self, rotated: Float, lam: Float) -> Float:
        """Apply (λ_c A + α I)⁻¹ to row c, for the eigenvalues λ (C, 1) of B."""
        vectors, values = self.features.vectors, self.features.values
        if vectors is None:
            denominator = lam * values  # in place from here: the array may be as large as X
            denominator += self.l2_weight
            return np.asarray(np.divide(rotated, self._floored(denominator), out=denominator))
        inside = rotated @ vectors
        scaled = (inside / self._floored(lam * values + self.l2_weight)) @ vectors.T
        if vectors.shape[1] == vectors.shape[0]:
            return np.asarray(scaled)
        outside = self._floored(lam * self.features.rest + self.l2_weight)
        return np.asarray((rotated - inside @ vectors.T) / outside + scaled)

    def _floored(self, denominator: Float) -> Float:
        floor = MIN_DENOMINATOR * float(np.max(denominator, initial=0.0))
        return np.maximum(denominator, floor if floor > 0 else 1.0, out=np.asarray(denominator))


def _centred(weight: Float, bias: Float, center: Float) -> Float:
    """W − b x̄ᵀ."""
    shift = np.outer(bias, center)
    return np.asarray(np.subtract(weight, shift, out=shift))


def build_metric(
    engine: Engine,
    curvature: Curvature,
    rows: Any,
    row_weight: Float,
    *,
    l2_weight: float,
    fit_intercept: bool,
    least: Float | None = None,
) -> KroneckerMetric:
    """Build the metric from the curvature of subsampled ``rows`` (n, D), dense, CSR or a `RowSubset`, and weights.

    ``least`` (D,) are lower limits of the variances: a feature that is rarely non-constant may be constant in all these
    rows, and steps along it would be unbounded.
    """
    weight = row_weight * curvature.rows
    total = float(weight.sum())
    weight = weight / total if total > 0 else row_weight / float(row_weight.sum())
    center = column_sums(rows, weight) if fit_intercept else np.zeros(rows.shape[1])
    n_rows, n_features = rows.shape
    factor: FeatureFactor | DenseFactor
    if n_features <= DENSE_FEATURES and (n_rows >= n_features or is_sparse(rows)):
        factor = _dense_factor(engine, rows, weight, center, least)
    elif is_sparse(rows):
        variances = np.maximum(variances_of(rows, weight, center), 0.0 if least is None else least)
        factor = FeatureFactor(None, variances, 0.0, variances)
    else:
        factor = _basis_factor(rows, weight, center)
    return KroneckerMetric(
        ClassFactor.of(curvature.classes), factor, center, l2_weight, fit_intercept, curvature.classes
    )


def _dense_factor(engine: Engine, rows: Any, weight: Float, center: Float, least: Float | None) -> DenseFactor:
    if is_sparse(rows):
        rows = rows[:] if isinstance(rows, RowSubset) else rows
        gram = (rows.T @ rows.multiply(weight[:, None])).toarray().astype(np.float64)
    else:
        gram = engine.gram(rows, weight)
    for row, mean in zip(gram, center, strict=True):  # row by row, to avoid another matrix of that size
        row -= mean * center
    if least is not None:
        diagonal = np.einsum("ii->i", gram)  # a view
        np.maximum(diagonal, least, out=diagonal)
    return DenseFactor(gram)


def _basis_factor(rows: Array, weight: Float, center: Float) -> FeatureFactor:
    """Principal directions of the weighted, centred rows through their (n, n) inner products."""
    n_features = rows.shape[1]
    keep = max(1, min(rows.shape[0], BASIS_ROWS, BASIS_ELEMENTS // max(1, n_features)))
    chosen = np.linspace(0, rows.shape[0] - 1, keep).astype(np.int64)
    share = float(weight.sum()) / max(float(weight[chosen].sum()), 1e-300)
    sample, root = rows[chosen], np.sqrt(weight[chosen] * share)
    centred = (sample - center) * root[:, None]
    values, left = eigenvectors(centred @ centred.T)
    usable = values > max(float(values[-1]), 0.0) * 1e-10
    values, left = values[usable], left[:, usable]
    vectors = centred.T @ left / np.sqrt(values)
    diagonal = np.asarray((vectors**2) @ values)
    total = float(variances_of(rows, weight, center).sum())
    left_over = max(total - float(values.sum()), 0.0)
    rest = left_over / max(1, n_features - len(values)) if keep < rows.shape[0] else 0.0
    return FeatureFactor(vectors, values, rest, np.maximum(diagonal, variances_of(rows, weight, center)))


def variances_of(rows: Any, weight: Float, center: Float) -> Float:
    """Weighted variances of the columns, (D,)."""
    return np.maximum(column_sums(rows, weight, squares) - center**2, 0.0)
