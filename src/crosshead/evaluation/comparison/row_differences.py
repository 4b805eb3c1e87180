"""The rows on which two models differ most, collected block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.evaluation.metrics.row_outcomes import Outcomes
from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class RowDifference:
    """One row on which two models differ.

    ``row`` counts from 0; classes are names. ``difference`` is the cross-entropy of the second model minus that of the
    first on this row, in nats (±inf if one of them gives the true class probability 0). Without probabilities it is 1
    or −1 if only the second or only the first is wrong, and the cross-entropies are None.

    Examples
    --------
    >>> from crosshead.evaluation import compare
    >>> one, two = [[0.3, 0.7], [0.4, 0.6]], [[0.6, 0.4], [0.4, 0.6]]
    >>> row = compare({"one": one, "two": two}, [0, 0]).pairs[0].most_different[0]
    >>> row.row, round(row.difference, 4)
    (0, -0.6931)
    """

    row: int
    target: Any
    first_predicted: Any
    second_predicted: Any
    first_cross_entropy: float | None
    second_cross_entropy: float | None
    difference: float


class MostDifferent:
    """The ``count`` rows with the largest absolute difference; of equal ones the earlier row."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept = np.zeros((7, 0))  # row, target, predictions, losses, difference

    def add(self, first_row: int, target: Any, first: Outcomes, second: Outcomes) -> None:
        """Add the next rows."""
        if first.nll is not None and second.nll is not None:
            with np.errstate(invalid="ignore"):
                difference = second.nll - first.nll
            losses = [first.nll, second.nll]
        else:
            difference = second.wrong.astype(np.float64) - first.wrong
            losses = [np.full(len(difference), np.nan)] * 2
        difference = np.where(np.isnan(difference), 0.0, difference)  # both infinite
        rows = np.arange(first_row, first_row + len(difference))
        new = np.stack([rows, target, first.predicted, second.predicted, *losses, difference]).astype(np.float64)
        self._kept = self._largest(np.concatenate([self._kept, self._largest(new)], axis=1))

    def _largest(self, columns: Float) -> Float:
        size = np.abs(columns[6])
        if len(size) > self.count > 0:
            least = np.partition(size, len(size) - self.count)[len(size) - self.count]
            columns = columns[:, size >= least]
        order = np.lexsort((columns[0], -np.abs(columns[6])))[: self.count]
        return columns[:, order]

    def rows(self, classes: Any) -> tuple[RowDifference, ...]:
        """The rows, most different first, without those on which the models agree."""
        names = classes.tolist()
        found = []
        for row, target, first, second, before, after, difference in self._kept.T.tolist():
            if difference != 0:
                known = not np.isnan(before)
                found.append(
                    RowDifference(
                        row=int(row),
                        target=names[int(target)],
                        first_predicted=names[int(first)],
                        second_predicted=names[int(second)],
                        first_cross_entropy=before if known else None,
                        second_cross_entropy=after if known else None,
                        difference=difference,
                    )
                )
        return tuple(found)
