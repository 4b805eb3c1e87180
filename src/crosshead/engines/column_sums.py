"""Weighted means over rows, block by block: what a product with all rows at once would copy or widen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Float

BLOCK_BYTES = 1 << 17


def column_sums(features: Any, weight: Float, values: Callable[[Any], Any] | None = None) -> Float:
    """Σ wᵢ xᵢ over the rows of features (n, D), dense, CSR or chosen, or of a function of each block of them, (D,).

    Products are taken in the rows' own type, or NumPy would widen all of them.

    Example:
        >>> column_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, 0.25]), squares)
        array([2.75, 6.  ])
    """
    total = np.zeros(features.shape[1])
    step = TrainingData(features, np.zeros(len(weight), dtype=np.int32), 1).rows_in(BLOCK_BYTES)
    weight = weight.astype(features.dtype)
    for first in range(0, len(weight), step):
        block = features[first : first + step]
        found = weight[first : first + step] @ (block if values is None else values(block))
        total += np.asarray(found, dtype=np.float64).ravel()
    return total


def squares(block: Any) -> Any:
    """The squares of dense or sparse numbers."""
    return block * block if isinstance(block, np.ndarray) else block.multiply(block)
