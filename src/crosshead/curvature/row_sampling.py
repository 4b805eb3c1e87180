"""Subsampling of rows in proportion to their contribution to the Hessian, with weights that keep sums unbiased.

At a good point most rows are fitted and have hardly any curvature; a uniform sample would consist of them. Drawing row
i with a probability proportional to

    qᵢ = tr Hᵢ · ‖xᵢ − x̄‖²_V,    V = diag(1/variance of each feature),

keeps the rows that matter, in particular those with rare features (leverage: Drineas, Mahoney and Muthukrishnan, SIAM
Journal on Matrix Analysis 30, 2008). Rows with probability 1 are all included, with their own weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from crosshead.curvature.kronecker import DENSE_CLASSES
from crosshead.engines.data import TrainingData
from crosshead.engines.moments import column_sums, squares
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Curvature, Float, Loss, QuadraticLoss

POOL_SCORES = 1 << 23  # limit of scores computed for a subsample; with more rows, a uniform sample is drawn first
BLOCK_SCORES = 1 << 15
ROWS_AT_ONCE = 1 << 14
PROBABILITY_STEPS = 8
MIN_SHARE = 1e-3  # of the mean probability, as the minimum of every row's: an unbiased sum needs it to be positive
SIGNS = 8  # random projections that estimate a row's norm: probabilities need not be exact


@final
@dataclass(frozen=True)
class CurvedSample:
    """Subsampled rows (not copied), their weights sᵢ/probability in the mean over all rows (n,), and their curvature.

    ``quadratic`` and ``coefficients`` (n, C) are the second-order model of the loss, if it has one. With more than
    `DENSE_CLASSES` classes the curvature has the diagonal only.
    """

    features: Any
    weight: Float
    curvature: Curvature
    quadratic: QuadraticLoss | None
    coefficients: Array | None


@final
class RowSampler:
    """Subsamples rows of an engine's data by their curvature at a point; what depends on features is cached."""

    def __init__(self, engine: Engine, n_classes: int, seed: int) -> None:
        self._engine, self._classes, self._seed = engine, n_classes, seed
        self._draws = 0

    @cached_property
    def pool(self) -> TrainingData:
        """All rows of positive weight, or a uniform sample of them if their scores would be too many."""
        data = self._engine.data
        positive = np.flatnonzero(data.weights > 0)
        count = max(256, POOL_SCORES // self._classes)
        if len(positive) == data.n_rows <= count:
            return data
        if len(positive) > count:
            positive = np.sort(np.random.default_rng(self._seed).choice(positive, size=count, replace=False))
        return data.subset(positive)

    @cached_property
    def center(self) -> Float:
        """x̄ over all rows, (D,)."""
        data = self._engine.data
        return column_sums(data.features, data.weights) / data.total_weight

    @cached_property
    def variance(self) -> Float:
        """The features' variances over all rows, (D,)."""
        data = self._engine.data
        means = column_sums(data.features, data.weights, squares) / data.total_weight
        return np.maximum(means - self.center**2, 0.0)

    def draw(self, loss: Loss, weight: Float, bias: Float, count: int, share: float) -> CurvedSample:
        """Draw about ``count`` rows by their curvature at W (C, D), b (C,), mixed with a share of that at zero."""
        pool = self.pool
        total = pool.total_weight
        if pool.n_rows <= count:
            return self._described(loss, pool, pool.weights / total, weight, bias, share)
        chance = self._probabilities(loss, weight, bias, count, share)
        self._draws += 1
        drawn = np.flatnonzero(np.random.default_rng([self._seed, self._draws]).random(len(chance)) < chance)
        rows = pool.subset(drawn)
        return self._described(loss, rows, rows.weights / (total * chance[drawn]), weight, bias, share)

    def _probabilities(self, loss: Loss, weight: Float, bias: Float, count: int, share: float) -> Float:
        """min(1, c·qᵢ) with c such that the sum is ``count``."""
        wanted = self._leverage * self.pool.weights
        for part, scores in self._blocks(weight, bias):
            wanted[part] *= _traces(loss, scores, self.pool.target[part], share)
        wanted += MIN_SHARE * float(wanted.mean()) + np.finfo(np.float64).tiny
        return inclusion_probabilities(wanted, count)

    @property
    def leverage(self) -> Array:
        """Estimated leverage of all rows, (N,); 1 if only a sample of the rows is considered."""
        data = self._engine.data
        return self._leverage if self.pool is data else np.ones(data.n_rows, dtype=np.float32)

    @cached_property
    def _leverage(self) -> Array:
        """‖xᵢ − x̄‖²_V / D of each row of the pool, estimated by random signs, plus a small constant."""
        usable = self.variance > 0
        signs = np.random.default_rng(self._seed).choice([-1.0, 1.0], size=(SIGNS, len(usable)))
        signs[:, usable] /= np.sqrt(self.variance[usable])
        signs[:, ~usable] = 0.0
        leverage = np.full(self.pool.n_rows, 0.1, dtype=np.float32)
        for part, found in self._blocks(signs, -signs @ self.center):
            leverage[part] += np.einsum("ij,ij->i", found, found, dtype=np.float64) / (
                SIGNS * max(1, int(usable.sum()))
            )
        return leverage

    def _blocks(self, weight: Float, bias: Float, rows: TrainingData | None = None) -> Iterator[tuple[slice, Array]]:
        """Slices of rows, by default of the pool, with their scores."""
        rows = self.pool if rows is None else rows
        engine = self._engine if rows is self._engine.data else self._engine.over(rows)
        step = max(1, BLOCK_SCORES // len(bias))
        for first in range(0, rows.n_rows, step):
            last = min(first + step, rows.n_rows)
            yield slice(first, last), engine.scores(weight, bias, first, last)

    def _described(
        self, loss: Loss, rows: TrainingData, shares: Float, weight: Float, bias: Float, share: float
    ) -> CurvedSample:
        """Rows with their model, computed block by block, with coefficients in the dtype of the features."""
        classes = len(bias)
        dense = classes <= DENSE_CLASSES
        total, traces = np.zeros((classes, classes) if dense else classes), np.empty(rows.n_rows)
        quadratic: QuadraticLoss | None = None
        kept: Array | None = None
        for part, scores in self._blocks(weight, bias, rows):
            quadratic, coefficients, found = _curvature(loss, scores, rows.target[part], shares[part], share, dense)
            total += found.classes
            traces[part] = found.rows
            if coefficients is not None:
                kept = np.empty((rows.n_rows, classes), dtype=rows.features.dtype) if kept is None else kept
                kept[part] = coefficients
        return CurvedSample(rows.features, shares, Curvature(total, traces), quadratic, kept)


def _curvature(
    loss: Loss, scores: Array, target: Array, weight: Float, share: float, dense: bool
) -> tuple[QuadraticLoss | None, Float | None, Curvature]:
    """The second-order model at the scores, if there is one, and the curvature mixed with that at zero scores.

    If not ``dense``, only the diagonal of the classes' curvature is computed.
    """
    model = loss.quadratic(scores, target, share)
    if model is not None:
        quadratic, coefficients = model
        if dense:
            return quadratic, coefficients, quadratic.curvature(coefficients, weight)
        return quadratic, coefficients, quadratic.diagonal(coefficients, weight)
    here = loss.curvature(scores, target, weight)
    origin = loss.curvature(np.zeros_like(scores), target, weight)
    classes = here.classes + share * origin.classes
    return None, None, Curvature(classes if dense else np.diag(classes), here.rows + share * origin.rows)


def _traces(loss: Loss, scores: Array, target: Array, share: float) -> Float:
    """The traces of that curvature only, which need no products of classes with classes, (n,)."""
    model = loss.quadratic(scores, target, share)
    if model is not None:
        return model[0].traces(model[1])
    return _curvature(loss, scores, target, np.zeros(len(scores)), share, True)[2].rows


def inclusion_probabilities(sizes: Array, count: int) -> Array:
    """min(1, c·sizes) with c such that the sum is about ``count``, (N,).

    ``sizes`` (N,) ≥ 0 is overwritten.

    Example:
        >>> inclusion_probabilities(np.array([1.0, 1.0, 8.0]), 2).round(2)
        array([0.5, 0.5, 1. ])
    """
    total = float(sizes.sum(dtype=np.float64))
    factor = count / total if total > 0 else 0.0
    for _ in range(PROBABILITY_STEPS):  # the excess of those above 1 is distributed to the others
        reached = sum(float(np.minimum(1.0, factor * sizes[rows]).sum()) for rows in row_slices(len(sizes)))
        if reached <= 0:
            break
        factor *= count / reached
    sizes *= sizes.dtype.type(factor)
    return np.minimum(sizes, 1.0, out=sizes)


def row_slices(count: int) -> Iterator[slice]:
    """Slices of ``count`` rows, to avoid temporary arrays as long as a column of X."""
    for first in range(0, count, ROWS_AT_ONCE):
        yield slice(first, first + ROWS_AT_ONCE)
