"""The samples with the largest losses, found in one pass over scores or probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.losses import as_loss
from crosshead.losses.protocol import Loss

Float = NDArray[np.float64]
Array = NDArray[Any]

BLOCK_SCORES = 1 << 21  # entries of an array processed at a time


@dataclass(frozen=True, eq=False)
class TopLosses:
    """The K samples with the largest losses, largest first; of equal losses, earlier rows first.

    * ``rows`` (K,): positions from 0; ``target``, ``predicted`` (K,): class indices
    * ``probability`` (K,): of the true class; None without a probability model
    * ``loss`` (K,): nats where it is a cross-entropy
    * ``total_loss``, ``n_rows``: of all samples

    ``total_loss`` is inf if a sample has probability 0; such samples then share it, and the others' share is 0.

    Examples
    --------
    >>> top = top_losses([[0.9, 0.1], [0.2, 0.8]], [1, 1], probabilities=True)
    >>> len(top), top.rows.tolist(), top.share.round(3).tolist()
    (2, [0, 1], [0.912, 0.088])
    """

    rows: NDArray[np.int64]
    target: Array
    predicted: Array
    probability: Float | None
    loss: Float
    total_loss: float
    n_rows: int
    n_infinite: int = 0

    @property
    def share(self) -> Float:
        """Each sample's share of the total loss, (K,)."""
        if self.n_infinite:
            return np.where(np.isinf(self.loss), 1.0 / self.n_infinite, 0.0)
        return self.loss / self.total_loss if self.total_loss > 0 else np.zeros_like(self.loss)

    def __len__(self) -> int:
        """K."""
        return len(self.rows)


def top_losses(
    scores: Any, target: Any, n: int = 50, *, loss: str | Loss = "softmax", probabilities: bool = False
) -> TopLosses:
    """Find the ``n`` samples with the largest losses ℓ(zᵢ, yᵢ).

    Parameters
    ----------
    scores : array (N, C), or blocks
        Scores, or with ``probabilities`` distributions, whose loss is −ln p_y. Instead of an array, an iterable of
        (first row, block (n, C)) in order; memory then does not grow with N.
    target : (N,) class indices
    n : int
        Number of samples; fewer if there are fewer samples.
    loss : str or Loss
        Loss of scores; not used with ``probabilities``.
    probabilities : bool, default=False
        Whether ``scores`` are probabilities.

    Returns
    -------
    TopLosses

    Raises
    ------
    ValueError
        For labels that are not class indices, NaN scores, and missing or surplus rows.

    Examples
    --------
    >>> top = top_losses([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], [0, 1, 2], 2, loss="hinge")
    >>> top.rows.tolist(), top.loss.round(4).tolist(), top.total_loss.__round__(4)
    ([2, 0], [12.9, 2.9], 15.8)
    """
    if n < 1:
        raise ValueError(f"n is {n}: ask for at least one sample")
    labels = np.asarray(target)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"target must be class indices (N,), not {labels.dtype} of shape {labels.shape}")
    cost = None if probabilities else as_loss(loss)
    best: TopLosses | None = None
    for first, block in _blocks(scores):
        own = labels[first : first + len(block)]
        _check(block, own, first)
        best = _merged(best, _of_block(block, own, first, cost), n)
    if best is None or best.n_rows != len(labels):
        raise ValueError(f"{0 if best is None else best.n_rows} rows of scores for {len(labels)} labels")
    return best


def _blocks(scores: Any) -> Iterator[tuple[int, Array]]:
    if isinstance(scores, (np.ndarray, list, tuple)):
        array = np.asarray(scores)
        if array.ndim != 2:
            raise ValueError(f"scores have shape {array.shape}, expected (N, C)")
        step = max(1, BLOCK_SCORES // max(1, array.shape[1]))
        for first in range(0, len(array), step):
            yield first, array[first : first + step]
        return
    blocks: Iterable[tuple[int, Array]] = scores
    yield from blocks


def _check(block: Array, target: Array, first: int) -> None:
    if len(target) != len(block):
        raise ValueError(f"more rows of scores than labels: row {first + len(target) + 1} has no label")
    wrong = (target < 0) | (target >= block.shape[1])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {first + row + 1}: class index {target[row]} is outside 0 … {block.shape[1] - 1}")
    missing = np.isnan(block).any(axis=1)
    if missing.any():
        raise ValueError(f"row {first + int(np.argmax(missing)) + 1} has a score that is NaN")


def _of_block(block: Array, target: Array, first: int, cost: Loss | None) -> TopLosses:
    values, rows = block.astype(np.float64), np.arange(len(block))
    own: Float | None
    if cost is None:
        own = values[rows, target]
        with np.errstate(divide="ignore"):
            loss = -np.log(own)
    else:
        loss = np.asarray(cost.value(values, target.astype(np.int32)), dtype=np.float64)
        own = cost.predict_proba(values)[rows, target] if cost.has_probabilities else None
    infinite = int(np.isinf(loss).sum())
    return TopLosses(rows + first, target, block.argmax(axis=1), own, loss, float(loss.sum()), len(loss), infinite)


def _merged(best: TopLosses | None, block: TopLosses, n: int) -> TopLosses:
    """The ``n`` largest of those so far and of a block; sums are over all."""
    total = block
    if best is not None:
        joined = None
        if best.probability is not None and block.probability is not None:
            joined = np.concatenate([best.probability, block.probability])
        total = TopLosses(
            np.concatenate([best.rows, block.rows]),
            np.concatenate([best.target, block.target]),
            np.concatenate([best.predicted, block.predicted]),
            joined,
            np.concatenate([best.loss, block.loss]),
            best.total_loss + block.total_loss,
            best.n_rows + block.n_rows,
            best.n_infinite + block.n_infinite,
        )
    order = np.lexsort((total.rows, -total.loss))[:n]
    return replace(
        total,
        rows=total.rows[order],
        target=total.target[order],
        predicted=total.predicted[order],
        probability=None if total.probability is None else total.probability[order],
        loss=total.loss[order],
    )
