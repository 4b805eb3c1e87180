"""Rows that tell the curvature: drawn in proportion to how much each bends F, and weighted so that sums stay unbiased.

At a good point most rows are fitted and hardly curved; a uniform sample would consist of them. Drawing row i with a
chance in proportion to

    qᵢ = tr Hᵢ · ‖xᵢ − x̄‖²_V,    V = diag(1/variance of each feature),

keeps the rows that matter, and rows with rare features above all (leverage: Drineas, Mahoney and Muthukrishnan, SIAM
Journal on Matrix Analysis 30, 2008). Rows whose chance is 1 are all there, with their own weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from crosshead.curvature.inclusion_probabilities import chances
from crosshead.curvature.kronecker import DENSE_CLASSES
from crosshead.engines.column_sums import column_sums, squares
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Curvature, Float, Loss, QuadraticLoss

POOL_SCORES = 1 << 23  # at most so many scores are looked at; of more rows a part is drawn first
BLOCK_SCORES = 1 << 15
LEAST_SHARE = 1e-3  # of the mean chance, for every row: an unbiased sum needs all to have one
SIGNS = 8  # random projections that estimate a row's norm: a chance need not be exact


@final
@dataclass(frozen=True)
class CurvedSample:
    """Rows where they lie, their share sᵢ/chance in the mean over all rows (n,), and their curvature there.

    ``quadratic`` and ``coefficients`` (n, C) are the loss's second-order model, where it has one. Of more than
    `DENSE_CLASSES` classes the curvature has the diagonal alone.
    """

    features: Any
    weight: Float
    curvature: Curvature
    quadratic: QuadraticLoss | None
    coefficients: Array | None


@final
class RowSampler:
    """Draws rows of an engine's data by their curvature at a point. What depends on features alone is computed once."""

    def __init__(self, engine: Engine, n_classes: int, seed: int) -> None:
        self._engine, self._classes, self._seed = engine, n_classes, seed
        self._draws = 0

    @cached_property
    def pool(self) -> TrainingData:
        """All rows of positive weight; a uniform draw of them where their scores would be too many."""
        data = self._engine.data
        positive = np.flatnonzero(data.weights > 0)
        count = max(256, POOL_SCORES // self._classes)
        if len(positive) == data.n_rows <= count:
            return data
        if len(positive) > count:
            positive = np.sort(np.random.default_rng(self._seed).choice(positive, size=count, replace=False))
        return data.choose(positive)

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
        """About ``count`` rows by their curvature at W (C, D), b (C,), of which ``share`` is that at zero scores."""
        pool = self.pool
        total = pool.total_weight
        if pool.n_rows <= count:
            return self._described(loss, pool, pool.weights / total, weight, bias, share)
        chance = self._chances(loss, weight, bias, count, share)
        self._draws += 1
        drawn = np.flatnonzero(np.random.default_rng([self._seed, self._draws]).random(len(chance)) < chance)
        rows = pool.choose(drawn)
        return self._described(loss, rows, rows.weights / (total * chance[drawn]), weight, bias, share)

    def _chances(self, loss: Loss, weight: Float, bias: Float, count: int, share: float) -> Float:
        """min(1, c·qᵢ) with c such that they add up to ``count``."""
        wanted = self._leverage * self.pool.weights
        for part, scores in self._blocks(weight, bias):
            wanted[part] *= _traces(loss, scores, self.pool.target[part], share)
        wanted += LEAST_SHARE * float(wanted.mean()) + np.finfo(np.float64).tiny
        return chances(wanted, count)

    @property
    def leverage(self) -> Array:
        """How far out each of all rows lies, (N,), estimated; 1 where only a part of the rows is looked at."""
        data = self._engine.data
        return self._leverage if self.pool is data else np.ones(data.n_rows, dtype=np.float32)

    @cached_property
    def _leverage(self) -> Array:
        """‖xᵢ − x̄‖²_V / D of each row of the pool, estimated by random signs, and a little for every row."""
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
        """Slices of rows, else of the pool's, with their scores."""
        rows = self.pool if rows is None else rows
        engine = self._engine if rows is self._engine.data else self._engine.over(rows)
        step = max(1, BLOCK_SCORES // len(bias))
        for first in range(0, rows.n_rows, step):
            last = min(first + step, rows.n_rows)
            yield slice(first, last), engine.scores(weight, bias, first, last)

    def _described(
        self, loss: Loss, rows: TrainingData, shares: Float, weight: Float, bias: Float, share: float
    ) -> CurvedSample:
        """Rows with their model, block by block: only their coefficients are kept, in the features' own type."""
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
    """The loss's model at the scores, if it has one, and the curvature with that of the origin mixed in.

    Of the classes' curvature the diagonal alone where it is not to be ``dense``.
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
    """The traces of that curvature alone, which cost no product of classes with classes, (n,)."""
    model = loss.quadratic(scores, target, share)
    if model is not None:
        return model[0].traces(model[1])
    return _curvature(loss, scores, target, np.zeros(len(scores)), share, True)[2].rows
