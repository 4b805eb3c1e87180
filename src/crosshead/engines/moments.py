"""Weighted means of features and targets, and weighted sums over row blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.binary import Binary
from crosshead.losses.protocol import Float, Moments
from crosshead.losses.squared_error import SquaredError

SATURATING_SCORE = 1e4  # a score at which the sigmoid is exactly 0 or 1
MANY_CLASSES = 64  # with more, summing the rows of each class costs less than a pass over all classes
BLOCK_BYTES = 1 << 22
SUM_BYTES = 1 << 17


def weighted_moments(engine: Engine) -> Moments:
    """Means of targets, features and their products under the normalised row weights.

    The residual of the binary loss is σ(z) − y. At W = 0 and a bias of −10⁴ it is −y, at +10⁴ it is 1 − y, exactly;
    so a pass with an extra column of score +10⁴ that belongs to no class returns every sum wanted. Rows of targets may
    hold any numbers, which the squared error takes: its residual 2(z − y) is −2y at z = 0, and 1 − 2y at z = ½.
    """
    data = engine.data
    classes, total = data.n_classes, data.total_weight
    if data.target.ndim == 1 and classes > MANY_CLASSES:
        return _means_by_class(data)
    if data.target.ndim == 1:
        bias = np.append(np.full(classes, -SATURATING_SCORE), SATURATING_SCORE)
        sums = engine.evaluate(np.zeros((classes + 1, data.n_features)), bias, Binary())
        target, target_features = -sums.bias_gradient[:classes], sums.weight_gradient[:classes] / -total
        features = sums.weight_gradient[classes].copy()
    else:
        zero = np.zeros((classes, data.n_features))
        sums = engine.evaluate(zero, np.zeros(classes), SquaredError())
        shifted = engine.evaluate(zero, np.full(classes, 0.5), SquaredError())
        target, target_features = sums.bias_gradient / -2, sums.weight_gradient / (-2 * total)
        features = shifted.weight_gradient[0] - sums.weight_gradient[0]
    # + 0.0 turns the negative zero of a class without rows into a positive one.
    return Moments(target / total + 0.0, features / total, target_features)


def _means_by_class(data: TrainingData) -> Moments:
    """The same for class indices: each row is added to the sums of its class; −1 is no class."""
    share, classes = data.weights / data.total_weight, data.n_classes
    target = np.where(data.target < 0, classes, data.target)
    sums = np.zeros((classes + 1, data.n_features))
    step = data.rows_in(BLOCK_BYTES)
    for first in range(0, data.n_rows, step):
        rows = data.features[first : first + step]
        part = slice(first, first + rows.shape[0])
        own = sparse.csr_array((share[part], (target[part], np.arange(rows.shape[0]))), (classes + 1, rows.shape[0]))
        found = own @ rows
        sums += found if isinstance(found, np.ndarray) else found.toarray()
    frequencies = np.bincount(target, weights=share, minlength=classes + 1).astype(np.float64, copy=False)
    return Moments(frequencies[:classes], sums.sum(axis=0), sums[:classes])


def column_sums(features: Any, weight: Float, values: Callable[[Any], Any] | None = None) -> Float:
    """Σ wᵢ f(xᵢ) over the rows of features (n, D), dense, CSR or a `RowSubset`, one block at a time, (D,).

    ``values`` is f, by default the identity. Products are computed in the dtype of the rows, to avoid a float64 copy.

    Example:
        >>> column_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 0.25]), squares)
        array([2.75, 6.  ])
    """
    total = np.zeros(features.shape[1])
    step = TrainingData(features, np.zeros(len(weight), dtype=np.int32), 1).rows_in(SUM_BYTES)
    weight = weight.astype(features.dtype)
    for first in range(0, len(weight), step):
        block = features[first : first + step]
        found = weight[first : first + step] @ (block if values is None else values(block))
        total += np.asarray(found, dtype=np.float64).ravel()
    return total


def squares(block: Any) -> Any:
    """Element-wise squares of a dense or sparse block."""
    return block * block if isinstance(block, np.ndarray) else block.multiply(block)
