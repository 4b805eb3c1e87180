"""Convergence of a fit: objective and certified gap by pass or by second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.report.figures import BLUE, GREEN, MUTED, VERMILLION, ground_lines, panels

Float = NDArray[np.float64]

AXES = {"passes": "passes over the data", "seconds": "seconds"}


@dataclass(eq=False)
class LossCurveDisplay:
    """The objective F and the relative duality gap (F − D)/|F| of a fit, after each of its K iterations.

    ``passes``, ``seconds``, ``objective``, ``gap`` are (K,); unknown gaps are inf or NaN and not drawn. ``tol`` is the
    gap of the certificate. ``validation`` (K,) is an optional loss on held-out rows, and ``train`` (K,) the same on the
    training rows; both are drawn with the objective.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> display = LossCurveDisplay.from_estimator(LinearClassifier(alpha=1e-2).fit(X, y))
    >>> display.axes_[1].get_yscale()
    'log'
    >>> print(display.describe().partition(",")[0])
    The objective falls from 1.099 to 0.2243
    """

    passes: Float
    seconds: Float
    objective: Float
    gap: Float
    tol: float | None = None
    train: Float | None = None
    validation: Float | None = None
    ax_: Any = field(init=False, default=None, repr=False)
    axes_: list[Any] = field(init=False, default_factory=list, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        by: str = "passes",
        train: ArrayLike | None = None,
        validation: ArrayLike | None = None,
        ax: Any = None,
    ) -> LossCurveDisplay:
        """Draw the ``history_`` of a fitted estimator; ValueError if it has none."""
        history = getattr(estimator, "history_", None)
        if not history:
            raise ValueError(f"{type(estimator).__name__} has no history_ of a fit: fit it first")
        tol = getattr(estimator, "tol", None)
        return cls.from_history(history, tol=tol, by=by, train=train, validation=validation, ax=ax)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Any] | Mapping[str, Any],
        *,
        tol: float | None = None,
        by: str = "passes",
        train: ArrayLike | None = None,
        validation: ArrayLike | None = None,
        ax: Any = None,
    ) -> LossCurveDisplay:
        """Draw a list of `Progress`, or a mapping of columns, as in a saved model."""
        return cls.of(history, tol=tol, train=train, validation=validation).plot(ax, by=by)

    @classmethod
    def of(
        cls,
        history: Sequence[Any] | Mapping[str, Any],
        *,
        tol: float | None = None,
        train: ArrayLike | None = None,
        validation: ArrayLike | None = None,
    ) -> LossCurveDisplay:
        """Create the display of a history without drawing it; ValueError unless curves have one value per iteration."""
        columns: dict[str, Any] = {}
        for name in ("passes", "seconds", "objective", "gap"):
            named = history[name] if isinstance(history, Mapping) else [getattr(one, name) for one in history]
            columns[name] = _column(named)
        for name, values in (("train", train), ("validation", validation)):
            columns[name] = None if values is None else _column(values)
        for curve in columns.values():
            if curve is not None and curve.shape != columns["passes"].shape:
                raise ValueError(f"a curve has {curve.size} values for {columns['passes'].size} iterations")
        return cls(tol=tol, **columns)

    def plot(self, ax: Any = None, *, by: str = "passes") -> LossCurveDisplay:
        """Draw two panels, the objective above the gap, over ``by``: "passes" or "seconds"."""
        if by not in AXES:
            raise ValueError(f"by={by!r}: choose one of {', '.join(AXES)}")
        self.figure_, self.axes_ = panels(ax, 2, size=(5.2, 4.6), height_ratios=[1, 1])
        above, below = self.axes_
        self.ax_ = above
        along = self.passes if by == "passes" else self.seconds
        above.plot(along, self.objective, color=BLUE, linewidth=1.6, label="objective")
        if self.train is not None:
            above.plot(along, self.train, color=GREEN, linewidth=1.3, linestyle="--", label="loss, training rows")
        if self.validation is not None:
            above.plot(along, self.validation, color=VERMILLION, linewidth=1.3, linestyle="-.", label="loss, held out")
        if self.train is not None or self.validation is not None:
            above.legend()
        if _spread(self.objective) > 20:
            above.set_yscale("log")
        above.set_ylabel("objective")
        above.sharex(below)
        above.tick_params(labelbottom=False)
        self._plot_gap(below, along)
        below.set_xlabel(AXES[by])
        below.locator_params(axis="x", nbins=6)
        for axis in self.axes_:
            ground_lines(axis)
        return self

    def _plot_gap(self, axis: Any, along: Float) -> None:
        known = np.isfinite(self.gap) & (self.gap > 0)
        axis.plot(along[known], self.gap[known], color=VERMILLION, linewidth=1.6)
        if self.tol:
            axis.axhline(self.tol, color=MUTED, linewidth=0.9, linestyle="--")
            axis.annotate(
                f"tol {self.tol:.0e}",
                (0.01, self.tol),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize="small",
            )
        if known.any():
            axis.set_yscale("log")
        axis.set_ylabel("relative duality gap")

    def describe(self) -> str:
        """Describe the figure in text."""
        known = self.gap[np.isfinite(self.gap)]
        text = f"The objective falls from {self.objective[0]:.4g} to {self.objective[-1]:.4g}"
        text += f", in {self.passes[-1]:.0f} passes and {self.seconds[-1]:.2g} seconds."
        if known.size:
            text += f" The relative duality gap falls from {known[0]:.1e} to {known[-1]:.1e}"
            text += f"; it certifies at {self.tol:.0e}." if self.tol else "."
        if self.validation is not None:
            best = int(np.argmin(self.validation))
            text += f" The held-out loss is lowest, {self.validation[best]:.4g}, after {self.passes[best]:.0f} passes."
        return text


def _column(values: Any) -> Float:
    """One number per iteration; None, JSON's replacement of inf, becomes NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _spread(values: Float) -> float:
    lowest = float(np.min(values))
    return float(np.max(values)) / lowest if lowest > 0 else 0.0
