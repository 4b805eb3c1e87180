"""Reliability diagrams: accuracy against confidence, and the number of samples in each bin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.evaluation import Reliability, reliability
from crosshead.report.figures import BLUE, MUTED, VERMILLION, ground_lines, panels, percentage

CROWDED = 50  # times the median bin, from which on counts have a logarithmic scale


@dataclass(eq=False)
class ReliabilityDisplay:
    """A reliability table of `crosshead.evaluation`: accuracy against mean confidence, and counts, by bin.

    Examples
    --------
    >>> display = ReliabilityDisplay.from_predictions([0, 1, 0], [[0.9, 0.1], [0.7, 0.3], [1.0, 0.0]], bins=2)
    >>> round(display.table.ece, 4)
    0.2
    """

    table: Reliability
    ax_: Any = field(init=False, default=None, repr=False)
    axes_: list[Any] = field(init=False, default_factory=list, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_prob: Any, *, bins: int = 15, strategy: Any = "uniform", ax: Any = None
    ) -> ReliabilityDisplay:
        """Draw probabilities (N, C) against class indices (N,); "uniform" bins, or "quantile" bins of equal mass."""
        return cls(reliability(y_prob, y_true, bins=bins, strategy=strategy)).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, bins: int = 15, strategy: Any = "uniform", ax: Any = None
    ) -> ReliabilityDisplay:
        """Draw the probabilities of a fitted classifier for labelled samples."""
        indices = np.searchsorted(estimator.classes_, np.asarray(y))
        return cls.from_predictions(indices, estimator.predict_proba(X), bins=bins, strategy=strategy, ax=ax)

    def plot(self, ax: Any = None) -> ReliabilityDisplay:
        """Draw two panels: the diagram, with each bin's distance from the diagonal, above the counts."""
        self.figure_, self.axes_ = panels(ax, 2, size=(4.6, 5.0), height_ratios=[3, 1])
        above, below = self.axes_
        self.ax_ = above
        table, filled = self.table, self.table.count > 0
        confidence, accuracy = table.confidence[filled], table.accuracy[filled]
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--")
        above.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color=VERMILLION)
        above.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4, linewidth=1.3)
        above.annotate(f"ECE {table.ece:.3g}", (0.04, 0.92), xycoords="axes fraction")
        above.set_ylabel("share that is right")
        above.set_ylim(-0.02, 1.02)
        widths = np.maximum(table.upper - table.lower, 0.002)
        below.bar(table.lower, table.count, width=widths, align="edge", color=BLUE, alpha=0.55, linewidth=0)
        if table.count.max() > CROWDED * np.median(table.count[filled]):
            below.set_yscale("symlog", linthresh=1)
        below.set_ylabel("samples")
        below.set_xlabel("probability of the predicted class")
        above.sharex(below)
        above.tick_params(labelbottom=False)
        below.set_xlim(0.0, 1.0)
        for axis in self.axes_:
            ground_lines(axis)
        return self

    def describe(self) -> str:
        """Describe the figure in text."""
        table = self.table
        filled = np.flatnonzero(table.count > 0)
        worst, fullest = filled[np.argmax(np.abs(table.gap[filled]))], int(np.argmax(table.count))
        total = int(table.count.sum())
        return (
            f"Reliability of {total} predictions in {len(table.count)} bins, {len(filled)} of them with samples: "
            f"expected calibration error {table.ece:.3g}. The fullest bin, {self._bin(fullest)}, holds "
            f"{percentage(table.count[fullest] / total)} of the samples; there {percentage(table.accuracy[fullest])} "
            f"are right at a mean probability of {percentage(table.confidence[fullest])}. The widest gap is in the bin "
            f"{self._bin(worst)}: {percentage(table.accuracy[worst])} right at {percentage(table.confidence[worst])}, "
            f"with {table.count[worst]} samples."
        )

    def _bin(self, place: Any) -> str:
        return f"{self.table.lower[place]:.2f} to {self.table.upper[place]:.2f}"
