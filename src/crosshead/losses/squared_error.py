"""The squared error of scores against one-hot (or any real) targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses._dual import is_balanced, is_finite
from crosshead.losses._targets import as_indices, as_rows, as_scores, has_rows, one_hot
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Moments, QuadraticLoss
from crosshead.losses.quadratic import DiagonalQuadratic


@final
@dataclass(frozen=True)
class SquaredError:
    """Squared error of scores, summed over classes (not averaged).

    ℓ(z, y) = ‖z − y‖² with gradient 2(z − y), where y is the one-hot row of a class index or any real row.
    The conjugate is ‖r‖²/4 + ⟨r, y⟩, finite everywhere. For probabilities in place of scores the same formula
    is the Brier score (Brier, Monthly Weather Review 78, 1950).

    Examples
    --------
    >>> import numpy as np
    >>> SquaredError().value(np.array([[0.5, 0.25, 0.25]]), [0])
    array([0.375])
    """

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""
        return "squared_error"

    @property
    def smooth(self) -> bool:
        """True: the gradient is Lipschitz with constant 2."""
        return True

    @property
    def shift_invariant(self) -> bool:
        """False: the loss depends on each score."""
        return False

    @property
    def has_probabilities(self) -> bool:
        """False: scores are estimates of the target, and may be negative."""
        return False

    @property
    def accepts_probabilities(self) -> bool:
        """True: the target may be an (n, C) array of any finite numbers."""
        return True

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, (0.0, 0.0, 0.0)

    @property
    def pieces(self) -> None:
        """None: it is not a loss of violations."""
        return None

    @property
    def has_dual_step(self) -> bool:
        """True."""
        return True

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        return self.value_and_gradient(scores, target)[0]

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and 2(z − y), (n, C)."""
        scores = as_scores(scores)
        error = scores - self._rows(target, scores.shape, scores.dtype)
        return (error * error).sum(axis=1), 2 * error

    def conjugate(self, residual: Array, target: Array) -> Array:
        """‖r‖²/4 + ⟨r, y⟩, (n,)."""
        residual = as_scores(residual)
        y = self._rows(target, residual.shape, residual.dtype)
        return np.asarray((residual * (residual / 4 + y)).sum(axis=1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """2(z + q·r₀ − y)/(1 + 2q), (n, C)."""
        q = curvature[:, None]
        y = self._rows(target, residual.shape, np.float64)
        return np.asarray(2 * (scores + q * residual - y) / (1 + 2 * q))

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Replace NaN by zero, in place; the domain is all real numbers."""
        residual[~np.isfinite(residual)] = 0.0

    def infimum(self, target: Array) -> Array:
        """Zero, at z = y, (n,)."""
        return np.zeros(len(target))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """Σ sᵢ·2I and the traces 2C, for any scores and target."""
        samples, classes = as_scores(scores).shape
        total = float(np.asarray(weight, dtype=np.float64).sum())
        return Curvature(2 * total * np.eye(classes), np.full(samples, 2.0 * classes))

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """2v of each row, for any scores and target, (n, C)."""
        return np.asarray(2 * direction)

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float]:
        """2I, for any scores, target and share."""
        return DiagonalQuadratic(), np.full(as_scores(scores).shape, 2.0)

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """Zero: there is no smoothing, (n, C)."""
        return np.zeros_like(as_scores(scores))

    def curvature_bound(self) -> float:
        """2, exactly."""
        return 2.0

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Subtract the mean residual g from every row, which keeps residuals in the conjugate's domain.

        −Σ sᵢ ℓ*(rᵢ − g) = value + ‖g‖²/4 + ⟨g, f⟩ with f the mean target: exact, not only a bound.
        """
        if is_balanced(point):
            return point
        if not is_finite(point):
            return None
        g = point.bias_gradient
        return DualPoint(
            float(point.value + g @ g / 4 + g @ moments.target),
            point.weight_gradient - np.outer(g, moments.features),
            np.zeros_like(g),
        )

    def bias_limits(self, frequencies: Float) -> Float:
        """Zeros: the optimal bias is finite, (C,)."""
        return np.zeros_like(frequencies)

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """None: Newton steps on the bias converge."""
        return None

    def predict_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise ValueError("squared_error has no probability model; use softmax or binary for probabilities")

    def predict_log_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise ValueError("squared_error has no probability model; use softmax or binary for probabilities")

    def smoothed(self, smoothing: float) -> SquaredError:
        """Return itself: there are no kinks."""
        return self

    def _rows(self, target: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """The target as rows, (n, C)."""
        if has_rows(target):
            return as_rows(target, shape, dtype)
        return one_hot(as_indices(target, shape), shape[1], dtype)
