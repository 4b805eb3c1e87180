"""Scores, classes and probabilities of a saved model, computed in blocks of rows.

X is features (N, D), not yet scaled, dense or SciPy CSR, possibly memory-mapped; or a `crosshead.data.Dataset`.
``engine`` and ``n_threads`` are those of `crosshead.LinearClassifier`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError
from crosshead.data.memmap import check_mapped, release
from crosshead.evaluation.outputs import log_probabilities
from crosshead.linear import prediction
from crosshead.losses import get_loss
from crosshead.losses.functions import softmax
from crosshead.losses.protocol import Loss
from crosshead.models.labels import as_dataset
from crosshead.models.model import Model

BLOCK_BYTES = 1 << 25
"""Features and scores of one block of rows; what is held at once does not grow with rows × classes."""


def score_blocks(
    model: Model, X: Any, *, engine: str = "auto", n_threads: int | None = None
) -> Iterator[tuple[int, Array]]:
    """Yield (first row, scores z = W x' + b (n, C)) for blocks of rows in order; x' are the features as scaled.

    Raises DataError where X has another number of features than the model, or scores overflow: no class is the
    likeliest then.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax")
    >>> [(first, scores.tolist()) for first, scores in score_blocks(model, [[1.0, 3.0], [2.0, 0.0]])]
    [(0, [[1.0, 3.0], [2.0, 0.0]])]
    """
    features = _features(model, X)
    n_rows, n_features = features.shape
    step = max(1, BLOCK_BYTES // (8 * (n_features + len(model.bias))))
    weight, bias = model.weight.astype(np.float64), model.bias.astype(np.float64)
    for start in range(0, n_rows, step):
        block = features[start : start + step]
        if model.scaling.centre is not None and sparse.issparse(block):
            block = block.toarray()  # subtracting means fills every zero; a block at a time, that is no harm
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is named below
            block = model.scaling.apply(block)
        for first, scores in prediction.score_blocks(weight, bias, block, n_threads=n_threads, engine=engine):
            check_mapped(features)
            _check_scores(scores, start + first)
            yield start + first, scores
        release(features[start : start + step])


def score(model: Model, X: Any, *, engine: str = "auto", n_threads: int | None = None) -> Array:
    """Scores (logits) z = W x' + b of every row, (N, C), in the features' own type; x' are the features as scaled.

    They are held all at once; `score_blocks` yields them block by block. Raises as `score_blocks` does.

    Examples
    --------
    >>> score(Model(np.eye(2), np.array([0.5, 0.0]), np.array(["no", "yes"]), "softmax"), [[1.0, 3.0]])
    array([[1.5, 3. ]])
    """
    blocks = [scores for _, scores in score_blocks(model, X, engine=engine, n_threads=n_threads)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(model.bias)))


def predict(model: Model, X: Any, *, engine: str = "auto", n_threads: int | None = None) -> Array:
    """The class with the highest score of each row, (N,); of equal scores the first. Memory does not grow with N × C.

    Examples
    --------
    >>> predict(Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "hinge"), [[1.0, 3.0], [2.0, 0.0]]).tolist()
    ['yes', 'no']
    """
    blocks = score_blocks(model, X, engine=engine, n_threads=n_threads)
    positions = [scores.argmax(axis=1) for _, scores in blocks]
    return model.classes[np.concatenate(positions) if positions else np.empty(0, dtype=np.intp)]


def predict_proba(model: Model, X: Any, *, engine: str = "auto", n_threads: int | None = None) -> Array:
    """Class probabilities of every row, (N, C): softmax(z/T) where the model has a temperature T, else its loss's.

    Raises ValueError where the model has no probabilities, see `has_probabilities`.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "hinge", temperature=2.0)
    >>> predict_proba(model, [[0.0, 2 * np.log(3)]]).round(4).tolist()
    [[0.25, 0.75]]
    """
    return probabilities_of(model, score(model, X, engine=engine, n_threads=n_threads))


def loss_of(model: Model) -> Loss:
    """The loss that a model was trained with.

    Examples
    --------
    >>> loss_of(Model(np.eye(2), np.zeros(2), np.array([0, 1]), "hinge", {"margin": 2.0}))
    Hinge(margin=2.0, smoothing=0.0)
    """
    return get_loss(model.loss, **model.loss_parameters)


def has_probabilities(model: Model) -> bool:
    """Whether the model's scores turn into probabilities: by its loss, or by a temperature.

    Examples
    --------
    >>> has_probabilities(Model(np.eye(2), np.zeros(2), np.array([0, 1]), "hinge"))
    False
    """
    return model.temperature is not None or loss_of(model).has_probabilities


def probabilities_of(model: Model, scores: Array) -> Array:
    """Probabilities (n, C) of a model's scores (n, C): softmax(z/T) with a temperature T, else those of its loss.

    Raises ValueError where the model has none.

    Examples
    --------
    >>> probabilities_of(Model(np.eye(2), np.zeros(2), np.array([0, 1]), "softmax"), np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    if not has_probabilities(model):
        raise ValueError(f"the loss {model.loss!r} has no probability model, and the model has no temperature")
    if model.temperature is None:
        return loss_of(model).predict_proba(scores)
    return softmax(scores / model.temperature)


def log_probabilities_of(model: Model, scores: Array) -> Array:
    """Logarithms (n, C) in nats of the probabilities of a model's scores (n, C), without forming these first.

    Examples
    --------
    >>> model = Model(np.eye(2), np.zeros(2), np.array([0, 1]), "softmax")
    >>> log_probabilities_of(model, np.array([[2000.0, 0.0]])).tolist()
    [[0.0, -2000.0]]
    """
    return log_probabilities(loss_of(model), scores, model.temperature)


def _features(model: Model, X: Any) -> Any:
    dataset = X if isinstance(X, Dataset) else as_dataset(X)
    expected = int(model.weight.shape[1])
    if dataset.n_features != expected:
        raise DataError(
            f"{dataset.source}: {dataset.n_features} features per row, but the model was trained on {expected}"
        )
    return dataset.features


def _check_scores(scores: Array, first: int) -> None:
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        row = first + int(finite.argmin()) + 1
        raise DataError(
            f"the scores of row {row} are beyond {scores.dtype}: its features are far larger than those of training; "
            "give them in the same unit"
        )
