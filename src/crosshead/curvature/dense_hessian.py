"""The Hessian of the loss as a matrix over all parameters, for problems where it is small.

Each row's Hessian is a graph on the classes (`crosshead.losses.quadratic`), so that with x̃ᵢ = (xᵢ − x̄, 1)

    ∇²L = Σ_ab (Σᵢ sᵢ w_iab x̃ᵢ x̃ᵢᵀ) ⊗ (e_a − e_b)(e_a − e_b)ᵀ,

one product of N·D² for every pair of classes. The bias is relative to the mean feature x̄, b′ = b + W x̄, so that
columns with a large mean cause no cancellation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, Float, QuadraticLoss

RIDGES = (1e-15, 1e-13, 1e-11, 1e-9, 1e-6)  # of the scaled matrix's diagonal, tried in turn


@final
@dataclass(frozen=True)
class DenseHessian:
    """∇²L on (W, b′), W row by row and then b′, as ``matrix`` (P, P); ``center`` is x̄, zeros without an intercept."""

    matrix: Float
    center: Float
    n_classes: int
    fit_intercept: bool
    shift_invariant: bool

    def multiply(self, direction: Float) -> Float:
        """Multiply ∇²L by a flat (W, b)."""
        split = self.n_classes * len(self.center)
        weight, bias = direction[:split].reshape(self.n_classes, -1), direction[split:]
        product = self.matrix @ np.concatenate([weight.ravel(), bias + weight @ self.center])
        moved = product[:split].reshape(self.n_classes, -1) + np.outer(product[split:], self.center)
        return np.concatenate([moved.ravel(), product[split:]])

    def solve(self, diagonal: Float, right: Float) -> Float | None:
        """(∇²L + diag(d, 0))⁻¹ applied to a gradient (W, b); d (C·D,) is positive. None where rounding forbids.

        If the loss is invariant to what all classes have in common, the unknowns are differences to the last class and
        that class itself: otherwise d would be rounded away in that direction.
        """
        split = self.n_classes * len(self.center)
        used = len(self.matrix) if self.fit_intercept else split
        matrix = self.matrix[:used, :used].copy()
        own = np.einsum("ii->i", matrix)  # a view
        if self.shift_invariant:
            _in_differences(matrix, diagonal.reshape(self.n_classes, -1))
        else:
            own[:split] += diagonal
        weight, bias = right[:split].reshape(self.n_classes, -1), right[split:]
        if self.fit_intercept:
            if self.shift_invariant:  # its null vector; any curvature along it will do
                matrix[split:, split:] += float(own[split:].mean()) / self.n_classes
            floor = float(own[split:].max(initial=0.0))
            own[split:] = np.maximum(own[split:], RIDGES[0] * floor if floor > 0 else 1.0)
            weight = weight - np.outer(bias, self.center)
        if self.shift_invariant:
            weight = np.vstack([weight[:-1], weight.sum(axis=0)])
        scale = 1.0 / np.sqrt(own)
        matrix *= scale
        matrix *= scale[:, None]
        vector = np.concatenate([weight.ravel(), bias])[:used] * scale
        for ridge in RIDGES:
            own[:] = 1 + ridge
            try:
                factor = linalg.cho_factor(matrix, lower=True, check_finite=False)
            except linalg.LinAlgError:
                continue
            step = linalg.cho_solve(factor, vector, check_finite=False) * scale
            moved = step[:split].reshape(self.n_classes, -1)
            if self.shift_invariant:
                moved[:-1] += moved[-1]
            shift = np.zeros(self.n_classes)
            if self.fit_intercept:
                shift = step[split:] - moved @ self.center
                shift -= shift.mean() if self.shift_invariant else 0.0
            return np.concatenate([moved.ravel(), shift])
        return None


@final
@dataclass(frozen=True)
class ClasswiseHessian:
    """∇²L of a loss that does not couple classes: one Hessian per class, on its own weights and bias."""

    parts: list[DenseHessian]

    def multiply(self, direction: Float) -> Float:
        """Multiply ∇²L by a flat (W, b)."""
        return self._by_class(lambda part, own, _: part.multiply(own), direction, np.zeros_like(direction))

    def solve(self, diagonal: Float, right: Float) -> Float | None:
        """(∇²L + diag(d, 0))⁻¹ applied to a gradient (W, b); d (C·D,) is positive. None where rounding forbids."""
        penalty = np.concatenate([diagonal, np.zeros(len(self.parts))])
        try:
            return self._by_class(_solved, right, penalty)
        except linalg.LinAlgError:
            return None

    def _by_class(self, of: Callable[[DenseHessian, Float, Float], Float], vector: Float, penalty: Float) -> Float:
        classes = len(self.parts)
        split = len(vector) - classes
        out = np.empty_like(vector)
        for c, part in enumerate(self.parts):
            own = np.append(np.arange(c * (split // classes), (c + 1) * (split // classes)), split + c)
            out[own] = of(part, vector[own], penalty[own][:-1])
        return out


def _solved(part: DenseHessian, right: Float, diagonal: Float) -> Float:
    step = part.solve(diagonal, right)
    if step is None:
        raise linalg.LinAlgError
    return step


def _in_differences(matrix: Float, diagonal: Float) -> None:
    """Transform a Hessian to differences of the weights to the last class, and add d (C, D), in place."""
    classes, columns = diagonal.shape
    split = classes * columns
    matrix[split - columns : split] = 0.0
    matrix[:, split - columns : split] = 0.0
    blocks = matrix[:split, :split].reshape(classes, columns, classes, columns)
    for c in range(classes - 1):
        np.einsum("ii->i", blocks[c, :, c])[:] += diagonal[c]
        np.einsum("ii->i", blocks[c, :, -1])[:] = diagonal[c]
        np.einsum("ii->i", blocks[-1, :, c])[:] = diagonal[c]
    np.einsum("ii->i", blocks[-1, :, -1])[:] = diagonal.sum(axis=0)


def dense_hessian(
    data: TrainingData,
    quadratic: QuadraticLoss,
    coefficients: Array,
    *,
    fit_intercept: bool,
    shift_invariant: bool,
) -> DenseHessian | ClasswiseHessian:
    """The Hessian from the rows' second-order ``coefficients`` (N, C)."""
    classes, columns = data.n_classes, data.n_features
    features = data.features if isinstance(data.features, np.ndarray) else np.asarray(data.features[:].todense())
    share = data.weights / data.total_weight
    X = features.astype(np.float64)
    center = share @ X if fit_intercept else np.zeros(columns)
    X -= center
    edges = quadratic.edges(np.asarray(coefficients, dtype=np.float64))
    if not quadratic.couples:
        found: dict[int, DenseHessian] = {}
        for one, _, strength in edges:
            found[one] = _of_class(X, strength * share, center, fit_intercept)
        return ClasswiseHessian([found[c] for c in range(classes)])
    split = classes * columns
    matrix = np.zeros((classes * (columns + 1),) * 2)
    inner = matrix[:split, :split].reshape(classes, columns, classes, columns)
    across = matrix[:split, split:].reshape(classes, columns, classes)
    biases = matrix[split:, split:]
    for first, second, strength in edges:
        weight = strength * share
        gram, sums, total = (X * weight[:, None]).T @ X, weight @ X, float(weight.sum())
        ends = [(first, first, 1.0)]
        if second is not None:
            ends += [(second, second, 1.0), (first, second, -1.0), (second, first, -1.0)]
        for a, b, sign in ends:
            inner[a, :, b, :] += sign * gram
            across[a, :, b] += sign * sums
            biases[a, b] += sign * total
    matrix[split:, :split] = matrix[:split, split:].T
    return DenseHessian(matrix, center, classes, fit_intercept, shift_invariant)


def _of_class(X: Float, weight: Float, center: Float, fit_intercept: bool) -> DenseHessian:
    """Σ wᵢ x̃ᵢ x̃ᵢᵀ as the Hessian of one class."""
    columns = X.shape[1]
    matrix = np.empty((columns + 1, columns + 1))
    matrix[:columns, :columns] = (X * weight[:, None]).T @ X
    matrix[:columns, columns] = matrix[columns, :columns] = weight @ X
    matrix[columns, columns] = weight.sum()
    return DenseHessian(matrix, center, 1, fit_intercept, False)
