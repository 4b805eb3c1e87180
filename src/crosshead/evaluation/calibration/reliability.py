"""Reliability tables and calibration errors.

A prediction's confidence is its highest probability. Rows are binned by confidence; in each bin the mean confidence is
compared with the accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.metrics.row_outcomes import Outcomes
from crosshead.losses.protocol import Array, Float

Strategy = Literal["uniform", "quantile"]

EXACT_ROWS = 1 << 18
"""Up to this many rows, bins of equal mass are exact; with more, they are made of cells of similar confidence."""

MAX_CLASSWISE = 10_000
"""With more classes, the calibration of each class is not computed."""

_CELLS = 1 << 15
CHANCE = 2  # the third stream of random numbers of a seed, after those of the bootstrap


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence and accuracy by bin, (B,) each.

    * ``lower``, ``upper``: a bin contains rows with lower < confidence ≤ upper. The first of equal-width bins also
      contains 0. For bins of equal mass they are the lowest and highest confidence in the bin, both included.
    * ``count``: rows; ``weight``: the sum of their sample weights
    * ``confidence``: mean confidence; ``accuracy``: share of correct predictions; NaN in an empty bin
    * ``noise``: the standard deviation of accuracy − confidence for calibrated predictions,
      √(Σ sᵢ² cᵢ(1 − cᵢ)) / Σ sᵢ; NaN in an empty bin

    Examples
    --------
    >>> from crosshead.evaluation import reliability
    >>> table = reliability([[0.9, 0.1], [0.7, 0.3], [1.0, 0.0]], [0, 1, 0], bins=2)
    >>> table.count.tolist(), round(table.ece, 4)
    ([0, 3], 0.2)
    """

    strategy: Strategy
    lower: Float
    upper: Float
    count: NDArray[np.int64]
    weight: Float
    confidence: Float
    accuracy: Float
    noise: Float

    @property
    def gap(self) -> Float:
        """Accuracy minus confidence, (B,); negative for overconfident predictions."""
        return self.accuracy - self.confidence

    @property
    def ece(self) -> float:
        """Expected calibration error Σ_b w_b/W · |accuracy_b − confidence_b| (Guo et al., ICML 2017)."""
        used = self.weight > 0
        return float(self.weight[used] @ np.abs(self.gap[used]) / self.weight.sum())

    @property
    def ece_of_noise(self) -> float:
        """The mean expected calibration error of calibrated predictions with these confidences.

        It is due to chance alone: Σ_b w_b/W · noise_b √(2/π), in the normal approximation.
        """
        used = self.weight > 0
        return float(self.weight[used] @ self.noise[used] / self.weight.sum() * np.sqrt(2 / np.pi))

    def ece_by_chance(self, share: float, draws: int, seed: int) -> float:
        """The quantile ``share`` of that error over ``draws`` seeded draws; see `ece_of_noise`."""
        used = self.weight > 0
        generator = np.random.Generator(np.random.Philox(key=[seed, CHANCE]))
        gaps = np.abs(generator.normal(size=(draws, int(used.sum()))))
        return float(np.quantile(gaps @ (self.weight * self.noise)[used] / self.weight.sum(), share))

    @property
    def mce(self) -> float:
        """Maximum calibration error max_b |accuracy_b − confidence_b| over the non-empty bins."""
        return float(np.abs(self.gap[self.weight > 0]).max())

    def to_rows(self) -> list[dict[str, Any]]:
        """Convert to one mapping per bin, in JSON types."""
        names = ("lower", "upper", "count", "weight", "confidence", "accuracy", "noise")
        columns = [getattr(self, name).tolist() for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, eq=False)
class ClasswiseCalibration:
    """The calibration error of each class's probability, in equal-width bins.

    ``ece`` (C,) is Σ_b w_b/W · |frequency_b − mean probability_b| of each class, over all rows; their mean is the
    classwise calibration error (Kull et al., NeurIPS 2019).

    Examples
    --------
    >>> from crosshead.evaluation import evaluate
    >>> evaluate([[0.75, 0.25]] * 4, [0, 0, 0, 1]).classwise.mean
    0.0
    """

    ece: Float

    @property
    def mean(self) -> float:
        """The mean over classes."""
        return float(self.ece.mean())


SUMS = 5
"""Sums over the rows of a bin: rows, weights, weighted numbers, weighted hits, variances by chance."""


def _columns(values: Array, hits: Array, weight: Array) -> tuple[Array, ...]:
    """The summands of each row, (n,)."""
    return np.ones(len(values)), weight, weight * values, weight * hits, weight * weight * values * (1 - values)


