"""ROC curves of verification: true acceptance rate over false acceptance rate, for sets of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crosshead.escaping import for_terminal
from crosshead.evaluation import Roc, roc, roc_of_embeddings
from crosshead.report.figures import MUTED, SERIES, ground_lines, literal, panels, percentage

STYLES = ("-", "--", "-.", ":")


@dataclass(eq=False)
class RocDisplay:
    """ROC curves of `crosshead.evaluation` by name: TAR over FAR, on a logarithmic axis of FAR.

    A curve begins at 1/(impostor pairs), the smallest positive rate that its pairs resolve; dotted lines mark the rates
    ``fars`` that `describe` reports.

    Examples
    --------
    >>> display = RocDisplay.from_pairs([0.9, 0.7, 0.8, 0.2, 0.1], [True, True, False, False, False])
    >>> round(display.curves["pairs"].eer, 4)
    0.3333
    """

    curves: Mapping[str, Roc]
    fars: tuple[float, ...] = (1e-2, 1e-3)
    ax_: Any = field(init=False, default=None, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError("there is no curve to draw")
        if not all(0 < far <= 1 for far in self.fars):
            raise ValueError(f"a logarithmic axis shows rates between 0 and 1, not {self.fars}")

    @classmethod
    def from_pairs(cls, similarity: ArrayLike, same: ArrayLike, *, name: str = "pairs", ax: Any = None) -> RocDisplay:
        """Draw the curve of similarities of pairs (P,), and whether each pair is genuine (P,)."""
        return cls({name: roc(similarity, same)}).plot(ax)

    @classmethod
    def from_embeddings(
        cls, embeddings: Any, identities: ArrayLike, *, name: str = "embeddings", ax: Any = None
    ) -> RocDisplay:
        """Draw the curve of all pairs of embeddings (N, D) with identities (N,), by their cosine."""
        return cls({name: roc_of_embeddings(embeddings, identities)}).plot(ax)

    def plot(self, ax: Any = None) -> RocDisplay:
        """Draw the curves on one panel, with their equal error rates in the legend."""
        self.figure_, (axis,) = panels(ax, size=(5.4, 4.2))
        self.ax_ = axis
        axis.set_xscale("log")
        left = min([1 / curve.impostors for curve in self.curves.values()] + list(self.fars)) / 1.5
        axis.set_xlim(left, 1)
        axis.set_ylim(-0.02, 1.02)
        for far in self.fars:
            axis.axvline(far, color=MUTED, linewidth=0.8, linestyle=":")
        for place, (name, curve) in enumerate(self.curves.items()):
            far, tar = visible(curve)
            hue, style = SERIES[place % len(SERIES)], STYLES[place // len(SERIES) % len(STYLES)]
            text = f"{literal(name)}: EER {percentage(curve.eer)}"
            axis.plot(far, tar, color=hue, linestyle=style, linewidth=1.6, drawstyle="steps-post", label=text)
        axis.set_xlabel("false acceptance rate (impostor pairs accepted)")
        axis.set_ylabel("true acceptance rate (genuine pairs accepted)")
        axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
        ground_lines(axis)
        return self

    def describe(self) -> str:
        """Describe the figure in text."""
        return for_terminal(" ".join(self._sentence(name, curve) for name, curve in self.curves.items()))

    def _sentence(self, name: str, curve: Roc) -> str:
        points = [curve.tar_at(far) for far in self.fars]
        rates = ", ".join(
            f"{percentage(point.tar)} of the genuine pairs are accepted at a false acceptance rate of "
            f"{percentage(point.requested)}"
            + ("" if point.resolved else f" (too few impostor pairs to show it: the smallest is 1/{point.impostors})")
            for point in points
        )
        return (
            f"{name}: {curve.genuine} genuine and {curve.impostors} impostor pairs, equal error rate "
            f"{percentage(curve.eer)}, area under the curve {curve.auc:.4f}{'; ' if points else ''}{rates}."
        )


def visible(curve: Roc) -> tuple[Any, Any]:
    """The corners of the step curve, one for each false acceptance rate from 1/(impostor pairs) on.

    Of the thresholds between two false acceptances the last is used. If ties make the first rate larger than
    1/(impostor pairs), the value in between is that without false acceptances.
    """
    last = np.append(np.diff(curve.false_accepts) > 0, True)
    far, tar, smallest = curve.far[last], curve.tar[last], 1 / curve.impostors
    far[0] = max(far[0], smallest)
    return (far[1:], tar[1:]) if len(far) > 1 and far[1] <= smallest else (far, tar)
