"""The diagonal blocks of the Hessian for each class, inverted: a preconditioner of Newton's equation.

With the loss's Hessians Hᵢ (C, C) at the rows' scores, normalised row weights sᵢ and the mean features x̄_c under the
weights sᵢ (Hᵢ)_cc, the block of class c is

    A_c + α(1 − ρ)I,    A_c = Σ sᵢ (Hᵢ)_cc (xᵢ − x̄_c)(xᵢ − x̄_c)ᵀ,

with the bias relative to x̄_c, where it does not interact with W. For a shift-invariant loss, ∇²F is these blocks minus
a coupling whose only weak direction is a step common to all classes, which is never needed
(`Objective.without_common`). So the inverses are applied between two projections that subtract the mean over the
classes. Quasi-Newton methods start from them (`crosshead.solvers.initial_curvature`). For losses that do not couple
classes the blocks are ∇²F itself.

The blocks are summed over rows subsampled by their curvature in these classes and by their leverage. The inverse of a
sum over n subsampled rows is too large by about 1/(1 − d/n), d = tr A(A + αI)⁻¹: by 2 for n = 2·D, as that of a Wishart
matrix (Anderson, An Introduction to Multivariate Statistical Analysis, 7.7). It is divided by this factor. If one block
per class would cost too much, classes with similar features share one: A_c ≈ s_c A_g with s_c = tr A_c.

Memory: 4·D² bytes per group of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.curvature.inverses import Inverse, alike
from crosshead.curvature.row_sampling import inclusion_probabilities, row_slices
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.engines.row_subset import RowSubset, is_sparse
from crosshead.losses.protocol import Array, Float, QuadraticLoss

UNIFORM = 0.1  # share of the inclusion probabilities that is independent of the curvature
ALIKE_SIZES = 16.0  # largest ratio of s_c in a group: beyond, α would be scaled too differently
MAX_COMPARED = 2048  # classes compared pairwise
MAX_EXCESS = 0.9  # of an inverse from few rows
BLOCK_BYTES = 1 << 18
TINY = float(np.finfo(np.float64).tiny)


@final
@dataclass(frozen=True)
class ClassBlocks:
    """Inverses of the blocks of groups of classes; the classes of a group differ in ``size`` only.

    * ``groups``: the classes of each, and the inverse of A_g + αI for a class of size 1, or None
    * ``size`` (C,): s_c relative to the group's, with the correction for subsampling
    * ``mean`` (C, D): x̄_c; zeros without an intercept
    * ``total`` (C,): Σ sᵢ (Hᵢ)_cc, the curvature of the bias
    """

    groups: Sequence[tuple[Array, Inverse | None]]
    size: Float
    mean: Float
    total: Float
    fit_intercept: bool
    shift_invariant: bool

    def precondition(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """Approximately apply (∇²F)⁻¹ to a gradient (C, D), (C,)."""
        if self.shift_invariant:
            weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
        right = weight - bias[:, None] * self.mean if self.fit_intercept else weight
        step = np.empty_like(right)
        for classes, inverse in self.groups:
            found = right[classes] if inverse is None else inverse.apply(right[classes])
            step[classes] = found / self.size[classes, None]
        shift = np.zeros_like(bias)
        if self.fit_intercept:
            np.divide(bias, self.total, out=shift, where=self.total > 0)
            shift -= np.einsum("cd,cd->c", step, self.mean)
        if self.shift_invariant:
            step -= step.mean(axis=0)
            shift -= shift.mean()
        return step, shift


def build_blocks(
    engine: Engine,
    quadratic: QuadraticLoss,
    coefficients: Array,
    leverage: Array,
    *,
    groups: int,
    rows: int,
    l2_weight: float,
    fit_intercept: bool,
    shift_invariant: bool,
    seed: int,
) -> ClassBlocks:
    """Build the blocks from second-order ``coefficients`` (N, C) of an engine's rows, for about ``groups`` groups.

    Each is summed over about ``rows`` rows.
    """
    data = engine.data
    own = _OwnCurvature(quadratic, coefficients, quadratic.row_totals(coefficients), data)
    random = np.random.default_rng(seed)
    found: list[tuple[Array, Inverse | None]] = []
    size, mean = np.ones(data.n_classes), np.zeros((data.n_classes, data.n_features))
    total = np.zeros(data.n_classes)
    for classes in _grouped(data, own, groups):
        drawn = _subsample(own, classes, leverage, rows, random)
        total[classes] = drawn.total
        sums = _moments(engine, drawn.rows, drawn.weight, fit_intercept)
        mean[classes] = sums.mean
        for part in alike(np.maximum(sums.size, TINY), ALIKE_SIZES):
            middle = float(np.exp(np.log(np.maximum(sums.size[part], TINY)).mean()))
            largest = float(sums.size.sum())
            block = sums.gram * (middle / largest if largest > 0 else 0.0)
            inverse = Inverse.of(block, l2_weight)
            found.append((classes[part], inverse))
            excess = 0.0 if inverse is None else min(inverse.freedom / drawn.count, MAX_EXCESS)
            size[classes[part]] = np.maximum(sums.size[part], TINY) / (middle * (1 - excess))
    return ClassBlocks(found, size, mean, total, fit_intercept, shift_invariant)


@dataclass(frozen=True)
class _OwnCurvature:
    """sᵢ (Hᵢ)_cc of rows and classes, computed one block of rows at a time to bound the memory."""

    quadratic: QuadraticLoss
    coefficients: Array
    totals: Array
    data: TrainingData

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C)."""
        return self.coefficients.shape

    def of(self, rows: Any, classes: Array | slice) -> Array:
        """The values for some rows and classes, (n, k)."""
        chosen = self.coefficients[rows]
        own = self.quadratic.own_curvature(chosen[:, classes], self.totals[rows])
        weight = self.data.sample_weight
        if weight is not None:
            own *= weight[rows, None].astype(own.dtype)
        own /= self.data.total_weight
        return own

    def blocks(self, classes: Array | slice) -> Iterator[tuple[slice, Array]]:
        """The values for all rows, block by block."""
        step = max(1, BLOCK_BYTES // (self.coefficients.itemsize * self.shape[1]))
        for first in range(0, self.shape[0], step):
            rows = slice(first, first + step)
            yield rows, self.of(rows, classes)


@dataclass(frozen=True)
class _Moments:
    """Σ vᵢ_c (xᵢ − x̄_c)(xᵢ − x̄_c)ᵀ over some classes, (D, D); the mean (k, D) and the trace (k,) of each."""

    gram: Float
    mean: Float
    size: Float


def _moments(engine: Engine, rows: Array, weight: Float, fit_intercept: bool) -> _Moments:
    """Compute the moments over some of the engine's rows with weights (n, k) for each class."""
    chosen = RowSubset.of(engine.data.features, rows)
    count, columns = weight.shape[1], chosen.shape[1]
    sums, norms = np.zeros((count, columns)), np.zeros(len(rows))
    step = TrainingData(chosen, np.zeros(len(rows), dtype=np.int32), 1).rows_in(BLOCK_BYTES)
    single = weight.astype(chosen.dtype)
    gram = np.zeros((columns, columns)) if is_sparse(chosen) else None
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        block = chosen[part]
        sums += np.asarray(single[part].T @ block, dtype=np.float64)
        if gram is None:
            norms[part] = np.einsum("ij,ij->i", block, block)
        else:
            norms[part] = np.asarray(block.multiply(block).sum(axis=1)).ravel()
            gram += (block.T @ block.multiply(single[part].sum(axis=1)[:, None])).toarray()
    if gram is None:
        gram = engine.gram(chosen, weight.sum(axis=1))
    total = weight.sum(axis=0)
    mean = np.zeros_like(sums)
    size = norms @ weight
    if fit_intercept:
        np.divide(sums, total[:, None], out=mean, where=total[:, None] > 0)
        gram -= (mean * total[:, None]).T @ mean
        size -= total * np.einsum("cd,cd->c", mean, mean)
    diagonal = np.einsum("ii->i", gram)  # a view
    np.maximum(diagonal, 0.0, out=diagonal)
    return _Moments(gram, mean, np.maximum(size, 0.0))


@dataclass(frozen=True)
class _Subsample:
    """The ``rows`` subsampled for some classes, with their weights.

    * ``weight`` (n, k): sums with it are unbiased; ``total`` (k,): the classes' curvatures, summed over all rows
    * ``count``: the effective number of rows, infinite if all rows are included
    """

    rows: Array
    weight: Float
    total: Float
    count: float


def _subsample(
    own: _OwnCurvature, classes: Array, leverage: Array, count: int, random: np.random.Generator
) -> _Subsample:
    """Draw about ``count`` rows by their curvature in some classes and by leverage (N,)."""
    # Probabilities need not be exact, and there is one per row: single precision suffices.
    sums, part = np.zeros(len(classes)), np.empty(own.shape[0], dtype=np.float32)
    for rows, block in own.blocks(classes):
        sums += block.sum(axis=0, dtype=np.float64)
        part[rows] = block.sum(axis=1, dtype=np.float64) * leverage[rows]
    if own.shape[0] <= count:
        return _Subsample(np.arange(len(part)), own.of(slice(None), classes).astype(np.float64), sums, np.inf)
    part /= max(float(part.sum(dtype=np.float64)), TINY)
    chance = part * np.float32(1 - UNIFORM)
    chance[part > 0] += np.float32(UNIFORM / max(1, int((part > 0).sum())))
    chance = inclusion_probabilities(chance, count)
    drawn = np.flatnonzero(random.random(len(chance), dtype=np.float32) < chance)
    missed = 0.0  # the variance of the sum of parts
    for rows in row_slices(len(chance)):
        own_part, own_chance = part[rows].astype(np.float64), chance[rows].astype(np.float64)
        left = np.divide(1 - own_chance, own_chance, out=np.zeros_like(own_chance), where=own_chance > 0)
        missed += float((own_part**2) @ left)
    weight = own.of(drawn, classes) / chance[drawn, None].astype(np.float64)
    return _Subsample(drawn, weight, sums, 1 / missed if missed > 0 else np.inf)


def _grouped(data: TrainingData, own: _OwnCurvature, groups: int) -> list[Array]:
    """Group classes with similar mean features under their curvature."""
    classes = own.shape[1]
    if groups >= classes:
        return [np.array([c]) for c in range(classes)]
    if groups <= 1 or classes > MAX_COMPARED:
        return [np.arange(classes)]
    from scipy.cluster import hierarchy  # uses some megabytes that most fits do not need

    sums, total = np.zeros((classes, data.n_features)), np.zeros(classes)
    for rows, block in own.blocks(slice(None)):
        sums += np.asarray(block.T.astype(data.features.dtype) @ data.features[rows], dtype=np.float64)
        total += block.sum(axis=0, dtype=np.float64)
    mean = np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0)
    label = hierarchy.fcluster(hierarchy.linkage(mean, "ward"), groups, "maxclust")
    return [np.flatnonzero(label == group) for group in np.unique(label)]
