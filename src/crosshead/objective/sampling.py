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

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Curvature, Float, Loss, QuadraticLoss

POOL_SCORES = 1 << 23  # at most so many scores are looked at; of more rows a part is drawn first
BLOCK_SCORES = 1 << 16
LEAST_SHARE = 1e-3  # of the mean chance, for every row: an unbiased sum needs all to have one
SIGNS = 8  # random projections that estimate a row's norm: a chance need not be exact
VARIANCE_BYTES = 1 << 17
CHANCE_STEPS = 8


@final
@dataclass(frozen=True)
class CurvedSample:
    """Rows, their share sᵢ/chance in the mean over all rows (n,), and their curvature there.

    ``quadratic`` and ``coefficients`` (n, C) are the loss's second-order model, where it has one.
    """

    features: Any
    weight: Float
    curvature: Curvature
    quadratic: QuadraticLoss | None
    coefficients: Float | None


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
        return data.take(positive)

    @cached_property
    def center(self) -> Float:
        """x̄ over all rows, (D,)."""
        return _mean(self._engine.data, lambda block: block.features)

    @cached_property
    def variance(self) -> Float:
        """The features' variances over all rows, (D,)."""
        return np.maximum(_mean(self._engine.data, lambda block: _squared(block.features)) - self.center**2, 0.0)

    def draw(self, loss: Loss, weight: Float, bias: Float, count: int, share: float) -> CurvedSample:
        """About ``count`` rows by their curvature at W (C, D), b (C,), of which ``share`` is that at zero scores."""
        pool = self.pool
        total = pool.total_weight
        if pool.n_rows <= count:
            return _described(loss, pool, pool.weights / total, self._scores(pool, weight, bias), share)
        chance = self._chances(loss, weight, bias, count, share)
        self._draws += 1
        drawn = np.flatnonzero(np.random.default_rng([self._seed, self._draws]).random(len(chance)) < chance)
        rows = pool.take(drawn)
        return _described(loss, rows, rows.weights / (total * chance[drawn]), self._scores(rows, weight, bias), share)

    def _chances(self, loss: Loss, weight: Float, bias: Float, count: int, share: float) -> Float:
        """min(1, c·qᵢ) with c such that they add up to ``count``."""
        wanted = self._leverage * self.pool.weights
        for part, scores in self._blocks(weight, bias):
            wanted[part] *= _traces(loss, scores, self.pool.target[part], share)
        wanted += LEAST_SHARE * float(wanted.mean()) + np.finfo(np.float64).tiny
        factor = count / float(wanted.sum())
        for _ in range(CHANCE_STEPS):  # what those at 1 do not use goes to the others
            factor *= count / float(np.minimum(1.0, factor * wanted).sum())
        return np.minimum(1.0, factor * wanted)

    @property
    def leverage(self) -> Float:
        """How far out each of all rows lies, (N,), estimated; 1 where only a part of the rows is looked at."""
        data = self._engine.data
        return self._leverage if self.pool is data else np.ones(data.n_rows)

    @cached_property
    def _leverage(self) -> Float:
        """‖xᵢ − x̄‖²_V / D of each row of the pool, estimated by random signs, and a little for every row."""
        usable = self.variance > 0
        signs = np.random.default_rng(self._seed).choice([-1.0, 1.0], size=(SIGNS, len(usable)))
        signs[:, usable] /= np.sqrt(self.variance[usable])
        signs[:, ~usable] = 0.0
        leverage = np.full(self.pool.n_rows, 0.1)
        for part, found in self._blocks(signs, -signs @ self.center):
            leverage[part] += (found.astype(np.float64) ** 2).mean(axis=1) / max(1, int(usable.sum()))
        return leverage

    def _blocks(self, weight: Float, bias: Float) -> Iterator[tuple[slice, Array]]:
        """Slices of the pool's rows with their scores."""
        engine = self._engine if self.pool is self._engine.data else self._engine.over(self.pool)
        step = max(1, BLOCK_SCORES // len(bias))
        for first in range(0, self.pool.n_rows, step):
            last = min(first + step, self.pool.n_rows)
            yield slice(first, last), engine.scores(weight, bias, first, last)

    def _scores(self, rows: TrainingData, weight: Float, bias: Float) -> Array:
        return self._engine.over(rows).scores(weight, bias, 0, rows.n_rows)


def _described(loss: Loss, rows: TrainingData, weight: Float, scores: Array, share: float) -> CurvedSample:
    quadratic, coefficients, curvature = _curvature(loss, scores, rows.target, weight, share)
    return CurvedSample(rows.features, weight, curvature, quadratic, coefficients)


def _curvature(
    loss: Loss, scores: Array, target: Array, weight: Float, share: float
) -> tuple[QuadraticLoss | None, Float | None, Curvature]:
    """The loss's model at the scores, if it has one, and the curvature with that of the origin mixed in."""
    model = loss.quadratic(scores, target, share)
    if model is not None:
        quadratic, coefficients = model
        return quadratic, coefficients, quadratic.curvature(coefficients, weight)
    here = loss.curvature(scores, target, weight)
    origin = loss.curvature(np.zeros_like(scores), target, weight)
    mixed = Curvature(here.classes + share * origin.classes, here.rows + share * origin.rows)
    return None, None, mixed


def _traces(loss: Loss, scores: Array, target: Array, share: float) -> Float:
    """The traces of that curvature alone, which cost no product of classes with classes, (n,)."""
    model = loss.quadratic(scores, target, share)
    if model is not None:
        return model[0].traces(model[1])
    return _curvature(loss, scores, target, np.zeros(len(scores)), share)[2].rows


def _mean(data: TrainingData, values: Any) -> Float:
    """The weighted mean of some function of the features, (D,)."""
    total = np.zeros(data.n_features)
    step = data.rows_in(VARIANCE_BYTES)
    for first in range(0, data.n_rows, step):
        block = data.block(first, first + step)
        total += np.asarray(block.weights.astype(block.features.dtype) @ values(block), dtype=np.float64).ravel()
    return total / data.total_weight


def _squared(features: Any) -> Any:
    return features * features if isinstance(features, np.ndarray) else features.multiply(features)
