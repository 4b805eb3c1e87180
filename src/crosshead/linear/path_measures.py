"""Measures of all models of a path on the same rows, with the features read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.engines import TrainingData
from crosshead.linear.prediction import BLOCK_SCORES, score_blocks
from crosshead.losses.protocol import Array, Float, Loss

BLOCK_ELEMENTS = 1 << 22  # features copied at a time
SMALLEST = float(np.finfo(np.float64).tiny)  # a probability of 0 costs 708 nats instead of infinitely many


@dataclass(frozen=True)
class PathMeasures:
    """Weighted means over the same rows for each of A models, (A,) each.

    ``loss`` is the training loss; ``log_loss`` −log p of the true class in nats, None without a probability model;
    ``error`` the share of rows predicted wrongly.
    """

    loss: Float
    log_loss: Float | None
    error: Float


def measure_path(
    loss: Loss,
    coef: Float,
    intercepts: Float,
    data: TrainingData,
    rows: Array | None = None,
    *,
    engine: str = "auto",
    n_threads: int | None = None,
) -> PathMeasures:
    """Compute losses and errors of W (A, C, D), b (A, C) on the given rows of ``data``, by default all.

    Features are read once, a block of rows at a time, and never copied whole.
    """
    models, classes, width = coef.shape
    chosen = np.arange(data.n_rows) if rows is None else np.asarray(rows)
    step = max(1, min(BLOCK_ELEMENTS // max(1, width), BLOCK_SCORES // max(1, classes)))
    sums, total = np.zeros((3, models)), 0.0
    for first in range(0, len(chosen), step):
        block = data.block(first, first + step) if rows is None else data.take(chosen[first : first + step])
        total += float(block.weights.sum())
        for model in range(models):
            options: dict[str, Any] = {"block_rows": step, "n_threads": n_threads, "engine": engine}
            for _, scores in score_blocks(coef[model], intercepts[model], block.features, **options):
                sums[:, model] += _sums(loss, scores.astype(np.float64), block)
    means = sums / total
    return PathMeasures(means[0], means[1] if loss.has_probabilities else None, means[2])


def _sums(loss: Loss, scores: Float, block: TrainingData) -> tuple[float, float, float]:
    """Weighted sums of the loss, −log p and errors over one block."""
    s, target = block.weights, block.target
    labels = target if target.ndim == 1 else target.argmax(axis=1)
    log_loss = 0.0
    if loss.has_probabilities:
        logs = -np.log(np.maximum(loss.predict_proba(scores), SMALLEST))
        own = logs[np.arange(len(s)), labels] if target.ndim == 1 else (target * logs).sum(axis=1)
        log_loss = float(s @ own)
    wrong = scores.argmax(axis=1) != labels
    return float(s @ loss.value(scores, target)), log_loss, float(s @ wrong)
