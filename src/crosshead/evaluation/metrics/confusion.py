"""The confusion matrix, and precision, recall and F1 of each class, computed by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.losses.protocol import Array, Float

MAX_DENSE = 1024
"""Up to this many classes a confusion matrix is a dense array, otherwise a SciPy CSR array."""


@dataclass(frozen=True, eq=False)
class PerClass:
    """Measures of each class, (C,) each; `per_class` returns it.

    ``precision``: the share of correct predictions among those of the class; ``recall``: the share of the rows of the
    class that are predicted correctly; ``f1``: their harmonic mean. NaN if undefined. ``rows``: the (weighted) number
    of rows of the class; ``wrong``: how many of them are predicted as another class.

    Examples
    --------
    >>> found = per_class([[1, 1], [0, 2]])
    >>> found.f1.round(4).tolist(), found.wrong.tolist()
    ([0.6667, 0.8], [1, 0])
    """

    precision: Float
    recall: Float
    f1: Float
    rows: Array
    wrong: Array


def confusion_matrix(predicted: Any, target: Any, n_classes: int, *, sample_weight: Any = None) -> Array:
    """Compute the confusion matrix (C, C): entry (i, j) is the (weighted) number of rows of class i predicted as j.

    Both arguments are class indices (N,). It is `sklearn.metrics.confusion_matrix` over all C classes.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    from sklearn.metrics import confusion_matrix as count

    return np.asarray(count(target, predicted, labels=np.arange(n_classes), sample_weight=sample_weight))


def per_class(confusion: Any) -> PerClass:
    """Compute precision, recall and F1 of each class from a confusion matrix (C, C), dense or sparse.

    It is `sklearn.metrics.precision_recall_fscore_support` on one row per cell, weighted by the cell.

    Examples
    --------
    >>> found = per_class([[1, 1], [0, 2]])
    >>> found.precision.round(4), found.recall
    (array([1.    , 0.6667]), array([0.5, 1. ]))
    """
    from sklearn.metrics import precision_recall_fscore_support as measure

    cells = sparse.coo_array(confusion)
    labels = np.arange(cells.shape[0])
    precision, recall, f1, _ = measure(
        cells.row, cells.col, labels=labels, sample_weight=cells.data.astype(np.float64), zero_division=np.nan
    )
    rows = np.asarray(cells.sum(axis=1)).ravel()
    right = np.asarray(cells.tocsr().diagonal())
    return PerClass(precision, recall, f1, rows, rows - right)


class ConfusionCounts:
    """A confusion matrix that is accumulated block by block."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._counts: Any = (
            np.zeros(n_classes * n_classes) if n_classes <= MAX_DENSE else sparse.csr_array((n_classes, n_classes))
        )

    def add(self, predicted: NDArray[np.intp], target: NDArray[np.intp], weight: Float) -> None:
        """Count rows (n,)."""
        if isinstance(self._counts, np.ndarray):
            np.add.at(self._counts, target * self.n_classes + predicted, weight)
        else:
            shape = (self.n_classes, self.n_classes)
            self._counts = self._counts + sparse.coo_array((weight, (target, predicted)), shape=shape).tocsr()

    def matrix(self, whole: bool) -> Any:
        """The counts (C, C), as integers if all weights are one (``whole``)."""
        counts = self._counts
        if isinstance(counts, np.ndarray):
            counts = counts.reshape(self.n_classes, self.n_classes)
        return counts.astype(np.int64) if whole else counts
