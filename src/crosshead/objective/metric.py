"""A cheap stand-in for the Hessian: B ⊗ A + α I, inverted through the eigenbases of its two factors.

With per-sample score Hessians Hᵢ (C, C) and their traces wᵢ,

    B = Σ sᵢ Hᵢ,    A = Σ sᵢ wᵢ (xᵢ − x̄)(xᵢ − x̄)ᵀ / Σ sᵢ wᵢ,    x̄ = Σ sᵢ wᵢ xᵢ / Σ sᵢ wᵢ,

which is exact where all Hᵢ are alike (squared error) and close where they vary little with the features. An
unpenalised bias is seen from the mean feature, b′ = b + W x̄, where it hardly interacts with W.

Memory: A costs 8·D² bytes up to ``DENSE_FEATURES`` features; beyond, or with fewer rows than features, a basis of at
most min(rows, ``BASIS_ROWS``) directions, never more than ``BASIS_ELEMENTS`` numbers, stands in for it. Of more sparse
features than that only the variances are kept: a basis would cost more than the pass that it saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from scipy import linalg

from crosshead.engines.chosen_rows import ChosenRows, is_sparse
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Curvature, Float
from crosshead.objective.column_means import column_sums, squares
from crosshead.objective.eigenvectors import eigenvectors

DENSE_FEATURES = 2048
DENSE_CLASSES = 256
BASIS_ROWS = 1024
BASIS_ELEMENTS = 1 << 25
MOST_GROUPS = 12  # Cholesky factorisations that together cost less than an eigendecomposition
SOLVED_ROWS = 256  # at a time, of which copies are held
ALIKE = 6.0  # ratio of eigenvalues that share one: a preconditioner need not be exact
SINGLE_FEATURES = 256  # beyond, reading an inverse in double precision is what a product costs
RIDGE = 1e-5  # of A's diagonal, so that single precision keeps the inverse positive definite
LEAST_DENOMINATOR = 1e-14  # of the largest: columns may differ in scale by six decades, their variances by twelve


@dataclass(frozen=True)
class ClassFactor:
    """B through its eigenvectors (C, C), or None where B is taken as diagonal, and eigenvalues (C,)."""

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
        """Coordinates in the eigenbasis: Vᵀ G."""
        return gradient if self.vectors is None else self.vectors.T @ gradient

    def leave(self, gradient: Float) -> Float:
        """Back again: V G."""
        return gradient if self.vectors is None else self.vectors @ gradient

    def solve(self, gradient: Float) -> Float:
        """B⁺ applied to a bias gradient (C,): the step that moves the bias alone."""
        usable = self.values > self.values.max(initial=0.0) * 1e-12
        inverse = np.where(usable, 1.0 / np.where(usable, self.values, 1.0), 0.0)
        return self.leave(inverse * self.enter(gradient))


@dataclass(frozen=True)
class FeatureFactor:
    """A through r eigenvectors (D, r), their eigenvalues (r,), and one eigenvalue ``rest`` for all else.

    Without ``vectors`` A is taken as its diagonal, which is then ``values``, (D,).
    """

    vectors: Float | None
    values: Float
    rest: float
    diagonal: Float
    matrix: None = None


@dataclass(frozen=True)
class DenseFactor:
    """A itself, (D, D), and its eigenvectors and eigenvalues once they are asked for: an L1 part never does."""

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
class Inverse:
    """(A + αI)⁻¹ as S K⁻¹ S: S diagonal, (D,), and K⁻¹ (D, D), whose entries are so alike that float32 will do."""

    scale: Float
    inner: Array

    @classmethod
    def of(cls, matrix: Float, ridge: float) -> Inverse | None:
        """From A, which is overwritten; None where it is not positive definite."""
        diagonal = np.einsum("ii->i", matrix)  # a view
        diagonal += ridge + LEAST_DENOMINATOR * float(diagonal.max(initial=0.0)) + np.finfo(np.float64).tiny
        scale = 1.0 / np.sqrt(diagonal)
        matrix *= scale[:, None]
        matrix *= scale
        diagonal[:] = 1 + RIDGE
        dtype = np.float32 if len(scale) > SINGLE_FEATURES else np.float64
        inverse = _inverted(np.asarray(matrix, dtype=dtype, order="F"))
        if inverse is None and dtype == np.float32:
            inverse = _inverted(matrix)
        if inverse is None:
            return None
        whole = inverse.astype(dtype, copy=False)
        for column in range(1, len(scale)):  # the upper half is all that LAPACK has written
            whole[column, :column] = whole[:column, column]
        return cls(scale, whole)

    def apply(self, rows: Float) -> Float:
        """(A + αI)⁻¹ applied to each row, (n, D)."""
        return np.asarray(((rows * self.scale).astype(self.inner.dtype) @ self.inner) * self.scale)


def _inverted(matrix: Array) -> Array | None:
    """The upper half of a symmetric matrix's inverse in its own precision; None where it is not positive definite."""
    single = matrix.dtype == np.float32
    factorise = linalg.lapack.spotrf if single else linalg.lapack.dpotrf
    invert = linalg.lapack.spotri if single else linalg.lapack.dpotri
    factor, failed = factorise(matrix, lower=0, overwrite_a=1, clean=0)
    if failed:
        return None
    inverse, failed = invert(factor, lower=0, overwrite_c=1)
    return None if failed else np.asarray(inverse)


