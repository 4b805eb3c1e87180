"""The reference implementation of an engine: NumPy in row blocks, float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from crosshead.data.memmap import check_mapped
from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent, ascend
from crosshead.engines.protocol import MovedSums, PassSums, ResidualMove
from crosshead.engines.row_subset import RowSubset
from crosshead.losses.protocol import Array, Float, Loss, PassLoss

BLOCK_BYTES = 1 << 25  # scores of one block


@final
@dataclass(frozen=True)
class ReferenceEngine:
    """The reference engine in NumPy: for each block of rows Z = X Wᵀ + b, losses and residuals R, then Rᵀ X.

    Examples
    --------
    >>> from crosshead.losses import Softmax
    >>> data = TrainingData(np.eye(2), np.array([0, 1], dtype=np.int32), 2)
    >>> sums = ReferenceEngine(data).evaluate(np.zeros((2, 2)), np.zeros(2), Softmax())
    >>> round(sums.loss, 4), sums.weight_gradient.tolist()
    (1.3863, [[-0.5, 0.5], [0.5, -0.5]])
    """

    data: TrainingData
    n_threads: int | None = None

    @property
    def name(self) -> str:
        """The engine's name."""
        return "reference"

    @property
    def coarse(self) -> None:
        """None: there are no coarser passes."""
        return None

    def over(self, data: TrainingData) -> ReferenceEngine:
        """Create the same engine over other rows."""
        return ReferenceEngine(data, self.n_threads)

    def inexact_over(self, data: TrainingData) -> ReferenceEngine:
        """Like `over`: passes of this engine are never rounded."""
        return self.over(data)

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss, *, exact: bool = True) -> PassSums:
        """One pass over the data, always in float64."""
        return self._summed(lambda first, block: _scores(block.features, weight, bias), len(bias), loss, True)

    def sum_scores(self, scores: Array, bias: Float, loss: PassLoss) -> PassSums:
        """Compute the sums at given scores (N, C) + b."""

        def score(first: int, block: TrainingData) -> Float:
            return scores[first : first + block.n_rows].astype(np.float64) + bias

        return self._summed(score, len(bias), loss, False)

    def _summed(
        self, score: Callable[[int, TrainingData], Float], classes: int, loss: PassLoss, gradient: bool
    ) -> PassSums:
        sharp = loss.smoothed(0.0)
        columns = self.data.n_features if gradient else 0
        sums = PassSums(0.0, 0.0, 0.0, np.zeros((classes, columns)), np.zeros(classes))
        step = max(1, BLOCK_BYTES // (8 * max(1, classes)))
        for first in range(0, self.data.n_rows, step):
            block = self.data.block(first, first + step)
            sums = _add_block(sums, block, score(first, block), loss, sharp, gradient)
            check_mapped(self.data.features)
        return sums

    def move_residuals(
        self, move: ResidualMove, weight: Float, bias: Float, loss: Loss, *, exact: bool = True
    ) -> MovedSums:
        """Update the residuals in one pass, in place."""
        dual = distance = travelled = 0.0
        gradient, total = np.zeros(weight.shape), np.zeros(len(bias))
        step = max(1, BLOCK_BYTES // (8 * max(1, len(bias))))
        for first in range(0, self.data.n_rows, step):
            block, kept = self.data.block(first, first + step), move.residual[first : first + step]
            before, s = kept.copy(), block.weights
            origin = before if move.anchor is None else move.anchor[first : first + step]
            scores = _scores(block.features, weight, bias)
            check_mapped(self.data.features)
            after = before.copy()
            known = np.flatnonzero(np.isfinite(scores).all(axis=1))
            target, q = block.target[known], np.full(len(known), move.curvature)
            after[known] = loss.dual_step(before[known], scores[known], target, q)
            kept[:] = after if move.anchor is None else move.share * (2 * after - before) + (1 - move.share) * origin
            value = float(s @ loss.conjugate(after, block.target))
            dual -= value if len(known) == len(scores) else np.nan
            distance += float(s @ np.square(after - before).sum(axis=1))
            travelled += float(s @ np.square(after - origin).sum(axis=1))
            after *= s[:, None]
            gradient += np.asarray(block.features.T @ after, dtype=np.float64).T
            total += after.sum(axis=0)
        return MovedSums(dual, distance, travelled, gradient, total)

    def scores(self, weight: Float, bias: Float, first: int, last: int, *, exact: bool = False) -> Array:
        """Scores of rows first … last − 1 in float64."""
        scores = _scores(self.data.features[first:last], weight, bias)
        check_mapped(self.data.features)
        return scores

    def gram(self, features: Array | RowSubset, row_weight: Float) -> Float:
        """Σ vᵢ xᵢ xᵢᵀ, (D, D)."""
        rows, columns = features.shape
        gram = np.zeros((columns, columns))
        step = max(1, BLOCK_BYTES // (8 * max(1, columns)))
        for first in range(0, rows, step):
            block = features[first : first + step]
            gram += (block * row_weight[first : first + step, None]).T @ block
            check_mapped(features)
        return gram

    @property
    def fast_sweeps(self) -> bool:
        """False: NumPy is slow row by row."""
        return False

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Run sweeps of dual coordinate ascent."""
        ascend(ascent, sweeps)
        check_mapped(ascent.data.features)


def _scores(features: Array, weight: Float, bias: Float) -> Float:
    if isinstance(features, np.ndarray):
        features = features.astype(np.float64, copy=False)
    return np.asarray(features @ weight.T + bias, dtype=np.float64)


def _add_block(
    sums: PassSums, block: TrainingData, scores: Float, loss: PassLoss, sharp: PassLoss, gradient: bool
) -> PassSums:
    surrogate, residual = loss.value_and_gradient(scores, block.target)
    exact = surrogate if sharp is loss else sharp.value(scores, block.target)
    dual = -sharp.conjugate(residual, block.target)
    s = block.weights
    residual = residual * s[:, None]
    weight_gradient = sums.weight_gradient
    if gradient:
        weight_gradient = weight_gradient + np.asarray(block.features.T @ residual, dtype=np.float64).T
    return PassSums(
        sums.loss + float(s @ exact),
        sums.surrogate + float(s @ surrogate),
        sums.dual + float(s @ dual),
        weight_gradient,
        sums.bias_gradient + residual.sum(axis=0),
    )
