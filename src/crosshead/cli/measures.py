"""How well a model does on labelled rows, computed in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.cli.errors import UsageError
from crosshead.data.dataset import Array
from crosshead.data.memmap import check_mapped, release
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.outputs import log_probabilities
from crosshead.evaluation.result import Evaluation
from crosshead.linear.prediction import score_blocks
from crosshead.losses import get_loss
from crosshead.losses.functions import softmax
from crosshead.losses.protocol import Loss
from crosshead.models import Model
from crosshead.scaling import Scaler

BLOCK_BYTES = 1 << 25
"""Features and scores of one block of rows; what is held at once does not grow with rows × classes."""


@dataclass(frozen=True)
class Computing:
    """What computes: the engine's name and the number of threads."""

    engine: str = "auto"
    n_threads: int | None = None


@dataclass(frozen=True)
class Measures:
    """The mean loss and the errors on labelled rows, as a whole and by class.

    ``class_rows`` and ``class_errors`` are (C,), counted by true class. ``cross_entropy`` is the mean −log p of the
    true class in nats, None where the model has no probabilities.
    """

    mean_loss: float
    cross_entropy: float | None
    class_rows: NDArray[np.int64]
    class_errors: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.class_rows.sum())

    @property
    def errors(self) -> int:
        """The number of rows predicted wrong."""
        return int(self.class_errors.sum())

    @property
    def error(self) -> float:
        """The share of rows predicted wrong."""
        return self.errors / self.rows


def model_loss(model: Model) -> Loss:
    """The loss a model was trained with."""
    return get_loss(model.loss, **model.loss_parameters)


def has_probabilities(model: Model) -> bool:
    """Whether the model's scores turn into probabilities: by its loss, or by a temperature."""
    return model.temperature is not None or model_loss(model).has_probabilities


def log_probabilities_of(model: Model, scores: Array) -> Array:
    """Log-probabilities (n, C) in nats of a model's scores."""
    return log_probabilities(model_loss(model), scores, model.temperature)


def probabilities_of(model: Model, scores: Array) -> Array:
    """Probabilities (n, C) of a model's scores: softmax(z/T) where it has a temperature T, else those of its loss."""
    if model.temperature is None:
        return model_loss(model).predict_proba(scores)
    return softmax(scores / model.temperature)


def scores_of(model: Model, features: Any, computing: Computing) -> Iterator[tuple[int, Array]]:
    """Yield (first row, scores (n, C)) for blocks of unscaled features, in order."""
    n_rows, n_features = features.shape
    step = max(1, BLOCK_BYTES // (8 * (n_features + len(model.bias))))
    weight, bias = model.weight.astype(np.float64), model.bias.astype(np.float64)
    for start in range(0, n_rows, step):
        block = features[start : start + step]
        if model.scaling.centre is not None and sparse.issparse(block):
            block = block.toarray()  # subtracting means fills every zero; a block at a time, that is no harm
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is named below
            block = model.scaling.apply(block)
        blocks = score_blocks(weight, bias, block, n_threads=computing.n_threads, engine=computing.engine)
        for first, scores in blocks:
            check_mapped(features)
            _check_scores(scores, start + first)
            yield start + first, scores
        release(features[start : start + step])


def _check_scores(scores: Array, first: int) -> None:
    """UsageError where a row's scores overflow: no class is the likeliest then."""
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        row = first + int(finite.argmin()) + 1
        raise UsageError(
            f"the scores of row {row} are beyond {scores.dtype}: its features are far larger than those of training; "
            "give them in the same unit"
        )


def fitted_scaler(scale: str, features: Any, source: str) -> Scaler:
    """The scaler of these features; UsageError where they cannot be scaled so."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return Scaler.fit(scale, features)  # type: ignore[arg-type]  # one of those known, or a ValueError
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error


def measure(model: Model, features: Any, target: NDArray[np.int32], computing: Computing) -> Measures:
    """Mean loss and errors of a model; ``target`` (N,) are indices of its classes."""
    loss, total, log_likelihood = model_loss(model), 0.0, 0.0
    wrong = np.zeros(target.size, dtype=bool)
    for first, scores in scores_of(model, features, computing):
        rows = slice(first, first + len(scores))
        scores = scores.astype(np.float64)
        total += float(loss.value(scores, target[rows]).sum())
        wrong[rows] = scores.argmax(axis=1) != target[rows]
        if has_probabilities(model):
            logs = log_probabilities_of(model, scores)
            log_likelihood += float(logs[np.arange(len(logs)), target[rows]].sum())
    n_classes = len(model.bias)
    return Measures(
        total / target.size,
        -log_likelihood / target.size if has_probabilities(model) else None,
        np.bincount(target, minlength=n_classes).astype(np.int64),
        np.bincount(target[wrong], minlength=n_classes).astype(np.int64),
    )


def evaluator_of(model: Model, n_rows: int, **options: Any) -> Evaluator:
    """The evaluator that blocks of the model's scores belong into."""
    return Evaluator(n_rows, model.classes, loss=model_loss(model), temperature=model.temperature, **options)


def evaluate_model(
    model: Model, features: Any, target: NDArray[np.int32], computing: Computing, **options: Any
) -> Evaluation:
    """Every measure of a model; ``target`` (N,) are indices of its classes, ``options`` those of `evaluate`."""
    evaluator = evaluator_of(model, target.size, **options)
    for first, scores in scores_of(model, features, computing):
        evaluator.add(scores, target[first : first + len(scores)])
    return evaluator.result()
