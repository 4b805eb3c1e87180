"""Confusion matrices: counts as numbers, shares of the true class as colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.escaping import for_terminal
from crosshead.report.figures import BLUE, VERMILLION, ink, listed, panels, percentage, shortened, thinned_ticks

MAX_NUMBERS = 15
"""Up to this many classes each cell has room for its count."""
FEW_ERRORS = 0.1
"""The share of a class with the full colour of errors, if no error is more frequent."""
STRONGEST = 0.62
"""The opacity of a full cell, at which numbers have a contrast of 4.5 : 1 on light and dark backgrounds."""


@dataclass(eq=False)
class ConfusionDisplay:
    """A confusion matrix ``counts`` (C, C), true classes in rows and predicted ones in columns, with class ``labels``.

    Right predictions are blue, wrong ones vermillion. The blue of a cell is its share of the true class; vermillion is
    scaled to the largest share of errors, at least 10 %, so that rare errors are visible.

    Examples
    --------
    >>> display = ConfusionDisplay.from_predictions(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    >>> display.counts.tolist(), display.shares.tolist()
    ([[1, 1], [0, 2]], [[0.5, 0.5], [0.0, 1.0]])
    """

    counts: NDArray[np.int64]
    labels: list[str]
    ax_: Any = field(init=False, default=None, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike | None = None, ax: Any = None
    ) -> ConfusionDisplay:
        """Draw the confusion matrix of true and predicted labels; ``labels`` gives the classes and their order."""
        from sklearn.metrics import confusion_matrix
        from sklearn.utils.multiclass import unique_labels

        classes = unique_labels(y_true, y_pred) if labels is None else np.asarray(labels)
        counts = confusion_matrix(y_true, y_pred, labels=classes)
        return cls(counts, [str(label) for label in classes.tolist()]).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, labels: ArrayLike | None = None, ax: Any = None
    ) -> ConfusionDisplay:
        """Draw the confusion matrix of a fitted classifier on labelled samples."""
        return cls.from_predictions(y, estimator.predict(X), labels=labels, ax=ax)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Counts as shares of the true class, (C, C); 0 for a class without samples."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(totals, 1))

    def plot(self, ax: Any = None) -> ConfusionDisplay:
        """Draw the matrix, with counts in the cells if there is room, else with fewer axis labels."""
        size = min(8.0, 2.4 + 0.3 * len(self.labels))
        self.figure_, (self.ax_,) = panels(ax, size=(size, size))
        self.ax_.imshow(self._colours(), interpolation="none", aspect="equal")
        if len(self.labels) <= MAX_NUMBERS:
            self._write_counts()
        self._write_labels()
        self.ax_.set_xlabel("predicted")
        self.ax_.set_ylabel("true")
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        return self

    def _colours(self) -> NDArray[np.uint8]:
        from matplotlib.colors import to_rgb

        shares = self.shares
        wrong = ~np.eye(len(shares), dtype=bool)
        largest = float(shares[wrong].max(initial=0.0))
        opacity = np.where(wrong, np.sqrt(shares / max(largest, FEW_ERRORS)), shares) * STRONGEST
        colours = np.empty((*shares.shape, 4))
        colours[..., :3] = np.where(wrong[..., None], to_rgb(VERMILLION), to_rgb(BLUE))
        colours[..., 3] = np.clip(opacity, 0.03, 1.0)  # empty cells remain visible
        return np.round(255 * colours).astype(np.uint8)

    def _write_counts(self) -> None:
        shares, size = self.shares, 8.0 if len(self.labels) <= 10 else 6.5
        for (row, column), count in np.ndenumerate(self.counts):
            if count:
                style = {"fontweight": "bold"} if row != column else {}
                below = f"\n{100 * shares[row, column]:.0f} %" if len(self.labels) <= 6 else ""
                self.ax_.text(
                    column, row, f"{count}{below}", ha="center", va="center", color=ink(), fontsize=size, **style
                )

    def _write_labels(self) -> None:
        places = thinned_ticks(len(self.labels), 34)
        names = [shortened(self.labels[place]) for place in places]
        upright = max(len(name) for name in names) > 3
        size = 8.0 if len(places) <= 20 else 6.0
        self.ax_.set_xticks(places, names, rotation=90 if upright else 0, fontsize=size)
        self.ax_.set_yticks(places, names, fontsize=size)

    def describe(self) -> str:
        """Describe the figure in text."""
        total, right = int(self.counts.sum()), int(np.trace(self.counts))
        text = f"Confusion matrix of {len(self.labels)} classes: {right} of {total} predictions are right"
        most = largest_confusions(self.counts, 3)
        if not most:
            return f"{text}."
        pairs = [
            f"{self.labels[true]} taken for {self.labels[predicted]} "
            f"({count}, {percentage(float(self.shares[true, predicted]))} of its class)"
            for true, predicted, count in most
        ]
        return for_terminal(f"{text}. Most frequent errors: {listed(pairs)}.")


def largest_confusions(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """(true, predicted, count) of the most frequent errors, most frequent first.

    Examples
    --------
    >>> largest_confusions(np.array([[5, 1, 0], [0, 4, 3], [0, 0, 9]]), 5)
    [(1, 2, 3), (0, 1, 1)]
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [(*divmod(int(place), len(counts)), int(wrong.flat[place])) for place in order]
    return [(true, predicted, count) for true, predicted, count in found if count]
