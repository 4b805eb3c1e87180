"""Scores and predictions in row blocks, so that memory does not grow with N × C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from crosshead.engines import TrainingData, make_engine
from crosshead.losses.protocol import Array, Float

BLOCK_SCORES = 1 << 21  # scores of one block by default


def score_blocks(
    weight: Float,
    bias: Float,
    features: Any,
    *,
    block_rows: int | None = None,
    n_threads: int | None = None,
    engine: str = "auto",
) -> Iterator[tuple[int, Array]]:
    """Yield (first row, scores (n, C)) for blocks of rows of ``features`` (N, D), in order.

    ``weight`` is (C, D) and ``bias`` (C,). Scores have the dtype of the features, float32 or float64.

    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> [(first, scores.tolist()) for first, scores in score_blocks(np.eye(2), np.zeros(2), X, block_rows=1)]
    [(0, [[1.0, 2.0]]), (1, [[3.0, 4.0]])]
    """
    rows, classes = features.shape[0], len(bias)
    data = TrainingData(features, np.zeros(rows, dtype=np.int32), classes)
    runner = make_engine(engine, data, n_threads)
    step = block_rows or max(1, BLOCK_SCORES // max(1, classes))
    for first in range(0, rows, step):
        yield first, runner.scores(weight, bias, first, min(first + step, rows))


def all_scores(weight: Float, bias: Float, features: Any, **options: Any) -> Array:
    """Compute the scores of all rows, (N, C)."""
    out = np.empty((features.shape[0], len(bias)), dtype=features.dtype)
    for first, scores in score_blocks(weight, bias, features, **options):
        out[first : first + len(scores)] = scores
    return out


def predicted_indices(weight: Float, bias: Float, features: Any, **options: Any) -> Array:
    """The column of the highest score of each row, (N,); the first of equal ones."""
    out = np.empty(features.shape[0], dtype=np.intp)
    for first, scores in score_blocks(weight, bias, features, **options):
        out[first : first + len(scores)] = scores.argmax(axis=1)
    return out