@final
@dataclass(frozen=True)
class KroneckerMetric:
    """The metric B ⊗ A + α(1 − ρ) I on parameters (W, b), for the solvers."""

    classes: ClassFactor
    features: FeatureFactor | DenseFactor
    center: Float
    l2_weight: float
    fit_intercept: bool
    class_matrix: Float

    def solve(self, weight: Float, bias: Float, scale: float = 1.0) -> tuple[Float, Float]:
        """(B ⊗ A / scale + α I)⁻¹ applied to a gradient (C, D), (C,).

        The scale leaves α alone: where the loss is flat the penalty's curvature is exact, and a step that overshoots
        there would let rounding grow from one iteration to the next.
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
        """What `solve` gives at scale 1 or nearly so, where cheaper by one factorisation for all alike λ."""
        if self._inverses is None:
            return self.solve(weight, bias)
        own = self.fit_intercept or self.classes.vectors is not None
        if self.fit_intercept:
            weight = _centred(weight, bias, self.center)
        rotated = self.classes.enter(weight) if own else weight.copy()  # may be as large as X: overwritten
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
        """The curvature along eigenvectors of B without any."""
        size = float(self.classes.values.max(initial=0.0) * self.features.diagonal.max(initial=0.0))
        return max(self.l2_weight, LEAST_DENOMINATOR * size, float(np.finfo(np.float64).tiny))

    @cached_property
    def _inverses(self) -> list[tuple[Array, Inverse]] | None:
        """(λA + αI)⁻¹ for groups of alike eigenvalues λ of B; None where those would cost more than A's basis."""
        if not isinstance(self.features, DenseFactor):
            return None
        groups = alike(self.classes.values)
        if len(groups) > MOST_GROUPS:
            return None
        inverses = []
        for rows in groups:
            lam = float(np.sqrt(self.classes.values[rows].min() * self.classes.values[rows].max()))
            inverse = Inverse.of(lam * self.features.matrix, self.l2_weight)
            if inverse is None:
                return None
            inverses.append((rows, inverse))
        return inverses

    def _divide(self, rotated: Float, lam: Float) -> Float:
        """(λ_c A + α I)⁻¹ applied to row c, for the eigenvalues λ (C, 1) of B."""
        vectors, values = self.features.vectors, self.features.values
        if vectors is None:
            denominator = lam * values  # in place from here: there may be as many numbers as in X
            denominator += self.l2_weight
            return np.asarray(np.divide(rotated, self._floored(denominator), out=denominator))
        inside = rotated @ vectors
        scaled = (inside / self._floored(lam * values + self.l2_weight)) @ vectors.T
        if vectors.shape[1] == vectors.shape[0]:
            return np.asarray(scaled)
        outside = self._floored(lam * self.features.rest + self.l2_weight)
        return np.asarray((rotated - inside @ vectors.T) / outside + scaled)

    def _floored(self, denominator: Float) -> Float:
        floor = LEAST_DENOMINATOR * float(np.max(denominator, initial=0.0))
        return np.maximum(denominator, floor if floor > 0 else 1.0, out=np.asarray(denominator))


def _centred(weight: Float, bias: Float, center: Float) -> Float:
    """W − b x̄ᵀ."""
    shift = np.outer(bias, center)
    return np.asarray(np.subtract(weight, shift, out=shift))


def alike(values: Float) -> list[Array]:
    """Indices of the values (n,), all ≥ 0, in groups whose largest is at most `ALIKE` times the smallest; no zeros.

    Example:
        >>> [group.tolist() for group in alike(np.array([0.0, 1.0, 5.0, 9.0, 0.7]))]
        [[4, 1], [2, 3]]
    """
    order = np.argsort(values, kind="stable")
    order = order[values[order] > 1e-12 * values.max(initial=0.0)]
    groups: list[list[int]] = []
    for index in order:
        if groups and values[index] <= ALIKE * values[groups[-1][0]]:
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    return [np.array(group) for group in groups]


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
    """The metric from the curvature of a sample: ``rows`` (n, D), dense, CSR or chosen, weights ``row_weight`` (n,).

    ``least`` (D,) are variances below which no feature is taken: one that is rarely anything but constant may be
    constant in all these rows, and a step along it would have no measure.
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
        rows = rows[:] if isinstance(rows, ChosenRows) else rows
        gram = (rows.T @ rows.multiply(weight[:, None])).toarray().astype(np.float64)
    else:
        gram = engine.gram(rows, weight)
    for row, mean in zip(gram, center, strict=True):  # not one more matrix of that size
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
