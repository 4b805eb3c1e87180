"""Folds of a cross-validation as row weights over the same features, and their regularisation paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from crosshead.engines import TrainingData
from crosshead.linear.path import SolvedPath
from crosshead.linear.path_measures import PathMeasures, measure_path
from crosshead.linear.path_solver import PathSolver, Point
from crosshead.linear.validation import Prepared, prepare
from crosshead.losses.protocol import Array, Float

BATCH_BYTES = 1 << 26  # of a fold's weights that are measured together


@dataclass(frozen=True)
class Fold:
    """Rows to train on, as weights over all rows, and the held-out rows (n,)."""

    training: Prepared
    held_out: Array


@dataclass(frozen=True)
class FoldOutcome:
    """Measures of one fold's models on its held-out rows, with their certificates and costs, (A,) each."""

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
    """Make folds from a number, a scikit-learn splitter or an iterable of (training rows, held-out rows).

    ``classes`` are those of the fit on all rows; ``groups`` (N,) are passed to the splitter. A row that is left out has
    weight 0 and one that occurs k times has k times its weight, which is equivalent to indexing X without copying it.
    Raises ValueError if a class has no training row in some fold.
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
        raise ValueError(f"cv has no folds: {cv!r}")
    return folds


def measured_weight(y: Array, sample_weight: Float | None, classes: Array) -> Float | None:
    """The weights of rows in measures, (N,) or None for ones; rows of unknown classes have weight 0."""
    if y.ndim == 2:
        return sample_weight
    known = np.isin(y, classes)
    if known.all():
        return sample_weight
    return known.astype(np.float64) if sample_weight is None else sample_weight * known


def run_fold(fold: Fold, scored: TrainingData, solved: SolvedPath, deadline: float | None = None) -> FoldOutcome:
    """Solve the path of one fold at the alphas of all rows, until ``deadline`` (`time.perf_counter`), and measure it.

    ``scored`` has all rows with their weights in the measures. The fold reuses the curvature estimates of the path over
    all rows, and is guided by its solutions.
    """
    own = replace(solved.options, deadline=deadline)
    walk = PathSolver(
        fold.training.data, own, reduction=solved.reduction, estimates=solved.estimates, guide=solved.points
    )
    points, measures = [], []
    for batch in _batches(walk.solve(alpha) for alpha in solved.path.alphas.tolist()):
        coef, intercepts = np.stack([p.weight for p in batch]), np.stack([p.bias for p in batch])
        options = solved.options
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
