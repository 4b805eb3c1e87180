"""Loss functions over the margin, and the margins of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.losses import get_loss
from crosshead.report.figures import GREEN, MUTED, SERIES, ground_lines, panels

Float = NDArray[np.float64]

ZERO_ONE = "zero_one"
SHOWN = ("hinge", "squared_hinge", "softmax", ZERO_ONE)
DASHES = ("-", "--", "-.", ":")


@dataclass(eq=False)
class LossFunctionDisplay:
    """Losses ℓ of two classes over the margin m = z_y − z_other, ``margins`` (M,), and ``values`` by name, (M,) each.

    ``samples`` (N,) are margins z_y − max_{j≠y} z_j of real samples, drawn as a histogram behind the curves. The 0–1
    loss counts a margin of 0 as wrong; the others are those of `crosshead.losses`, softmax in nats.

    Examples
    --------
    >>> display = LossFunctionDisplay.from_losses(["hinge", "softmax"], margins=[-1.0, 0.0, 1.0])
    >>> {name: values.round(3).tolist() for name, values in display.values.items()}
    {'hinge': [2.0, 1.0, 0.0], 'softmax': [1.313, 0.693, 0.313]}
    """

    margins: Float
    values: dict[str, Float]
    samples: Float | None = None
    ax_: Any = field(init=False, default=None, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_losses(
        cls, losses: Sequence[str] = SHOWN, *, margins: ArrayLike | None = None, ax: Any = None
    ) -> LossFunctionDisplay:
        """Draw losses of `crosshead.losses` by name, and "zero_one"; ValueError for an unknown one."""
        grid = np.linspace(-3, 3, 121) if margins is None else np.asarray(margins, dtype=np.float64)
        return cls(grid, {name: loss_over_margin(name, grid) for name in losses}).plot(ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, scores: ArrayLike, *, losses: Sequence[str] = SHOWN, ax: Any = None
    ) -> LossFunctionDisplay:
        """Draw losses over the margins of samples: class indices (N,) and scores (N, C)."""
        samples = margins_of(np.asarray(scores, dtype=np.float64), np.asarray(y_true))
        low, high = np.quantile(samples, [0.005, 0.995])
        grid = np.linspace(min(-3.0, low), max(3.0, high), 241)
        return cls(grid, {name: loss_over_margin(name, grid) for name in losses}, samples).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, losses: Sequence[str] = SHOWN, ax: Any = None
    ) -> LossFunctionDisplay:
        """Draw losses over the margins of a fitted classifier on labelled samples."""
        scores = np.asarray(estimator.decision_function(X), dtype=np.float64)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        indices = np.searchsorted(estimator.classes_, np.asarray(y))
        return cls.from_predictions(indices, scores, losses=losses, ax=ax)

    def plot(self, ax: Any = None) -> LossFunctionDisplay:
        """Draw the curves."""
        self.figure_, (self.ax_,) = panels(ax, size=(5.2, 3.4))
        for position, (name, values) in enumerate(self.values.items()):
            step = {"drawstyle": "steps-post"} if name == ZERO_ONE else {}
            colour = MUTED if name == ZERO_ONE else SERIES[position % len(SERIES)]
            dashes = DASHES[position % len(DASHES)]
            self.ax_.plot(self.margins, values, color=colour, linestyle=dashes, label=_title(name), **step)
        top = 1.05 * max(
            float(np.interp(-1.5, self.margins, values)) if self.margins[0] <= -1.5 else float(values.max())
            for values in self.values.values()
        )
        self.ax_.set_ylim(-0.02 * top, top)
        self.ax_.set_xlim(self.margins[0], self.margins[-1])
        if self.samples is not None:
            self._plot_samples()
        self.ax_.set_xlabel("margin: score of the true class less the largest other")
        self.ax_.set_ylabel("loss")
        self.ax_.legend()
        ground_lines(self.ax_)
        return self

    def _plot_samples(self) -> None:
        assert self.samples is not None
        behind = self.ax_.twinx()
        inside = np.clip(self.samples, self.margins[0], self.margins[-1])
        behind.hist(inside, bins=60, range=(self.margins[0], self.margins[-1]), color=GREEN, alpha=0.25)
        behind.set_ylabel("samples")
        behind.spines[["top", "left"]].set_visible(False)

    def describe(self) -> str:
        """Describe the figure in text."""
        at = {m: int(np.argmin(np.abs(self.margins - m))) for m in (-1.0, 0.0, 1.0)}
        parts = []
        for name, values in self.values.items():
            points = ", ".join(f"{values[place]:.3g} at {self.margins[place]:.2g}" for place in at.values())
            parts.append(f"{_title(name)}: {points}")
        text = f"Losses over the margin. {'; '.join(parts)}."
        if self.samples is not None:
            text += f" {np.mean(self.samples <= 0):.1%} of {self.samples.size} samples have no positive margin."
        return text


def loss_over_margin(name: str, margins: Float) -> Float:
    """The loss of two classes with scores (m, 0) if the first is true, (M,).

    Examples
    --------
    >>> loss_over_margin("squared_hinge", np.array([-1.0, 0.5, 2.0])).tolist()
    [4.0, 0.25, 0.0]
    """
    if name == ZERO_ONE:
        return (margins <= 0).astype(np.float64)
    scores = np.column_stack([margins, np.zeros_like(margins)])
    return np.asarray(get_loss(name).value(scores, np.zeros(margins.size, dtype=np.int32)))


def margins_of(scores: Float, target: NDArray[Any]) -> Float:
    """The margin z_y − max_{j≠y} z_j of each sample, (N,); positive if the prediction is right and not tied.

    Examples
    --------
    >>> margins_of(np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0]]), np.array([0, 1])).round(3).tolist()
    [-1.9, 2.9]
    """
    if scores.ndim != 2 or target.shape != scores.shape[:1]:
        raise ValueError(f"scores of shape {scores.shape} and {target.shape} labels: give (N, C) and (N,)")
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, target] = -np.inf
    return np.asarray(scores[rows, target] - others.max(axis=1))


def _title(name: str) -> str:
    return "0–1" if name == ZERO_ONE else name.replace("_", " ")
