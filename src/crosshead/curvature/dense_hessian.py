"""The Hessian of the loss as a matrix of all parameters, for problems in which that is small.

Each row's Hessian is a graph on the classes (`crosshead.losses.quadratic`), so that with x̃ᵢ = (xᵢ − x̄, 1)

    ∇²L = Σ_ab (Σᵢ sᵢ w_iab x̃ᵢ x̃ᵢᵀ) ⊗ (e_a − e_b)(e_a − e_b)ᵀ,

one product of N·D² for every pair of classes, or one of N·(C·D)² for all pairs where w_iab = q_ia q_ib. The bias is
seen from the mean feature x̄, b′ = b + W x̄, so that columns with a large mean cost no digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, Float, QuadraticLoss
from crosshead.losses.quadratic import Edge

BLOCK_ELEMENTS = 1 << 17  # of rows times parameters that are multiplied at a stretch: they stay in the cache
RIDGES = (1e-15, 1e-13, 1e-11, 1e-9, 1e-6)  # of the scaled matrix's diagonal, tried in turn


@final
@dataclass(frozen=True)
class DenseHessian:
    """∇²L on (W, b′), W row by row and then b′, as ``matrix`` (P, P); ``center`` is x̄, zeros without an intercept.

    Where the loss does not see what all classes have in common (``shift_invariant``), it is the matrix in differences
    to the last class, (C − 1)(D + 1): beside the loss's part, a penalty on what they share would be rounded away.
    """

    matrix: Float
    center: Float
    n_classes: int
    fit_intercept: bool
    shift_invariant: bool

    def multiply(self, direction: Float) -> Float:
        """∇²L v for a flat (W, b)."""
        weight, bias = self._unpack(direction)
        bias = bias + weight @ self.center
        if self.shift_invariant:
            weight, bias = weight[:-1] - weight[-1], bias[:-1] - bias[-1]
        product = self.matrix @ np.concatenate([weight.ravel(), bias])
        weight, bias = product[: weight.size].reshape(weight.shape), product[weight.size :]
        if self.shift_invariant:
            weight, bias = np.vstack([weight, -weight.sum(axis=0)]), np.append(bias, -bias.sum())
        return np.concatenate([(weight + np.outer(bias, self.center)).ravel(), bias])

    def solve(self, diagonal: Float, right: Float) -> Float | None:
        """(∇²L + diag(d, 0))⁻¹ applied to a gradient (W, b); d (C·D,) is positive. None where rounding forbids."""
        strength = diagonal.reshape(self.n_classes, -1)
        weight, bias = self._unpack(right)
        if self.fit_intercept:
            weight = weight - np.outer(bias, self.center)
        common = weight.sum(axis=0)
        split = weight.size
        if self.shift_invariant:
            weight, bias = weight[:-1] - strength[:-1] * (common / strength.sum(axis=0)), bias[:-1]
            split = weight.size
        used = len(self.matrix) if self.fit_intercept else split
        matrix = self.matrix[:used, :used].copy()
        own = np.einsum("ii->i", matrix)  # a view
        if self.shift_invariant:
            _add_in_differences(matrix[:split, :split], strength)
        else:
            own[:split] += diagonal
        if self.fit_intercept:
            floor = float(own[split:].max(initial=0.0))
            own[split:] = np.maximum(own[split:], RIDGES[0] * floor if floor > 0 else 1.0)
        scale = 1.0 / np.sqrt(own)
        matrix *= scale
        matrix *= scale[:, None]
        step = _solve_scaled(matrix, np.concatenate([weight.ravel(), bias])[:used] * scale)
        return None if step is None else self._unfold(step * scale, strength, common)

    def enter(self, gradient: Float) -> Float:
        """A gradient by (W, b) as one by (W, b′)."""
        weight, bias = self._unpack(gradient)
        return np.concatenate([(weight - np.outer(bias, self.center)).ravel(), bias])

    def leave(self, step: Float) -> Float:
        """A step of (W, b′) as one of (W, b)."""
        weight, bias = self._unpack(step)
        return np.concatenate([weight.ravel(), bias - weight @ self.center])

    def uncoupled(self) -> Iterator[tuple[Float, Array]]:
        """The matrix of all classes' parameters, and their positions in (W, b′); without an intercept those of W."""
        classes, columns = self.n_classes - self.shift_invariant, len(self.center)
        split = classes * columns
        weights: Float = self.matrix[:split, :split].reshape(classes, columns, classes, columns)
        across: Float = self.matrix[:split, split:].reshape(classes, columns, classes)
        biases = self.matrix[split:, split:]
        if self.shift_invariant:
            weights, across = _with_last(_with_last(weights, 0), 2), _with_last(_with_last(across, 0), 2)
            biases = _with_last(_with_last(biases, 0), 1)
        split = self.n_classes * columns
        matrix = weights.reshape(split, split)
        if self.fit_intercept:
            across = across.reshape(split, self.n_classes)
            matrix = np.block([[matrix, across], [across.T, biases]])
        yield matrix, np.arange(len(matrix))

    def _unfold(self, step: Float, strength: Float, common: Float) -> Float:
        """A solution, maybe in differences to the last class, as a flat (W, b)."""
        classes = self.n_classes - self.shift_invariant
        weight = step[: classes * len(self.center)].reshape(classes, -1)
        bias = step[weight.size :] if self.fit_intercept else np.zeros(classes)
        if self.shift_invariant:
            last = (common - (strength[:-1] * weight).sum(axis=0)) / strength.sum(axis=0)
            weight, bias = np.vstack([weight + last, last]), np.append(bias, 0.0)
        if self.fit_intercept:
            bias = bias - weight @ self.center
            bias -= bias.mean() if self.shift_invariant else 0.0
        return np.concatenate([weight.ravel(), bias])

    def _unpack(self, flat: Float) -> tuple[Float, Float]:
        split = self.n_classes * len(self.center)
        return flat[:split].reshape(self.n_classes, -1), flat[split:]


