"""Labels that are probably wrong: confident learning on cross-validated probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

BLOCK_ROWS = 1 << 16
NEAR_ONE = 1e-4  # how far a row of float32 probabilities may be from a sum of 1


@dataclass(frozen=True, eq=False)
class DoubtfulLabels:
    """The K samples whose labels are doubted, the most doubtful first.

    * ``rows`` (K,): positions from 0; ``given``, ``suggested`` (K,): class indices
    * ``given_probability``, ``suggested_probability`` (K,)
    * ``thresholds`` (C,): what a class's probability must reach to count; inf for a class without samples
    * ``joint`` (C, C): how many samples of each given class (rows) confidently belong to which (columns)
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
    """Samples that confidently belong to another class than their label says.

    The threshold of class j is the mean probability of j over the samples labelled j, t_j = mean p_j | y = j. A sample
    belongs confidently to the class of largest p_j among those with p_j ≥ t_j; where that is not its label, the label
    is doubted. The order is by the margin p_y − p_suggested, lowest first. The probabilities, (N, C), must be those of
    a model that has not seen the sample, see `crosshead.linear.out_of_fold_probabilities`; ``target`` (N,) are class
    indices. This is the confident joint of Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", JAIR 70 (2021), with its off-diagonal samples as the suspects.

    Raises
    ------
    ValueError
        For rows that are no distributions, or labels that are no class indices.

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
        raise ValueError(f"row {row + 1}: class index {labels[row]} is none of 0 … {p.shape[1] - 1}")
    for first in range(0, len(p), BLOCK_ROWS):
        block = p[first : first + BLOCK_ROWS]
        off = ~((np.abs(block.sum(axis=1, dtype=np.float64) - 1) <= NEAR_ONE) & (block >= 0).all(axis=1))
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(f"row {first + row + 1} is no distribution: its probabilities sum to {block[row].sum():g}")
