"""Losses of violations with an elastic net as a quadratic program, for interior-point methods.

With a row's violations m_j = z_j − z_y + Δ over the classes j ≠ y, a hinge is a sum of maxima over groups of them,

    ℓ = Σ_g max(0, max_{j∈g} m_j) = min Σ_g ξ_g    subject to  u_g0 = ξ_g ≥ 0,  u_gj = ξ_g − m_j ≥ 0,

and the duals r of the slacks u, Σ_k r_gk = 1, are the residuals off the target's column: a dual point of the unsmoothed
loss. Squared violations are Σ_j min ξ_j² subject to u_j = ξ_j − m_j ≥ 0, with r_j = 2ξ_j. Programs are for problems
whose Hessian is cheap to form and factorise; all arrays are dense and float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from scipy import linalg

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, DualPoint, Float, Loss, Pieces

RIDGE = 1e-14  # of a matrix with ones on its diagonal
REFINEMENTS = 2
MANY_UNKNOWNS = 1500  # from which on a factorisation takes some 0.1 s


@final
@dataclass(frozen=True)
class Program:
    """The rows with positive weight as a quadratic program in θ (K, D + 1): weights, and the bias in the last column.

    * ``features`` (n, D + 1): centred where there is a bias, with a last column of ones (zeros without a bias)
    * ``center`` (D,): what was subtracted from the features
    * ``classes`` (K,): the classes included. A class without rows is left out if a bias can make it harmless
    * ``own`` (n,): the row's class, ``others`` (n, K − 1): the other classes, as positions in ``classes``
    * ``row_weight`` (n,): sᵢ / Σ sᵢ
    """

    features: Float
    center: Float
    classes: Array
    own: Array
    others: Array
    row_weight: Float
    loss: Loss
    pieces: Pieces
    n_classes: int
    l1_weight: float
    l2_weight: float
    fit_intercept: bool

    @property
    def group_shape(self) -> tuple[int, int]:
        """The groups of a row's K − 1 violations: their number, and the size of each."""
        return (1, self.others.shape[1]) if self.pieces.worst else (self.others.shape[1], 1)

    def leave(self, theta: Float) -> tuple[Float, Float]:
        """Transform θ to W (C, D) and b (C,); a class that is left out gets a bias at which every margin is met."""
        weight = np.zeros((self.n_classes, theta.shape[1] - 1))
        bias = np.zeros(self.n_classes)
        weight[self.classes] = theta[:, :-1]
        if not self.fit_intercept:
            return weight, bias
        bias[:] = (self._scores(theta)[np.arange(len(self.own)), self.own]).min(initial=0.0) - self.pieces.margin
        bias[self.classes] = theta[:, -1] - theta[:, :-1] @ self.center
        return weight, bias

    def violations(self, theta: Float) -> Float:
        """m_j = z_j − z_y + Δ of every row and class j ≠ y, (n, K − 1)."""
        return self.moved(theta) + self.pieces.margin

    def moved(self, step: Float) -> Float:
        """The change of the violations with a step of θ, (n, K − 1)."""
        scores = self._scores(step)
        own = np.take_along_axis(scores, self.own[:, None], axis=1)
        return np.asarray(np.take_along_axis(scores, self.others, axis=1) - own)

    def collect(self, residual: Float) -> Float:
        """The adjoint of `moved` with the rows' weights: Σ sᵢ Σ_j r_ij (e_j − e_y) x̃ᵢᵀ, (K, D + 1)."""
        found = np.asarray(self._closed(residual * self.row_weight[:, None]).T @ self.features)
        found -= found.mean(axis=0)  # zero up to rounding, which a weak penalty would amplify
        return found

    def dual_point(self, residual: Float) -> DualPoint:
        """The dual point of the whole objective for residuals r_j, j ≠ y, (n, K − 1)."""
        closed = np.zeros((len(residual), self.n_classes))
        closed[:, self.classes] = self._closed(residual)
        value = -float(self.row_weight @ self.loss.conjugate(closed, self.classes[self.own]))
        closed *= self.row_weight[:, None]
        total = closed.sum(axis=0) if self.fit_intercept else np.zeros(self.n_classes)
        return DualPoint(value, closed.T @ self.features[:, :-1] + np.outer(total, self.center), total)

    def solver(self, ratios: Float, diagonal: Float) -> Callable[[Float], Float]:
        """θ ↦ (A* diag(sᵢ Qᵢ) A + diagonal)⁻¹ θ by one factorisation, with A as in `moved`.

        Qᵢ has the blocks diag d − d dᵀ/Σd over groups, d = r/u: ``ratios`` are (n, G, 1 + members), the first of
        each group that of ξ ≥ 0, or the curvature of ξ²; ``diagonal`` (K, D + 1) has the curvature of the penalty.

        The factorisation is in the parameters, which is more accurate, or in the violations (Woodbury's identity) if
        there are fewer of them and many parameters.

        Raises LinAlgError if the matrix cannot be factorised.
        """
        if MANY_UNKNOWNS < len(self.kept) > self.others.size:
            return self._solver_in_violations(ratios, diagonal)
        matrix = self._matrix(ratios, diagonal)
        size, kept = len(matrix), self.kept
        matrix = matrix[np.ix_(kept, kept)] if len(kept) < size else matrix
        scale = 1 / np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float64).tiny))
        matrix *= scale[:, None]
        matrix *= scale
        ridged = matrix.copy()
        np.einsum("ii->i", ridged)[:] += RIDGE * len(kept)
        factor = linalg.cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)

        def solve(right: Float) -> Float:
            shifted = right.copy()
            shifted[-1] = right.sum(axis=0)
            wanted = shifted.ravel()[kept] * scale
            step = linalg.cho_solve(factor, wanted, check_finite=False)
            for _ in range(REFINEMENTS):
                step = step + linalg.cho_solve(factor, wanted - matrix @ step, check_finite=False)
            out = np.zeros(size)
            out[kept] = scale * step
            theta = out.reshape(right.shape)
            theta[:-1] += theta[-1]
            return theta

        return solve

    def _solver_in_violations(self, ratios: Float, diagonal: Float) -> Callable[[Float], Float]:
        """The same from y = sᵢ Qᵢ A θ: (Q⁻¹/s + A_W d⁻¹ A_Wᵀ) y − A_b b = A_W d⁻¹ g_W and A_bᵀ y = g_b."""
        n, J = self.others.shape
        X, penalty = self.features[:, :-1], np.maximum(diagonal[:, :-1], np.finfo(np.float64).tiny)
        biases = self._incidence.reshape(n * J, -1)[:, :-1] if self.fit_intercept else np.zeros((n * J, 0))
        blocks = np.zeros((n, J, n, J))
        for c in range(len(self.classes)):
            own = self._incidence[:, :, c]
            blocks += own[:, :, None, None] * ((X / penalty[c]) @ X.T)[:, None, :, None] * own
        np.einsum("iaib->iab", blocks)[:] += self._inverse_hessians(ratios) / self.row_weight[:, None, None]
        matrix = blocks.reshape(n * J, n * J)
        scale = 1 / np.sqrt(np.diag(matrix))
        matrix *= scale[:, None]
        matrix *= scale
        ridged = matrix.copy()
        np.einsum("ii->i", ridged)[:] += RIDGE * len(matrix)
        factor = linalg.cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)

        def inner(right: Float) -> Float:
            wanted = (right.T * scale).T
            found = linalg.cho_solve(factor, wanted, check_finite=False)
            for _ in range(REFINEMENTS):
                found = found + linalg.cho_solve(factor, wanted - matrix @ found, check_finite=False)
            return np.asarray((found.T * scale).T)

        by_bias = inner(biases)
        schur = biases.T @ by_bias

        def solve(right: Float) -> Float:
            step = np.zeros_like(right)
            step[:, :-1] = right[:, :-1] / penalty
            moved = self.moved(step).ravel()
            first = inner(moved)
            if self.fit_intercept:
                step[:-1, -1] = np.linalg.lstsq(schur, right[:-1, -1] - biases.T @ first, rcond=None)[0]
                first = first + by_bias @ step[:-1, -1]
            pulled = self._closed(first.reshape(n, J)).T @ self.features
            step[:, :-1] -= pulled[:, :-1] / penalty
            return step

        return solve

    @cached_property
    def _incidence(self) -> Float:
        """The coefficients e_j − e_y of a violation in the scores of the classes, (n, K − 1, K)."""
        rows, places = np.indices(self.others.shape)
        found = np.zeros((*self.others.shape, len(self.classes)))
        found[rows, places, self.others] = 1.0
        found[rows, places, self.own[:, None]] = -1.0
        return found

    def _inverse_hessians(self, ratios: Float) -> Float:
        """Qᵢ⁻¹ with respect to the violations, (n, K − 1, K − 1)."""
        n, J = self.others.shape
        if self.pieces.worst:
            inverse = np.broadcast_to(1 / ratios[:, 0, :1, None], (n, J, J)).copy()
            np.einsum("ijj->ij", inverse)[:] += 1 / ratios[:, 0, 1:]
            return inverse
        inverse = np.zeros((n, J, J))
        np.einsum("ijj->ij", inverse)[:] = (1 / ratios).sum(axis=2)
        return inverse

    def _matrix(self, ratios: Float, diagonal: Float) -> Float:
        """A* diag(sᵢ Qᵢ) A + diagonal, (K(D + 1), K(D + 1)), in differences to the last class and that class itself.

        The loss is invariant to what all classes have in common: added to it, the penalty's part would be rounded away.
        """
        blocks = self._row_hessians(ratios) * self.row_weight[:, None, None]
        count, columns = len(self.classes), self.features.shape[1]
        matrix = np.zeros((count, columns, count, columns))
        for c in range(count - 1):
            for d in range(c + 1):
                weight = blocks[:, c, d]
                rows = np.flatnonzero(weight)
                chosen = self.features if len(rows) == len(weight) else self.features[rows]
                block = chosen.T @ (weight[rows, None] * chosen)
                matrix[c, :, d], matrix[d, :, c] = block, block.T
            np.einsum("ii->i", matrix[c, :, c])[:] += diagonal[c]
            np.einsum("ii->i", matrix[c, :, -1])[:] = diagonal[c]
            np.einsum("ii->i", matrix[-1, :, c])[:] = diagonal[c]
        np.einsum("ii->i", matrix[-1, :, -1])[:] = diagonal.sum(axis=0)
        return matrix.reshape(count * columns, -1)

    def _row_hessians(self, ratios: Float) -> Float:
        """Qᵢ with respect to the scores of the included classes, (n, K, K)."""
        n, count = len(self.own), len(self.classes)
        rows = np.arange(n)
        hessians = np.zeros((n, count, count))
        diagonal = np.einsum("icc->ic", hessians)  # a view
        if self.pieces.worst:
            coefficients = np.empty((n, count))
            coefficients[rows, self.own] = ratios[:, 0, 0]
            np.put_along_axis(coefficients, self.others, ratios[:, 0, 1:], axis=1)
            share = coefficients / coefficients.sum(axis=1, keepdims=True)
            np.multiply(-share[:, :, None], coefficients[:, None, :], out=hessians)
            # Σ_{d≠c} a_c a_d/Σa, as a sum of positive numbers.
            diagonal[:] = 0
            diagonal[:] = -hessians.sum(axis=2)
            return hessians
        curvature = 1 / (1 / ratios).sum(axis=2)
        np.put_along_axis(diagonal, self.others, curvature, axis=1)
        diagonal[rows, self.own] = curvature.sum(axis=1)
        hessians[rows[:, None], self.own[:, None], self.others] = -curvature
        hessians[rows[:, None], self.others, self.own[:, None]] = -curvature
        return hessians

    @cached_property
    def kept(self) -> Array:
        """The unknowns to solve for: no bias without an intercept, else all but one, as the loss is shift-invariant."""
        kept = np.ones((len(self.classes), self.features.shape[1]), dtype=bool)
        kept[-1 if self.fit_intercept else slice(None), -1] = False
        return np.flatnonzero(kept)

    def _scores(self, theta: Float) -> Float:
        return np.asarray(self.features @ theta.T)

    def _closed(self, residual: Float) -> Float:
        full = np.zeros((len(residual), len(self.classes)))
        np.put_along_axis(full, self.others, residual, axis=1)
        full[np.arange(len(full)), self.own] = -residual.sum(axis=1)
        return full


