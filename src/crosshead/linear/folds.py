"""Folds of a cross-validation as row weights over the same features, and their walks along a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from crosshead.engines import TrainingData
from crosshead.linear.path import Walked
from crosshead.linear.path_measures import PathMeasures, measure_path
from crosshead.linear.path_solver import Point, Walk
from crosshead.linear.validation import Prepared, prepare
from crosshead.losses.protocol import Array, Float

BATCH_BYTES = 1 << 26  # weights of a fold that wait to be measured together


@dataclass(frozen=True)
class Fold:
    """Rows to train on, as weights over all rows, and the held-out rows (n,)."""

    training: Prepared
    held_out: Array


@dataclass(frozen=True)
class FoldOutcome:
    """How one fold's models do on its held-out rows, (A,) each, and what certifies and costs them."""

    measures: PathMeasures
    gap: Float
    status: tuple[str, ...]
    passes: Array


def make_folds(
    cv: Any,
    X: Any,
    y: Array,
    sample_weight: Float | None,
    class_weight: Mapping[Any, float] | str | None,
    *,
    classes: Array,
    groups: Any = None,
) -> list[Fold]:
    """The folds of a number, a scikit-learn splitter or an iterable of (training rows, held-out rows).

    ``classes`` are those of all rows' fit; ``groups`` (N,) go to the splitter. A row that is not trained on has weight
    0, one that is drawn k times k times its weight: exactly as if the rows had been taken out, without a copy of X.
    ValueError where a class has no training row in some fold.
    """
    own = measured_weight(y, sample_weight, classes)
    own = np.ones(len(y)) if own is None else own
    folds = []
    for number, (train, test) in enumerate(check_cv(cv, y, classifier=True).split(X, y, groups), start=1):
        counts = np.bincount(np.arange(len(y))[train], minlength=len(y))
        held_out = np.arange(len(y))[test]
        if not (own * counts > 0).any() or not (own[held_out] > 0).any():
            raise ValueError(f"fold {number} has no rows to {'measure' if counts.any() else 'train'} on")
        training = prepare(X, y, own * counts, class_weight)
        missing = np.setdiff1d(classes, training.classes)
        if missing.size:
            raise ValueError(
                f"fold {number} has no training row of class {missing[0]}: give it more rows, or use fewer folds"
            )
        folds.append(Fold(training, held_out))
    if not folds:
        raise ValueError(f"cv holds no folds: {cv!r}")
    return folds


def measured_weight(y: Array, sample_weight: Float | None, classes: Array) -> Float | None:
    """The weights by which rows are measured, (N,) or None for ones; rows of no class count nothing."""
    if y.ndim == 2:
        return sample_weight
    known = np.isin(y, classes)
    if known.all():
        return sample_weight
    return known.astype(np.float64) if sample_weight is None else sample_weight * known


def run_fold(fold: Fold, scored: TrainingData, walked: Walked, deadline: float | None = None) -> FoldOutcome:
    """Walk one fold along the path of all rows, until a ``deadline`` of `time.perf_counter`, and measure it.

    ``scored`` are all rows with the weights they are measured by. The fold takes over the looks of all rows' fits, and
    is guided by their solutions.
    """
    own = replace(walked.options, deadline=deadline)
    walk = Walk(fold.training.data, own, reduction=walked.reduction, looks=walked.looks, guide=walked.points)
    points, measures = [], []
    for batch in _batches(walk.solve(alpha) for alpha in walked.path.alphas.tolist()):
        coef, intercepts = np.stack([p.weight for p in batch]), np.stack([p.bias for p in batch])
        options = walked.options
        measures.append(
            measure_path(
                options.loss,
                coef,
                intercepts,
                scored,
                fold.held_out,
                engine=options.engine,
                n_threads=options.n_threads,
            )
        )
        points += [(p.result.gap, p.result.status, p.passes) for p in batch]
    gap, status, passes = zip(*points, strict=True)
    return FoldOutcome(_joined(measures), np.array(gap), tuple(status), np.array(passes))


def _batches(points: Iterator[Point]) -> Iterator[list[Point]]:
    batch: list[Point] = []
    for point in points:
        batch.append(point)
        if len(batch) * point.weight.nbytes >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _joined(parts: list[PathMeasures]) -> PathMeasures:
    logs = [part.log_loss for part in parts if part.log_loss is not None]
    return PathMeasures(
        np.concatenate([part.loss for part in parts]),
        np.concatenate(logs) if logs else None,
        np.concatenate([part.error for part in parts]),
    )