@final
@dataclass(frozen=True)
class ClasswiseHessian:
    """∇²L of a loss that does not couple classes: one for each, on its own weights and bias."""

    parts: list[DenseHessian]

    def multiply(self, direction: Float) -> Float:
        """∇²L v for a flat (W, b)."""
        return self._by_class(lambda part, own, _: part.multiply(own), direction, np.zeros_like(direction))

    def solve(self, diagonal: Float, right: Float) -> Float | None:
        """(∇²L + diag(d, 0))⁻¹ applied to a gradient (W, b); d (C·D,) is positive. None where rounding forbids."""
        charge = np.concatenate([diagonal, np.zeros(len(self.parts))])
        try:
            return self._by_class(_solved, right, charge)
        except linalg.LinAlgError:
            return None

    def enter(self, gradient: Float) -> Float:
        """A gradient by (W, b) as one by (W, b′)."""
        return self._by_class(lambda part, own, _: part.enter(own), gradient, np.zeros_like(gradient))

    def leave(self, step: Float) -> Float:
        """A step of (W, b′) as one of (W, b)."""
        return self._by_class(lambda part, own, _: part.leave(own), step, np.zeros_like(step))

    def uncoupled(self) -> Iterator[tuple[Float, Array]]:
        """Each class's matrix, and the positions of its parameters in (W, b′)."""
        columns = len(self.parts[0].center)
        for c, part in enumerate(self.parts):
            for matrix, own in part.uncoupled():
                yield matrix, np.where(own < columns, c * columns + own, len(self.parts) * columns + c)

    def _by_class(self, of: Callable[[DenseHessian, Float, Float], Float], vector: Float, charge: Float) -> Float:
        classes = len(self.parts)
        split = len(vector) - classes
        out = np.empty_like(vector)
        for c, part in enumerate(self.parts):
            own = np.append(np.arange(c * (split // classes), (c + 1) * (split // classes)), split + c)
            out[own] = of(part, vector[own], charge[own][:-1])
        return out


def _solved(part: DenseHessian, right: Float, diagonal: Float) -> Float:
    step = part.solve(diagonal, right)
    if step is None:
        raise linalg.LinAlgError
    return step


def _with_last(blocks: Float, axis: int) -> Float:
    """Blocks of all classes but the last with its own, which is minus their sum."""
    return np.concatenate([blocks, -blocks.sum(axis=axis, keepdims=True)], axis=axis)


def _solve_scaled(matrix: Float, right: Float) -> Float | None:
    """The solution for a matrix with a diagonal of ones, to which it adds as small a ridge as it can."""
    own = np.einsum("ii->i", matrix)  # a view
    for ridge in RIDGES:
        own[:] = 1 + ridge
        try:
            factor = linalg.cho_factor(matrix, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        return np.asarray(linalg.cho_solve(factor, right, check_finite=False))
    return None


def _add_in_differences(matrix: Float, strength: Float) -> None:
    """Add ½ Σ d W² for d (C, D), its minimum over what all classes have in common, in differences to the last class.

    That is d_a (δ_ab − d_b/Σd); with sums over the other classes, as 1 − d_a/Σd would lose its digits.
    """
    classes, columns = strength.shape
    share = strength / strength.sum(axis=0)
    blocks = matrix.reshape(classes - 1, columns, classes - 1, columns)
    for a in range(classes - 1):
        for b in range(classes - 1):
            held = np.delete(share, a, axis=0).sum(axis=0) if a == b else -share[b]
            np.einsum("ii->i", blocks[a, :, b])[:] += strength[a] * held


def dense_hessian(
    data: TrainingData,
    quadratic: QuadraticLoss,
    coefficients: Array,
    *,
    fit_intercept: bool,
    shift_invariant: bool,
) -> DenseHessian | ClasswiseHessian:
    """The Hessian at second-order ``coefficients`` (N, C) of the rows."""
    classes, columns = data.n_classes, data.n_features
    features = data.features if isinstance(data.features, np.ndarray) else np.asarray(data.features[:].todense())
    share = data.weights / data.total_weight
    X = features.astype(np.float64)
    center = share @ X if fit_intercept else np.zeros(columns)
    X -= center
    coefficients = np.asarray(coefficients, dtype=np.float64)
    if not quadratic.couples:
        found: dict[int, DenseHessian] = {}
        for one, _, strength in quadratic.edges(coefficients):
            found[one] = _of_class(X, strength * share, center, fit_intercept)
        return ClasswiseHessian([found[c] for c in range(classes)])
    X = np.column_stack([X, np.ones(len(X))])
    told = classes - shift_invariant  # the classes whose parameters the matrix is about
    matrix = np.zeros((told, columns + 1) * 2)
    factors = quadratic.edge_factors(coefficients)
    if factors is not None:
        _add_factored_edges(matrix, X, factors, share)
    else:
        _add_edges(matrix, X, quadratic.edges(coefficients), share)
    # From class by class, each with its bias, to all weights and then all biases.
    order = np.arange(told * (columns + 1)).reshape(told, columns + 1)
    order = np.concatenate([order[:, :-1].ravel(), order[:, -1]])
    matrix = matrix.reshape(len(order), len(order))[np.ix_(order, order)]
    return DenseHessian(matrix, center, classes, fit_intercept, shift_invariant)


def _add_edges(matrix: Float, X: Float, edges: Iterable[Edge], share: Float) -> None:
    """Add each edge's Gram matrix of the rows to the blocks (C, D + 1, C, D + 1) of its ends that the matrix has."""
    told = len(matrix)
    for first, second, strength in edges:
        gram = (X * (strength * share)[:, None]).T @ X
        ends = [(first, first, 1.0)]
        if second is not None:
            ends += [(second, second, 1.0), (first, second, -1.0), (second, first, -1.0)]
        for a, b, sign in ends:
            if max(a, b) < told:
                matrix[a, :, b, :] += sign * gram


def _add_factored_edges(matrix: Float, X: Float, factors: Float, share: Float) -> None:
    """The same where an edge's weight is q_a q_b, from ``factors`` q (N, C).

    Sums over the other classes, and not over all less the own, give the diagonal its digits where q is nearly one.
    """
    told, columns = matrix.shape[:2]
    flat = matrix.reshape(told * columns, told * columns)
    own = np.zeros((told, columns, columns))
    step = max(1, BLOCK_ELEMENTS // len(flat))
    for first in range(0, len(X), step):
        part = slice(first, first + step)
        rows, factor = X[part], factors[part] * np.sqrt(share[part])[:, None]
        if told > 1:  # what two classes share follows from one of them
            scaled = (factor[:, :told, None] * rows[:, None, :]).reshape(len(rows), -1)
            flat -= scaled.T @ scaled
        for c in range(told):
            others = np.delete(factor, c, axis=1).sum(axis=1)
            own[c] += (rows * (factor[:, c] * others)[:, None]).T @ rows
    for c in range(told):
        matrix[c, :, c, :] = own[c]


def _of_class(X: Float, weight: Float, center: Float, fit_intercept: bool) -> DenseHessian:
    """Σ wᵢ x̃ᵢ x̃ᵢᵀ as the Hessian of one class."""
    columns = X.shape[1]
    matrix = np.empty((columns + 1, columns + 1))
    matrix[:columns, :columns] = (X * weight[:, None]).T @ X
    matrix[:columns, columns] = matrix[columns, :columns] = weight @ X
    matrix[columns, columns] = weight.sum()
    return DenseHessian(matrix, center, 1, fit_intercept, False)
