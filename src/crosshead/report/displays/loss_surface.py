"""The objective as a function of two weights, with all others at the optimum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.losses import get_loss
from crosshead.report.figures import BLUE, VERMILLION, ground_lines, literal, panels

Float = NDArray[np.float64]
Place = tuple[int, int]


@dataclass(eq=False)
class LossSurfaceDisplay:
    """F over a grid of two weights, ``values`` (len(second), len(first)), with the solution of the fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crosshead import LinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LinearClassifier(alpha=1e-2, tol=1e-8).fit(X, y)
    >>> display = LossSurfaceDisplay.from_estimator(model, X, y, weights=((0, 2), (2, 3)), points=9)
    >>> bool(abs(display.values.min() - model.objective_) < 1e-6)
    True
    """

    first: Float
    second: Float
    values: Float
    optimum: tuple[float, float]
    names: tuple[str, str] = ("w₁", "w₂")
    ax_: Any = field(init=False, default=None, repr=False)
    figure_: Any = field(init=False, default=None, repr=False)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        weights: tuple[Place, Place] = ((0, 0), (1, 0)),
        span: float = 2.0,
        points: int = 41,
        ax: Any = None,
    ) -> LossSurfaceDisplay:
        """Draw the objective of a fitted `LinearClassifier` without row weights around its optimum.

        ``weights`` are two entries of W by (class index, feature index); each varies by ± ``span``, in
        ``points`` steps. The cost is points² evaluations of the loss on X.
        """
        loss = get_loss(estimator.loss) if isinstance(estimator.loss, str) else estimator.loss
        coef, bias = estimator.coef_, estimator.intercept_
        base = np.asarray(X @ coef.T + bias, dtype=np.float64)
        target = np.searchsorted(estimator.classes_, np.asarray(y)).astype(np.int32)
        columns = [_column(X, feature) for _, feature in weights]
        steps = np.linspace(-span, span, points)
        values = np.empty((points, points))
        for row, up in enumerate(steps):
            for column, along in enumerate(steps):
                scores, moved = base.copy(), coef.copy()
                for (place, feature), values_of, step in zip(weights, columns, (along, up), strict=True):
                    scores[:, place] += step * values_of
                    moved[place, feature] += step
                penalty = estimator.l1_ratio * np.abs(moved).sum() + (1 - estimator.l1_ratio) / 2 * (moved**2).sum()
                values[row, column] = loss.value(scores, target).mean() + estimator.alpha * penalty
        optimum = (float(coef[weights[0]]), float(coef[weights[1]]))
        names = tuple(f"weight of feature {feature}, class {estimator.classes_[place]}" for place, feature in weights)
        return cls(optimum[0] + steps, optimum[1] + steps, values, optimum, (names[0], names[1])).plot(ax)

    def plot(self, ax: Any = None, *, levels: int = 10) -> LossSurfaceDisplay:
        """Draw contour lines, which are closer where the objective is steeper, and the optimum."""
        self.figure_, (self.ax_,) = panels(ax, size=(4.8, 4.0))
        low, high = float(self.values.min()), float(self.values.max())
        heights = low + (high - low) * np.linspace(0.02, 1.0, levels) ** 2 if high > low else [low]
        lines = self.ax_.contour(self.first, self.second, self.values, levels=heights, colors=BLUE, linewidths=0.9)
        self.ax_.clabel(lines, fontsize=7, fmt="%.3g")
        self.ax_.plot(*self.optimum, marker="+", markersize=11, markeredgewidth=1.8, color=VERMILLION)
        self.ax_.set_xlabel(literal(self.names[0]))
        self.ax_.set_ylabel(literal(self.names[1]))
        ground_lines(self.ax_)
        return self

    def describe(self) -> str:
        """Describe the figure in text."""
        return (
            f"Contours of the objective over two weights. It is {self.values.min():.4g} at its lowest, near the fitted "
            f"point ({self.optimum[0]:.3g}, {self.optimum[1]:.3g}), and {self.values.max():.4g} at its highest."
        )


def _column(X: Any, feature: int) -> Float:
    column = X[:, [feature]].toarray() if sparse.issparse(X) else np.asarray(X)[:, [feature]]
    return np.asarray(column[:, 0], dtype=np.float64)
