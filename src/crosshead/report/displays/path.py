"""Regularisation paths: cross-entropy, error and the number of coefficients against alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.escaping import for_terminal
from crosshead.report.figures import BLUE, GREEN, MUTED, VERMILLION, draw, ground_lines, literal, panels, save_figure

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One quantity against alpha, (A,), on the training rows, and optionally on held-out rows with standard errors."""

    title: str
    train: Float | None = None
    held_out: Float | None = None
    error: Float | None = None


@dataclass(eq=False)
class PathDisplay:
    """Curves over ``alphas`` (A,), the number of non-zero coefficients (A,), and the chosen alpha, if any.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> display = PathDisplay.from_estimator(LinearClassifierCV(alphas=[1e-1, 1e-2, 1e-3], cv=3).fit(X, y))
    >>> [curve.title for curve in display.curves], display.chosen
    (['cross-entropy (nats)', 'error (%)'], 0.001)
    """

    title: str
    alphas: Float
    curves: Sequence[Curve]
    nonzero: NDArray[Any]
    coefficients: int
    chosen: float | None = None
    ax_: Any = field(init=False, default=None, repr=False)
    axes_: list[Any] = field(init=False, default_factory=list, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_estimator(cls, estimator: Any, *, title: str = "", ax: Any = None) -> PathDisplay:
        """Draw the path of a fitted `LinearClassifierCV`, with its folds' held-out loss and error."""
        folds = [fold.measures for fold in estimator.folds_]
        nats = folds[0].log_loss is not None
        losses = [fold.log_loss if nats else fold.loss for fold in folds]
        curves = [
            _held_out("cross-entropy (nats)" if nats else "mean loss", losses),
            _held_out("error (%)", [100 * fold.error for fold in folds]),
        ]
        return cls.from_path(estimator.path_, curves=curves, chosen=estimator.alpha_, title=title, ax=ax)

    @classmethod
    def from_path(
        cls,
        path: Any,
        *,
        curves: Sequence[Curve] = (),
        chosen: float | None = None,
        title: str = "",
        ax: Any = None,
    ) -> PathDisplay:
        """Draw the result of `regularisation_path` with ``keep_coef=True``, and further curves over its alphas."""
        if path.coef is None:
            raise ValueError("the path kept no coefficients: give keep_coef=True")
        return cls(title, path.alphas, curves, path.nnz, int(path.coef[0].size), chosen).plot(ax)

    def plot(self, ax: Any = None) -> PathDisplay:
        """Draw one panel per curve, and below them the number of non-zero coefficients."""
        rows = len(self.curves) + 1
        ratios = [3.0] * (rows - 1) + [2.0]
        self.figure_, self.axes_ = panels(ax, rows, size=(7.2, 2.1 * rows + 0.6), height_ratios=ratios)
        self.ax_ = self.axes_[0]
        for axis, curve in zip(self.axes_, self.curves, strict=False):
            _draw_curve(axis, self.alphas, curve)
        self._draw_count(self.axes_[-1])
        for axis in self.axes_:
            if self.chosen is not None:
                axis.axvline(self.chosen, color=VERMILLION, linewidth=1.2, label=f"chosen, alpha {self.chosen:.3g}")
            axis.set_xscale("log")
            ground_lines(axis)
        for axis in self.axes_:
            if axis is not self.axes_[-1]:
                axis.sharex(self.axes_[-1])
                axis.tick_params(labelbottom=False)
        self.axes_[-1].invert_xaxis()
        self.axes_[-1].set_xlabel("alpha (strong to weak regularisation)")
        self.ax_.set_title(literal(self.title), loc="left", fontsize=11)
        if self.ax_.get_legend_handles_labels()[0]:
            self.ax_.legend(frameon=False, fontsize=9, loc="upper right")
        return self

    def _draw_count(self, axis: Any) -> None:
        axis.step(self.alphas, self.nonzero, where="mid", color=GREEN, linewidth=1.4)
        axis.axhline(self.coefficients, color=GREEN, linewidth=0.8, linestyle=":")
        axis.set_ylim(0, 1.08 * self.coefficients)
        axis.set_ylabel(f"non-zero\n(of {self.coefficients})")

    def describe(self) -> str:
        """Describe the figure in text."""
        text = f"A path of {len(self.alphas)} alphas from {self.alphas.max():.3g} down to {self.alphas.min():.3g}."
        for curve in self.curves:
            if curve.held_out is not None:
                best = int(np.argmin(curve.held_out))
                title = for_terminal(curve.title)
                text += f" Held out, {title} is lowest, {curve.held_out[best]:.4g}, at {self.alphas[best]:.3g}."
        text += f" Of {self.coefficients} coefficients, {self.nonzero.min()} to {self.nonzero.max()} are not zero."
        return text if self.chosen is None else f"{text} The chosen alpha is {self.chosen:.3g}."


def draw_path(display: PathDisplay, file: str | Path) -> None:
    """Draw into an .svg, .png or .pdf file, which is replaced atomically once it is complete.

    Raises ValueError for another file type, ModuleNotFoundError without matplotlib.
    """
    rows = len(display.curves) + 1
    save_figure(draw(display, 7.2, 2.1 * rows + 0.6), file)


def _held_out(title: str, folds: Sequence[Float]) -> Curve:
    values = np.stack(folds)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return Curve(title, None, values.mean(axis=0), error)


def _draw_curve(axis: Any, alphas: Float, curve: Curve) -> None:
    if curve.train is not None:
        axis.plot(alphas, curve.train, color=MUTED, linewidth=1.2, linestyle="--", label="train")
    if curve.held_out is not None:
        axis.plot(alphas, curve.held_out, color=BLUE, linewidth=1.6, marker=".", label="held out")
        if curve.error is not None:
            low, high = curve.held_out - curve.error, curve.held_out + curve.error
            axis.fill_between(alphas, low, high, color=BLUE, alpha=0.15, linewidth=0, label="± standard error")
    axis.set_ylabel(literal(curve.title))
    axis.set_ylim(bottom=0)