class EqualWidth:
    """Sums over equal-width bins of numbers in [0, 1]."""

    def __init__(self, bins: int, copies: int = 1) -> None:
        self.bins, self.copies = bins, copies
        self.edges = np.arange(bins + 1) / bins  # k/B correctly rounded, so that 0.07 equals 7/100
        self.sums = np.zeros((SUMS, copies * bins))

    def index(self, values: Array) -> NDArray[np.intp]:
        """The bin of each number: the first whose upper edge is not below it."""
        return np.searchsorted(self.edges[1:-1], values, side="left")

    def add(self, index: NDArray[np.intp], values: Array, hits: Array, weight: Array) -> None:
        """Add numbers (n,) with known bins."""
        for row, column in zip(self.sums, _columns(values, hits, weight), strict=True):
            row += np.bincount(index, column, minlength=len(row))

    def add_classes(self, values: Array, target: NDArray[np.intp], weight: Array) -> None:
        """Add numbers (n, C), one per class, each class in its own copy of the bins."""
        index = self.index(values) + self.bins * np.arange(self.copies)
        flat = np.broadcast_to(weight[:, None], values.shape)
        hits = index[np.arange(len(target)), target]
        self.sums[1] += np.bincount(index.ravel(), flat.ravel(), minlength=self.sums.shape[1])
        self.sums[2] += np.bincount(index.ravel(), (flat * values).ravel(), minlength=self.sums.shape[1])
        self.sums[3] += np.bincount(hits, weight, minlength=self.sums.shape[1])

    def table(self) -> Reliability:
        """The reliability table of the one copy."""
        return _table("uniform", self.edges[:-1], self.edges[1:], self.sums)

    def classwise(self) -> ClasswiseCalibration:
        """The calibration error of each copy."""
        total = self.sums[1, : self.bins].sum()
        off = np.abs(self.sums[3] - self.sums[2]).reshape(self.copies, self.bins)
        return ClasswiseCalibration(off.sum(axis=1) / total)


class EqualMass:
    """Confidences and hits, stored exactly up to `EXACT_ROWS`, then in cells of similar confidence.

    A cell has the confidences whose distance from 1 has the same exponent and 8 bits: within 0.4 % of that distance.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self._rows: list[Float] = []
        self._held = 0
        self._cells: Float | None = None

    def add(self, values: Array, hits: Array, weight: Array) -> None:
        """Add rows (n,)."""
        block = np.stack([*_columns(values, hits, weight), values, values])
        if self._cells is None:
            self._rows.append(block)
            self._held += len(values)
            if self._held > EXACT_ROWS:
                limits = (np.full((1, _CELLS), 2.0), np.zeros((1, _CELLS)))
                self._cells = np.concatenate([np.zeros((SUMS, _CELLS)), *limits])
                for earlier in self._rows:
                    self._sort_in(earlier)
                self._rows = []
        else:
            self._sort_in(block)

    def _sort_in(self, block: Float) -> None:
        assert self._cells is not None
        rest = np.maximum(1 - block[SUMS], 0).astype(np.float32)
        cell = (rest.view(np.uint32) >> np.uint32(15)).astype(np.intp)  # bits of positive floats sort like the floats
        for sums, column in zip(self._cells[:SUMS], block[:SUMS], strict=True):
            np.add.at(sums, cell, column)
        np.minimum.at(self._cells[SUMS], cell, block[SUMS])
        np.maximum.at(self._cells[SUMS + 1], cell, block[SUMS + 1])

    def table(self) -> Reliability:
        """Bins of equal weight as far as ties allow, without empty bins."""
        cells = self._distinct()
        weight = cells[1]
        middle = np.cumsum(weight) - weight / 2
        number = np.minimum((self.bins * middle / weight.sum()).astype(np.intp), self.bins - 1)
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        sums = np.add.reduceat(cells[:SUMS], starts, axis=1)
        lower = np.minimum.reduceat(cells[SUMS], starts)
        upper = np.maximum.reduceat(cells[SUMS + 1], starts)
        return _table("quantile", lower, upper, sums)

    def _distinct(self) -> Float:
        """Cells sorted by confidence, equal confidences merged, (SUMS + 2, cells); none without weight."""
        if self._cells is not None:
            return self._cells[:, self._cells[1] > 0][:, ::-1]
        rows = np.concatenate(self._rows, axis=1)
        rows = rows[:, rows[1] > 0]
        rows = rows[:, np.argsort(rows[SUMS], kind="stable")]
        starts = np.flatnonzero(np.diff(rows[SUMS], prepend=-1.0))
        sums = np.add.reduceat(rows[:SUMS], starts, axis=1)
        return np.concatenate([sums, rows[SUMS:, starts]])


def _table(strategy: Strategy, lower: Float, upper: Float, sums: Float) -> Reliability:
    count, weight, values, hits, variance = sums
    empty, used = np.full(len(count), np.nan), weight > 0
    confidence = np.divide(values, weight, out=empty.copy(), where=used)
    accuracy = np.divide(hits, weight, out=empty.copy(), where=used)
    noise = np.divide(np.sqrt(np.maximum(variance, 0)), weight, out=empty.copy(), where=used)
    return Reliability(strategy, lower, upper, count.astype(np.int64), weight.copy(), confidence, accuracy, noise)


class RunningCalibration:
    """Accumulates calibration over blocks of rows."""

    def __init__(self, bins: int, n_classes: int) -> None:
        self.confidence, self.mass = EqualWidth(bins), EqualMass(bins)
        self.classes = EqualWidth(bins, n_classes) if n_classes <= MAX_CLASSWISE else None

    def add(self, found: Outcomes, p: Float, target: NDArray[np.intp], weight: Float) -> tuple[NDArray[np.intp], Float]:
        """Add rows; return the bin of each and its s (hit − confidence)."""
        assert found.confidence is not None
        hits = (~found.wrong).astype(np.float64)
        index = self.confidence.index(found.confidence)
        self.confidence.add(index, found.confidence, hits, weight)
        self.mass.add(found.confidence, hits, weight)
        if self.classes is not None:
            self.classes.add_classes(p, target, weight)
        return index, weight * (hits - found.confidence)

    def tables(self) -> tuple[Reliability, Reliability, ClasswiseCalibration | None]:
        """Bins of equal width, bins of equal mass, and class by class."""
        return (
            self.confidence.table(),
            self.mass.table(),
            None if self.classes is None else self.classes.classwise(),
        )
