"""How honest the probabilities are: accuracy against confidence, and how many samples each bin holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.report.figures import BLUE, MUTED, VERMILLION, ground_lines, panels, percentage

Float = NDArray[np.float64]


@dataclass(eq=False)
class ReliabilityDisplay:
    """Accuracy and mean confidence of B bins, (B,) each, their edges (B + 1,) and ``counts`` (B,).

    Empty bins hold NaN. ``error`` is the expected calibration error, Σ count·|accuracy − confidence| / N.
    """

    edges: Float
    confidence: Float
    accuracy: Float
    counts: NDArray[np.int64]
    error: float
    ax_: Any = field(init=False, default=None, repr=False)
    axes_: list[Any] = field(init=False, default_factory=list, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    def plot(self, ax: Any = None) -> ReliabilityDisplay:
        """Draw two panels: the diagram, with each bin's gap to the diagonal, above the counts."""
        self.figure_, self.axes_ = panels(ax, 2, size=(4.6, 5.0), height_ratios=[3, 1])
        above, below = self.axes_
        self.ax_ = above
        filled = self.counts > 0
        confidence, accuracy = self.confidence[filled], self.accuracy[filled]
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="--")
        above.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color=VERMILLION)
        above.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4, linewidth=1.3)
        above.annotate(f"ECE {self.error:.3g}", (0.04, 0.92), xycoords="axes fraction")
        above.set_ylabel("share that is right")
        above.set_ylim(-0.02, 1.02)
        widths = np.diff(self.edges)
        below.bar(self.edges[:-1], self.counts, width=widths, align="edge", color=BLUE, alpha=0.55, linewidth=0)
        if self.counts.max() > 50 * max(1, int(np.median(self.counts[filled]))):
            below.set_yscale("symlog", linthresh=1)
        below.set_ylabel("samples")
        below.set_xlabel("probability of the predicted class")
        above.sharex(below)
        above.tick_params(labelbottom=False)
        below.set_xlim(min(0.0, self.edges[0]), max(1.0, self.edges[-1]))
        for axis in self.axes_:
            ground_lines(axis)
        return self

    def describe(self) -> str:
        """The figure in words."""
        filled = np.flatnonzero(self.counts > 0)
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        worst, fullest = filled[np.argmax(gap)], int(np.argmax(self.counts))
        total = int(self.counts.sum())
        return (
            f"Reliability of {total} predictions in {len(self.counts)} bins, {len(filled)} of them with samples: "
            f"expected calibration error {self.error:.3g}. The fullest bin, {self.edges[fullest]:.2f} to "
            f"{self.edges[fullest + 1]:.2f}, holds {percentage(self.counts[fullest] / total)} of the samples; "
            f"there {percentage(self.accuracy[fullest])} are right at a mean probability of "
            f"{percentage(self.confidence[fullest])}. The widest gap is in the bin from {self.edges[worst]:.2f} to "
            f"{self.edges[worst + 1]:.2f}: {percentage(self.accuracy[worst])} right at "
            f"{percentage(self.confidence[worst])}, with {self.counts[worst]} samples."
        )
