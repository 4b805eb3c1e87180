"""Second-order models of losses around given scores, as losses ½ vᵀ H v with gradient H v.

An engine computes products with a Hessian by the same pass as gradients of a loss, with the coefficients of each row's
H (n, C) in place of the target. Three forms of H cover all losses that have such a model.

Each form is a weighted graph on the classes: H = Σ w_ab (e_a − e_b)(e_a − e_b)ᵀ + Σ w_a e_a e_aᵀ with w ≥ 0. `edges`
lists it, so that a sum over rows can draw, for every edge, the rows where it is strong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self, final

import numpy as np

from crosshead.losses.protocol import Array, Curvature, Float

NO_PARAMETERS = (0.0, 0.0, 0.0)

Edge = tuple[int, int | None, Float]  # classes a and b, or a alone, and the weight of each row (n,)


class _Quadratic:
    """Base class of the three forms of H."""

    name: ClassVar[str]
    couples: ClassVar[bool] = True  # whether the gradient in one score depends on other scores

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, NO_PARAMETERS

    def value(self, scores: Array, target: Array) -> Array:
        """½ vᵀ H v of each row, (n,)."""
        return self.value_and_gradient(scores, target)[0]

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """½ vᵀ H v, (n,), and H v, (n, C)."""
        raise NotImplementedError

    def conjugate(self, residual: Array, target: Array) -> Array:
        """Not used: zeros, (n,)."""
        return np.zeros(len(residual))

    def smoothed(self, smoothing: float) -> Self:
        """Return itself."""
        return self

    def edge_factors(self, coefficients: Float) -> Float | None:
        """Q (n, C) where each pair of classes has the weight Q_a Q_b and no class has one of its own, else None."""
        return None


@final
@dataclass(frozen=True)
class CentredQuadratic(_Quadratic):
    """H = diag a − a aᵀ/Σa for coefficients a ≥ 0: softmax has a = p.

    Examples
    --------
    >>> import numpy as np
    >>> value, product = CentredQuadratic().value_and_gradient(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    >>> value, product
    (array([0.125]), array([[ 0.25, -0.25]]))
    """

    name = "centred_quadratic"

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """½ vᵀ H v, (n,), and H v, (n, C)."""
        total = np.maximum(target.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        centred = scores - (target * scores).sum(axis=1, keepdims=True) / total
        return (target * centred**2).sum(axis=1) / 2, target * centred

    def curvature(self, coefficients: Float, weight: Float) -> Curvature:
        """Σ sᵢ (diag a − a aᵀ/Σa) and the traces, for weights sᵢ (n,)."""
        total = np.maximum(coefficients.sum(axis=1), np.finfo(np.float64).tiny)
        shared = coefficients.T @ (coefficients * (weight / total)[:, None])
        return Curvature(np.diag(weight @ coefficients) - shared, self.traces(coefficients))

    def diagonal(self, coefficients: Float, weight: Float) -> Curvature:
        """The same with the diagonal alone in place of the sum, (C,)."""
        total = np.maximum(coefficients.sum(axis=1), np.finfo(np.float64).tiny)
        shared = (weight / total) @ (coefficients * coefficients)
        return Curvature(np.asarray(weight @ coefficients - shared), self.traces(coefficients))

    def traces(self, coefficients: Float) -> Float:
        """Σ_c a_c − ‖a‖²/Σa of each row, (n,)."""
        total = np.maximum(coefficients.sum(axis=1), np.finfo(np.float64).tiny)
        return np.asarray(total - np.einsum("ic,ic->i", coefficients, coefficients) / total)

    def row_totals(self, coefficients: Array) -> Array:
        """Σa of each row, (n,)."""
        return np.asarray(np.maximum(coefficients.sum(axis=1), np.finfo(np.float32).tiny))

    def own_curvature(self, coefficients: Array, totals: Array) -> Array:
        """The diagonals a_c − a_c²/Σa of some columns (n, k), given `row_totals` (n,)."""
        return np.asarray(np.maximum(coefficients - coefficients * coefficients / totals[:, None], 0))

    def factors(self, coefficients: Float, weight: Float) -> tuple[Float, ...]:
        """wᵢ H = diag p − q qᵀ by p and q, (n, C) each."""
        total = np.maximum(coefficients.sum(axis=1), np.finfo(np.float64).tiny)
        return coefficients * weight[:, None], coefficients * np.sqrt(weight / total)[:, None]

    def edge_factors(self, coefficients: Float) -> Float:
        """a/√Σa, (n, C)."""
        root = np.sqrt(np.maximum(coefficients.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
        return np.asarray(coefficients / root)

    def edges(self, coefficients: Float) -> Iterator[Edge]:
        """Every pair of classes, with a_a a_b/Σa."""
        factors = self.edge_factors(coefficients)
        for first in range(coefficients.shape[1]):
            for second in range(first):
                yield first, second, factors[:, first] * factors[:, second]


@final
@dataclass(frozen=True)
class DiagonalQuadratic(_Quadratic):
    """H = diag a for coefficients a ≥ 0: the columns are independent, as in binary and squared error.

    Examples
    --------
    >>> import numpy as np
    >>> DiagonalQuadratic().value_and_gradient(np.array([[1.0, 3.0]]), np.array([[0.25, 2.0]]))
    (array([9.125]), array([[0.25, 6.  ]]))
    """

    name = "diagonal_quadratic"
    couples = False

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """½ vᵀ H v, (n,), and H v, (n, C)."""
        product = target * scores
        return (product * scores).sum(axis=1) / 2, product

    def curvature(self, coefficients: Float, weight: Float) -> Curvature:
        """Σ sᵢ diag a and the traces, for weights sᵢ (n,)."""
        return Curvature(np.diag(weight @ coefficients), self.traces(coefficients))

    def diagonal(self, coefficients: Float, weight: Float) -> Curvature:
        """The same with the diagonal alone in place of the sum, (C,)."""
        return Curvature(np.asarray(weight @ coefficients), self.traces(coefficients))

    def traces(self, coefficients: Float) -> Float:
        """Σ_c a_c of each row, (n,)."""
        return np.asarray(coefficients.sum(axis=1))

    def row_totals(self, coefficients: Array) -> Array:
        """Not needed: zeros, (n,)."""
        return np.zeros(len(coefficients), dtype=coefficients.dtype)

    def own_curvature(self, coefficients: Array, totals: Array) -> Array:
        """The diagonals a_c of some columns, (n, k)."""
        return coefficients.copy()

    def factors(self, coefficients: Float, weight: Float) -> tuple[Float, ...]:
        """wᵢ H = diag p by p, (n, C)."""
        return (coefficients * weight[:, None],)

    def edges(self, coefficients: Float) -> Iterator[Edge]:
        """Every class by itself, with its coefficient as weight."""
        for first in range(coefficients.shape[1]):
            yield first, None, coefficients[:, first]


@final
@dataclass(frozen=True)
class StarQuadratic(_Quadratic):
    """H = Σ_{j≠y} a_j (e_j − e_y)(e_j − e_y)ᵀ for coefficients a ≥ 0; a negative coefficient marks the target y.

    Examples
    --------
    >>> import numpy as np
    >>> StarQuadratic().value_and_gradient(np.array([[1.0, 3.0, 5.0]]), np.array([[-1.0, 2.0, 0.0]]))
    (array([4.]), array([[-4.,  4.,  0.]]))
    """

    name = "star_quadratic"

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """½ vᵀ H v, (n,), and H v, (n, C)."""
        own = target < 0
        difference = scores - np.where(own, scores, 0).sum(axis=1, keepdims=True)
        product = np.where(own, 0, target) * difference
        value = (product * difference).sum(axis=1) / 2
        return value, np.where(own, -product.sum(axis=1, keepdims=True), product)

    def curvature(self, coefficients: Float, weight: Float) -> Curvature:
        """Σ sᵢ Σ_j a_j (e_j − e_y)(e_j − e_y)ᵀ and the traces, for weights sᵢ (n,)."""
        own = coefficients < 0
        others = np.where(own, 0, coefficients)
        weighted = others * weight[:, None]
        pairs = weighted.T @ own.astype(np.float64)  # (j, y)
        classes = np.diag(weighted.sum(axis=0) + pairs.sum(axis=0)) - pairs - pairs.T
        return Curvature(classes, self.traces(coefficients))

    def diagonal(self, coefficients: Float, weight: Float) -> Curvature:
        """The same with the diagonal alone in place of the sum, (C,)."""
        own = coefficients < 0
        others = np.where(own, 0, coefficients)
        sums = weight @ others + (weight * others.sum(axis=1)) @ own
        return Curvature(np.asarray(sums), self.traces(coefficients))

    def traces(self, coefficients: Float) -> Float:
        """2 Σ_j a_j over j ≠ y of each row, (n,)."""
        return np.asarray(2 * np.maximum(coefficients, 0).sum(axis=1))

    def row_totals(self, coefficients: Array) -> Array:
        """Σ a_j over j ≠ y of each row, (n,)."""
        return np.asarray(np.maximum(coefficients, 0).sum(axis=1))

    def own_curvature(self, coefficients: Array, totals: Array) -> Array:
        """The diagonals of some columns (n, k): a_j, and at the target their sum, given `row_totals` (n,)."""
        return np.where(coefficients < 0, totals[:, None], coefficients)

    def factors(self, coefficients: Float, weight: Float) -> tuple[Float, ...]:
        """wᵢ H = diag p − q rᵀ − r qᵀ by p, q and r, (n, C) each: r is one at the target, q zero there."""
        own = coefficients < 0
        others = np.where(own, 0.0, coefficients) * weight[:, None]
        return np.where(own, others.sum(axis=1, keepdims=True), others), others, own.astype(np.float64)

    def edges(self, coefficients: Float) -> Iterator[Edge]:
        """Every pair of classes; in rows where one is the target, the weight is the other's coefficient."""
        own = coefficients < 0
        others = np.where(own, 0.0, coefficients)
        for first in range(coefficients.shape[1]):
            for second in range(first):
                yield first, second, others[:, first] * own[:, second] + others[:, second] * own[:, first]