def build_program(
    data: TrainingData, loss: Loss, *, l1_weight: float, l2_weight: float, fit_intercept: bool
) -> Program:
    """The program of a loss of violations.

    Raises ValueError for other losses.
    """
    pieces = loss.pieces
    if pieces is None:
        raise ValueError(f"the loss {loss.name!r} is not one of violations")
    D, C = data.n_features, data.n_classes
    if data.sample_weight is not None and not (data.sample_weight > 0).all():
        data = data.take(np.flatnonzero(data.sample_weight > 0))
    own = data.target.astype(np.intp)
    classes = np.unique(own) if fit_intercept else np.arange(C)
    own = np.searchsorted(classes, own)
    # The other classes of every row, in order: those below its own, then those above.
    others = np.arange(len(classes) - 1)[None, :] + (np.arange(len(classes) - 1)[None, :] >= own[:, None])
    row_weight = data.weights / data.total_weight
    features = _dense(data.features)
    center = row_weight @ features if fit_intercept else np.zeros(D)
    last = np.full(len(features), float(fit_intercept))
    return Program(
        features=np.column_stack([features - center, last]),
        center=center,
        classes=classes,
        own=own,
        others=others,
        row_weight=row_weight,
        loss=loss,
        pieces=pieces,
        n_classes=C,
        l1_weight=l1_weight,
        l2_weight=l2_weight,
        fit_intercept=fit_intercept,
    )


def _dense(features: Any) -> Float:
    dense = features if isinstance(features, np.ndarray) else features.toarray()
    return np.asarray(dense, dtype=np.float64)
