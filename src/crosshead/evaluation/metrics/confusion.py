"""Which class is taken for which: the confusion matrix, and precision, recall and F1 class by class.

Counting is scikit-learn's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.losses.protocol import Array, Float

MOST_DENSE = 1024
"""Up to this many classes a confusion matrix is a dense array; above it a SciPy CSR array."""


@dataclass(frozen=True, eq=False)
class PerClass:
    """Measures of each class, (C,) each.

    ``precision``: the share of the rows predicted to be of the class that are; ``recall``: the share of the rows of
    the class that are predicted so; ``f1``: their harmonic mean. NaN where there is nothing to take a share of.
    ``rows``: the (weighted) number of rows of the class; ``wrong``: how many of them are predicted to be another.
    """

    precision: Float
    recall: Float
    f1: Float
    rows: Array
    wrong: Array


def confusion_matrix(predicted: Any, target: Any, n_classes: int, *, sample_weight: Any = None) -> Array:
    """Entry (i, j) is the (weighted) number of rows of class i that are predicted to be of class j, (C, C).

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
    """Precision, recall and F1 of each class from a confusion matrix (C, C), dense or sparse.

    It is `sklearn.metrics.precision_recall_fscore_support` on one row a cell, weighted by the cell.

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
    """A confusion matrix that is counted block by block."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self._counts: Any = (
            np.zeros(n_classes * n_classes) if n_classes <= MOST_DENSE else sparse.csr_array((n_classes, n_classes))
        )

    def add(self, predicted: NDArray[np.intp], target: NDArray[np.intp], weight: Float) -> None:
        """Count rows (n,)."""
        if isinstance(self._counts, np.ndarray):
            np.add.at(self._counts, target * self.n_classes + predicted, weight)
        else:
            shape = (self.n_classes, self.n_classes)
            self._counts = self._counts + sparse.coo_array((weight, (target, predicted)), shape=shape).tocsr()

    def matrix(self, whole: bool) -> Any:
        """The counts (C, C), as integers where all weights were one (``whole``)."""
        counts = self._counts
        if isinstance(counts, np.ndarray):
            counts = counts.reshape(self.n_classes, self.n_classes)
        return counts.astype(np.int64) if whole else counts
