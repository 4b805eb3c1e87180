"""The factorised Hessian of an objective at a point, for problems where cheaper models do not suffice.

Each row's Hessian is a graph on the classes (`crosshead.losses.quadratic`), so that with x̃ᵢ = (xᵢ − x̄, 1)

    ∇²F = Σ_ab (Σᵢ sᵢ w_iab x̃ᵢ x̃ᵢᵀ) ⊗ (e_a − e_b)(e_a − e_b)ᵀ + diag(penalty).

At a good point nearly every w_iab is close to zero. For each pair of classes rows are subsampled with probabilities
proportional to sᵢ w_iab times the row's leverage, with weights that keep the sum unbiased: some hundred row–edge pairs
per parameter instead of millions. If there are few of them, all are used.

The matrix is scaled to a unit diagonal and factorised in single precision (small ones in double). It is only a
preconditioner; products use every row. Memory: 4·n² bytes for n parameters, at most `MAX_PARAMETERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Float, QuadraticLoss

DOUBLE_PARAMETERS = 1024  # limit for a factorisation in double precision
DRAWN_PER_PARAMETER = 100  # row–edge pairs: with 20, conjugate gradients take six times as many passes
CHANCE_STEPS = 6
BLOCK_BYTES = 1 << 23
RIDGE_SINGLE, RIDGE_DOUBLE, RIDGE_FACTOR, MAX_RIDGE = 1e-6, 1e-13, 10.0, 1e-2  # of the diagonal


@final
@dataclass(frozen=True)
class FactoredHessian:
    """An approximate inverse of ∇²F on flat parameters, by a Cholesky factorisation of the scaled matrix.

    It covers the ``free`` classes: for a shift-invariant loss, the last one follows from the others.
    """

    factor: Array
    scale: Float
    center: Float
    free: int
    classes: int
    fit_intercept: bool

    def precondition(self, vector: Float) -> Float:
        """Approximately apply (∇²F)⁻¹ to a flat vector."""
        split = self.classes * len(self.center)
        weight, bias = vector[:split].reshape(self.classes, -1), vector[split:]
        if self.fit_intercept:
            weight = np.hstack([weight - np.outer(bias, self.center), bias[:, None]])
        right = weight[: self.free].ravel() * self.scale
        solved = linalg.solve_triangular(self.factor, right.astype(self.factor.dtype), lower=True, check_finite=False)
        solved = linalg.solve_triangular(self.factor, solved, lower=True, trans=1, check_finite=False)
        step = np.zeros((self.classes, len(solved) // self.free))
        step[: self.free] = (solved * self.scale).reshape(self.free, -1)
        if self.free < self.classes:
            step -= step.mean(axis=0)
        if not self.fit_intercept:
            return np.concatenate([step.ravel(), np.zeros(self.classes)])
        moved = step[:, :-1]
        return np.concatenate([moved.ravel(), step[:, -1] - moved @ self.center])


@final
@dataclass(frozen=True)
class AllRowsHessian:
    """Products with ∇²F over all rows, one pass each, with the preconditioner of a `FactoredHessian`.

    ``penalty`` is the diagonal of the penalty's Hessian, flat; ``count`` is called for every product.
    """

    engine: Engine
    quadratic: QuadraticLoss
    factored: FactoredHessian
    penalty: Float
    shift_invariant: bool
    exact: bool
    count: Callable[[], None]

    def multiply(self, direction: Float) -> Float:
        """Multiply ∇²F by a flat vector."""
        self.count()
        data, fit_intercept = self.engine.data, self.factored.fit_intercept
        split = data.n_classes * data.n_features
        weight, bias = direction[:split].reshape(data.n_classes, -1), direction[split:]
        if self.shift_invariant:
            weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
        sums = self.engine.evaluate(weight, bias, self.quadratic, exact=self.exact)
        G, g = sums.weight_gradient / data.total_weight, sums.bias_gradient / data.total_weight
        if self.shift_invariant:
            G, g = G - G.mean(axis=0), g - g.mean()
        return np.concatenate([G.ravel(), g if fit_intercept else np.zeros_like(g)]) + self.penalty * direction

    def precondition(self, vector: Float) -> Float:
        """Approximately apply (∇²F)⁻¹ to a flat vector."""
        return self.factored.precondition(vector)


def factorise(
    engine: Engine,
    quadratic: QuadraticLoss,
    coefficients: Float,
    leverage: Float,
    center: Float,
    penalty: Float,
    *,
    fit_intercept: bool,
    shift_invariant: bool,
    seed: int,
) -> FactoredHessian | None:
    """Factorise at the rows' ``coefficients`` (N, C); ``penalty`` (D,) is the diagonal of the penalty for each feature.

    None if the matrix is not positive definite in working precision.
    """
    data = engine.data
    classes = data.n_classes
    free = classes - 1 if shift_invariant else classes
    center = center if fit_intercept else np.zeros_like(center)
    width = data.n_features + int(fit_intercept)
    double = free * width <= DOUBLE_PARAMETERS
    matrix = np.zeros((free * width, free * width), dtype=np.float64 if double else np.float32, order="F")
    blocks = matrix.reshape(free, width, free, width)
    _add_edges(blocks, engine, quadratic, coefficients, leverage, center, fit_intercept, seed)
    _add_penalty(blocks, _diagonals(data, quadratic, coefficients, center)[:free], penalty, classes, shift_invariant)
    diagonal = np.einsum("ii->i", matrix).astype(np.float64)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, np.finfo(np.float32).tiny))
    matrix *= scale.astype(matrix.dtype)[:, None]
    matrix *= scale.astype(matrix.dtype)
    factor = _cholesky(matrix, RIDGE_DOUBLE if double else RIDGE_SINGLE)
    return None if factor is None else FactoredHessian(factor, scale, center, free, classes, fit_intercept)


def _add_edges(
    blocks: Array,
    engine: Engine,
    quadratic: QuadraticLoss,
    coefficients: Float,
    leverage: Float,
    center: Float,
    fit_intercept: bool,
    seed: int,
) -> None:
    data, free = engine.data, blocks.shape[0]
    share = data.weights / data.total_weight
    factor = _chance_factor(quadratic, coefficients, share * leverage, DRAWN_PER_PARAMETER * free * blocks.shape[1])
    chances = np.random.default_rng(seed)
    for first, second, weight in quadratic.edges(coefficients):
        wanted = weight * share * leverage
        chance = np.sign(wanted) if factor is None else np.minimum(1.0, factor * wanted)
        drawn = np.flatnonzero(chances.random(len(chance)) < chance)
        moments = _moments(engine, data.features[drawn], (weight * share)[drawn] / chance[drawn], center, fit_intercept)
        for end in (first, second):
            if end is not None and end < free:
                blocks[end, :, end, :] += moments
        if second is not None and max(first, second) < free:
            blocks[first, :, second, :] -= moments
            blocks[second, :, first, :] -= moments


def _moments(engine: Engine, rows: Array, weight: Float, center: Float, fit_intercept: bool) -> Float:
    """Σ vᵢ x̃ᵢ x̃ᵢᵀ over a few rows."""
    width = rows.shape[1] + int(fit_intercept)
    moments = np.zeros((width, width))
    if not len(rows):
        return moments
    centred = rows - center.astype(rows.dtype)
    moments[: rows.shape[1], : rows.shape[1]] = engine.gram(centred, weight)
    if fit_intercept:
        moments[-1, :-1] = moments[:-1, -1] = weight.astype(rows.dtype) @ centred
        moments[-1, -1] = weight.sum()
    return moments


def _chance_factor(quadratic: QuadraticLoss, coefficients: Float, share: Float, wanted: int) -> float | None:
    """The c for which Σ min(1, c·qᵢ) over all rows and edges is about ``wanted``; None if all can be used."""
    sizes, present = 0.0, 0
    for _, _, weight in quadratic.edges(coefficients):
        sizes += float(weight @ share)
        present += int(np.count_nonzero(weight))
    if present <= wanted or not sizes > 0:
        return None
    factor = wanted / sizes
    for _ in range(CHANCE_STEPS):
        count = sum(float(np.minimum(1.0, factor * w * share).sum()) for _, _, w in quadratic.edges(coefficients))
        factor *= wanted / count
    return factor


def _diagonals(data: TrainingData, quadratic: QuadraticLoss, coefficients: Float, center: Float) -> Float:
    """Σ sᵢ (Hᵢ)_cc (xᵢ − x̄)² over all rows, (C, D): lower limits of the diagonal."""
    share = data.weights / data.total_weight
    diagonals = np.zeros_like(coefficients)
    for first, second, weight in quadratic.edges(coefficients):
        diagonals[:, first] += weight * share
        if second is not None:
            diagonals[:, second] += weight * share
    sums = np.zeros((data.n_classes, data.n_features))
    step = max(1, BLOCK_BYTES // (8 * max(1, data.n_features)))
    for first in range(0, data.n_rows, step):
        block = data.features[first : first + step] - center.astype(data.features.dtype)
        sums += diagonals[first : first + step].T.astype(block.dtype) @ (block * block)
    return sums


def _add_penalty(blocks: Array, least: Float, penalty: Float, classes: int, shift_invariant: bool) -> None:
    features = np.arange(len(penalty))
    free = blocks.shape[0]
    for c in range(free):
        found = blocks[c, features, c, features]
        blocks[c, features, c, features] = np.maximum(found, least[c])
    # If the last class follows from the others, the mean of their steps is subtracted, also in the penalty.
    common = penalty / classes if shift_invariant else np.zeros_like(penalty)
    for c in range(free):
        for d in range(free):
            blocks[c, features, d, features] += penalty * (c == d) - common


def _cholesky(matrix: Array, ridge: float) -> Array | None:
    """The lower Cholesky factor of a matrix with unit diagonal, in place."""
    potrf = linalg.lapack.dpotrf if matrix.dtype == np.float64 else linalg.lapack.spotrf
    diagonal = np.einsum("ii->i", matrix)  # a view
    while ridge <= MAX_RIDGE:
        diagonal[:] = 1 + ridge
        matrix, failed = potrf(matrix, lower=1, clean=0, overwrite_a=1)
        if not failed:
            return np.asarray(matrix)
        diagonal = np.einsum("ii->i", matrix)
        for row in range(1, len(matrix)):  # restore the lower half from the upper
            matrix[row, :row] = matrix[:row, row]
        ridge *= RIDGE_FACTOR
    return None
