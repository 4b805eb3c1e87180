"""(λA + αI)⁻¹ for all eigenvalues λ of B, by one Cholesky factorisation per group of similar eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg

from crosshead.losses.protocol import Array, Float

MAX_GROUPS = 12  # Cholesky factorisations that cost less than an eigendecomposition
ALIKE = 6.0  # largest ratio in a group: a preconditioner need not be exact
MIN_VALUE = 1e-12  # of the largest eigenvalue: smaller ones count as zero
SINGLE_FEATURES = 256  # with more, a product is limited by reading the inverse
RIDGE = 1e-5  # of A's diagonal, so that the inverse is positive definite in single precision
MIN_DENOMINATOR = 1e-14  # of the largest: columns may differ in scale by six decades, their variances by twelve


@final
@dataclass(frozen=True)
class Inverse:
    """(A + αI)⁻¹ as S K⁻¹ S: S diagonal, (D,), and K⁻¹ (D, D) scaled such that float32 suffices.

    ``freedom`` is tr A(A + αI)⁻¹, the effective degrees of freedom.
    """

    scale: Float
    inner: Array
    freedom: float

    @classmethod
    def of(cls, matrix: Float, ridge: float) -> Inverse | None:
        """Compute it from A, which is overwritten; None if A is not positive definite."""
        diagonal = np.einsum("ii->i", matrix)  # a view
        own = diagonal.copy()
        diagonal += ridge + MIN_DENOMINATOR * float(diagonal.max(initial=0.0)) + np.finfo(np.float64).tiny
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
        for column in range(1, len(scale)):  # LAPACK has written the upper half only
            whole[column, :column] = whole[:column, column]
        added = 1 + RIDGE - own * scale**2
        freedom = len(own) - float(added @ np.diagonal(whole).astype(np.float64))
        return cls(scale, whole, max(0.0, freedom))

    def apply(self, rows: Float) -> Float:
        """Apply (A + αI)⁻¹ to each row, (n, D)."""
        return np.asarray(((rows * self.scale).astype(self.inner.dtype) @ self.inner) * self.scale)


def _inverted(matrix: Array) -> Array | None:
    """The upper half of the inverse of a symmetric matrix, in its dtype; None if it is not positive definite."""
    single = matrix.dtype == np.float32
    factorise = linalg.lapack.spotrf if single else linalg.lapack.dpotrf
    invert = linalg.lapack.spotri if single else linalg.lapack.dpotri
    factor, failed = factorise(matrix, lower=0, overwrite_a=1, clean=0)
    if failed:
        return None
    inverse, failed = invert(factor, lower=0, overwrite_c=1)
    return None if failed else np.asarray(inverse)


def alike(values: Float, factor: float) -> list[Array]:
    """Group the indices of values (n,) > 0 such that the largest of a group is at most ``factor`` times the smallest.

    Example:
        >>> [group.tolist() for group in alike(np.array([1.0, 5.0, 9.0, 0.7]), 6.0)]
        [[3, 0], [1, 2]]
    """
    groups: list[list[int]] = []
    for index in np.argsort(values, kind="stable"):
        if groups and values[index] <= factor * values[groups[-1][0]]:
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    return [np.array(group) for group in groups]


def inverses(matrix: Float, values: Float, l2_weight: float) -> list[tuple[Array, Inverse]] | None:
    """(λA + αI)⁻¹ of A (D, D) for groups of similar eigenvalues λ among ``values`` (C,), with each group's indices.

    None if an eigendecomposition of A would cost less, or one cannot be inverted.
    """
    large = np.flatnonzero(values > MIN_VALUE * values.max(initial=0.0))
    groups = [large[group] for group in alike(values[large], ALIKE)]
    if len(groups) > MAX_GROUPS:
        return None
    found = []
    for rows in groups:
        lam = float(np.sqrt(values[rows].min() * values[rows].max()))
        inverse = Inverse.of(lam * matrix, l2_weight)
        if inverse is None:
            return None
        found.append((rows, inverse))
    return found
