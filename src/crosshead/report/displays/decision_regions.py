"""Decision regions in two dimensions, and the lines on which the score of a class is zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosshead.escaping import for_terminal
from crosshead.report.figures import ground_lines, ink, listed, literal, panels

Float = NDArray[np.float64]

HUES = ("#0072b2", "#d55e00", "#009e73", "#b5628f", "#8a6d00", "#3a9bd1", "#7b4fb0", "#a33a2b", "#4f7f2a", "#6b6f76")
MARKERS = "osD^vP*X<>"


@dataclass(eq=False)
class DecisionRegionsDisplay:
    """Scores (R, R, C) over a grid of two features, with optional labelled samples ``points`` (N, 2).

    ``x`` and ``y`` (R,) are the grid; ``labels`` are the C class names; ``classes`` (N,) the samples' class indices.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LinearClassifier("hinge", alpha=1e-2).fit(X[:, 2:], y)
    >>> display = DecisionRegionsDisplay.from_estimator(model, X[:, 2:], y, resolution=20)
    >>> display.scores.shape
    (20, 20, 3)
    """

    x: Float
    y: Float
    scores: Float
    labels: list[str]
    points: Float | None = None
    classes: NDArray[Any] | None = None
    names: tuple[str, str] = ("feature 0", "feature 1")
    ax_: Any = field(init=False, default=None, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        features: tuple[int, int] = (0, 1),
        resolution: int = 200,
        ax: Any = None,
    ) -> DecisionRegionsDisplay:
        """Draw the regions of a fitted classifier around samples X (N, D) with labels y.

        If D > 2, the two ``features`` vary and all others are at their means. ValueError for fewer than 2 features.
        """
        samples = np.asarray(X, dtype=np.float64)
        if samples.ndim != 2 or samples.shape[1] < 2:
            raise ValueError(f"decision regions need at least 2 features, X has shape {samples.shape}")
        shown = samples[:, list(features)]
        low, high = shown.min(axis=0), shown.max(axis=0)
        margin = 0.08 * np.where(high > low, high - low, 1.0)
        across, up = (np.linspace(low[k] - margin[k], high[k] + margin[k], resolution) for k in (0, 1))
        rows = np.tile(samples.mean(axis=0), (resolution * resolution, 1))
        rows[:, features[0]], rows[:, features[1]] = (grid.ravel() for grid in np.meshgrid(across, up))
        scores = class_scores(estimator, rows).reshape(resolution, resolution, -1)
        indices = None if y is None else np.searchsorted(estimator.classes_, np.asarray(y))
        named = getattr(estimator, "feature_names_in_", None)
        names = tuple(f"feature {k}" if named is None else str(named[k]) for k in features)
        labels = [str(label) for label in estimator.classes_.tolist()]
        return cls(across, up, scores, labels, shown, indices, (names[0], names[1])).plot(ax)

    def plot(self, ax: Any = None, *, zero_lines: bool = True) -> DecisionRegionsDisplay:
        """Draw regions in light colours, the samples and, if ``zero_lines``, each class's zero-score line."""
        from matplotlib.colors import to_rgba

        self.figure_, (self.ax_,) = panels(ax, size=(5.0, 4.2))
        hues = [HUES[place % len(HUES)] for place in range(len(self.labels))]
        winner = self.scores.argmax(axis=2)
        picture = np.array([to_rgba(hue, 0.18) for hue in hues])[winner]
        half = ((self.x[1] - self.x[0]) / 2, (self.y[1] - self.y[0]) / 2)
        extent = (self.x[0] - half[0], self.x[-1] + half[0], self.y[0] - half[1], self.y[-1] + half[1])
        self.ax_.imshow(picture, origin="lower", extent=extent, aspect="auto", interpolation="none")
        for place, hue in enumerate(hues):
            own = self.scores[..., place]
            if zero_lines and own.min() < 0 < own.max():
                self.ax_.contour(self.x, self.y, own, levels=[0.0], colors=[hue], linewidths=1.3, linestyles="--")
        if self.points is not None:
            self._plot_points(hues)
        self.ax_.set_xlabel(literal(self.names[0]))
        self.ax_.set_ylabel(literal(self.names[1]))
        ground_lines(self.ax_)
        self.ax_.grid(False)
        return self

    def _plot_points(self, hues: list[str]) -> None:
        assert self.points is not None
        if self.classes is None:
            self.ax_.scatter(*self.points.T, s=10, color=ink(), linewidths=0)
            return
        for place, label in enumerate(self.labels):
            own = self.points[self.classes == place]
            marker = MARKERS[place % len(MARKERS)]
            self.ax_.scatter(*own.T, s=16, color=hues[place], marker=marker, linewidths=0, label=literal(label))
        if len(self.labels) <= len(HUES):
            self.ax_.legend(loc="best", handletextpad=0.2)

    def describe(self) -> str:
        """Describe the figure in text."""
        shares = np.bincount(self.scores.argmax(axis=2).ravel(), minlength=len(self.labels)) / self.scores[..., 0].size
        parts = [f"{label} wins on {share:.0%}" for label, share in zip(self.labels, shares, strict=True)]
        axes = f"{self.names[0]} and {self.names[1]}"
        return for_terminal(f"Decision regions over {axes}: {listed(parts, 12)} of the area.")


def class_scores(estimator: Any, X: Any) -> Float:
    """One score per class, (N, C), also for two classes, where `decision_function` returns the difference."""
    if hasattr(estimator, "coef_") and len(estimator.coef_) == len(estimator.classes_):
        return np.asarray(X @ estimator.coef_.T + estimator.intercept_, dtype=np.float64)
    scores = np.asarray(estimator.decision_function(X), dtype=np.float64)
    return np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
