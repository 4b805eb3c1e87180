"""Labels that are probably wrong, by confident learning on out-of-fold probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

BLOCK_ROWS = 1 << 16
NEAR_ONE = 1e-4  # tolerance of the sum of a row of float32 probabilities


@dataclass(frozen=True, eq=False)
class DoubtfulLabels:
    """The K samples with doubtful labels, the most doubtful first; `doubtful_labels` returns it.

    * ``rows`` (K,): positions from 0; ``given``, ``suggested`` (K,): class indices
    * ``given_probability``, ``suggested_probability`` (K,)
    * ``thresholds`` (C,): the threshold of each class's probability; inf for a class without samples
    * ``joint`` (C, C): numbers of samples by given class (rows) and confident class (columns)

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    >>> found = doubtful_labels(p, [0, 0, 0, 1, 1])
    >>> len(found), found.joint.tolist()
    (1, [[2, 1], [0, 1]])
    """

    rows: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    given_probability: Float
    suggested_probability: Float
    thresholds: Float
    joint: NDArray[np.int64]

    def __len__(self) -> int:
        """K."""
        return len(self.rows)


def doubtful_labels(probabilities: Any, target: Any) -> DoubtfulLabels:
    """Find samples that confidently belong to another class than their label.

    The threshold of class j is the mean probability of j over the samples labelled j, t_j = mean p_j | y = j. A sample
    confidently belongs to the class of largest p_j among those with p_j ≥ t_j; if that is not its label, the label is
    doubtful. Samples are sorted by the margin p_y − p_suggested, lowest first. The probabilities (N, C) must be those
    of a model that was not trained on the sample, see `crosshead.linear.out_of_fold_probabilities`; ``target`` (N,) has
    class indices. These are the off-diagonal samples of the confident joint of Northcutt, Jiang, Chuang, "Confident
    Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021).

    Raises
    ------
    ValueError
        For rows that are not distributions, or labels that are not class indices.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    >>> found = doubtful_labels(p, [0, 0, 0, 1, 1])
    >>> found.rows.tolist(), found.given.tolist(), found.suggested.tolist(), found.thresholds.round(2).tolist()
    ([2], [0], [1], [0.6, 0.75])
    """
    p, labels = np.asarray(probabilities), np.asarray(target)
    _check(p, labels)
    n_classes = p.shape[1]
    rows = np.arange(len(labels))
    counts = np.bincount(labels, minlength=n_classes)
    totals = np.bincount(labels, weights=p[rows, labels].astype(np.float64), minlength=n_classes)
    with np.errstate(invalid="ignore"):
        thresholds = np.where(counts > 0, totals / counts, np.inf)
    belongs = np.empty(len(labels), dtype=np.int64)
    for first in range(0, len(labels), BLOCK_ROWS):
        block = p[first : first + BLOCK_ROWS].astype(np.float64)
        confident = np.where(block >= thresholds, block, -1.0)
        best = confident.argmax(axis=1)
        belongs[first : first + len(block)] = np.where(confident.max(axis=1) >= 0, best, -1)
    known = belongs >= 0
    joint = np.bincount(labels[known] * n_classes + belongs[known], minlength=n_classes**2)
    suspects = np.flatnonzero(known & (belongs != labels))
    own = p[suspects, labels[suspects]].astype(np.float64)
    other = p[suspects, belongs[suspects]].astype(np.float64)
    order = np.lexsort((suspects, own - other))
    chosen = suspects[order]
    return DoubtfulLabels(
        chosen,
        labels[chosen].astype(np.int64),
        belongs[chosen],
        own[order],
        other[order],
        thresholds,
        joint.reshape(n_classes, n_classes),
    )


def _check(p: NDArray[Any], labels: NDArray[Any]) -> None:
    if p.ndim != 2 or p.shape[1] < 2 or p.dtype.kind != "f":
        raise ValueError(f"probabilities are {p.dtype} of shape {p.shape}, expected numbers (N, C) of C ≥ 2 classes")
    if labels.shape != p.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, expected {len(p)} class indices")
    wrong = (labels < 0) | (labels >= p.shape[1])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row + 1}: class index {labels[row]} is outside 0 … {p.shape[1] - 1}")
    for first in range(0, len(p), BLOCK_ROWS):
        block = p[first : first + BLOCK_ROWS]
        off = ~((np.abs(block.sum(axis=1, dtype=np.float64) - 1) <= NEAR_ONE) & (block >= 0).all(axis=1))
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(
                f"row {first + row + 1} is not a distribution: its probabilities sum to {block[row].sum():g}"
            )
