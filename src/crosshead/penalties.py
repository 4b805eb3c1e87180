"""Penalties on the weights: the elastic net, with L2 and L1 as special cases."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# The best scaling is found by Newton's method on a piecewise linear function, which terminates; any
# number of steps gives a valid bound.
MAX_STEPS = 60


@final
@dataclass(frozen=True)
class ElasticNet:
    """Elastic-net penalty R(W) = α·(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²), with α = ``alpha`` and ρ = ``l1_ratio``.

    W is the weight (C, D), without the bias; the norms run over all its entries. ρ = 0 is ridge (L2), ρ = 1
    is lasso (L1); see `l2` and `l1`. Raises ValueError unless α is finite and ≥ 0 and 0 ≤ ρ ≤ 1.

    Source: Zou and Hastie, Journal of the Royal Statistical Society B 67, 2005.

    Examples
    --------
    >>> ElasticNet(alpha=2.0, l1_ratio=0.5).value(np.array([[3.0, -4.0]]))  # 2·(½·7 + ¼·25)
    19.5
    """

    alpha: float
    l1_ratio: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be finite and not negative, not {self.alpha}")
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio must lie in [0, 1], not {self.l1_ratio}")
        # Python floats, unlike NumPy's, do not widen float32 arrays.
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "l1_ratio", float(self.l1_ratio))

    @property
    def l1_weight(self) -> float:
        """αρ, the factor of ‖W‖₁."""
        return self.alpha * self.l1_ratio

    @property
    def l2_weight(self) -> float:
        """α(1 − ρ), the factor of ‖W‖²/2."""
        return self.alpha * (1 - self.l1_ratio)

    def value(self, W: Float) -> float:
        """The penalty R(W)."""
        return self.l1_weight * float(np.abs(W).sum()) + self.smooth_value(W)

    def smooth_value(self, W: Float) -> float:
        """α(1 − ρ)/2·‖W‖², the part with a gradient."""
        return self.l2_weight / 2 * float(np.vdot(W, W))

    def gradient(self, W: Float) -> Float:
        """α(1 − ρ)·W, the gradient of `smooth_value`."""
        return np.asarray(self.l2_weight * W)

    def prox(self, W: Float, step: float | Float) -> Float:
        """argmin_V R(V)·step + ½‖V − W‖², entry by entry; ``step`` is a number or broadcasts against W."""
        return np.asarray(self.prox_l1(W, step) / (1 + step * self.l2_weight))

    def prox_l1(self, W: Float, step: float | Float) -> Float:
        """Soft threshold by step·αρ: `prox` of the L1 part alone, to be used with `gradient`."""
        if self.l1_weight == 0:
            return np.array(W)
        return np.asarray(np.copysign(np.maximum(np.abs(W) - step * self.l1_weight, 0), W))

    def subdifferential_distance(self, W: Float, G: Float) -> float:
        """The 2-norm distance of −G to ∂R(W), with G the gradient of the rest of the objective.

        It is zero exactly at an optimum. Where W is zero, the subdifferential is the interval [−αρ, αρ]; elsewhere
        it is the number αρ·sign W + α(1 − ρ)·W.
        """
        at_zero = np.maximum(np.abs(G) - self.l1_weight, 0)
        elsewhere = G + self.l1_weight * np.sign(W) + self.l2_weight * W
        return float(np.linalg.norm(np.where(W == 0, at_zero, elsewhere)))

    def conjugate(self, G: Float) -> float:
        """R*(−G) = Σ (|G| − αρ)₊² / (2α(1 − ρ)); where α(1 − ρ) = 0, zero for |G| ≤ αρ and +inf otherwise."""
        size = np.abs(G)
        if self.l2_weight == 0:
            # One rounding error of tolerance, for G scaled to the boundary.
            return 0.0 if (size <= self.l1_weight * (1 + 1e-12)).all() else np.inf
        over = np.maximum(size - self.l1_weight, 0)
        return float(np.vdot(over, over)) / (2 * self.l2_weight)

    def best_bound(self, value: float, gradient: Float, floor: float) -> float:
        """The best lower bound of the objective over scalings θ ∈ [0, 1] of a dual point's residuals.

        Residuals rᵢ with −Σ sᵢ ℓ*(rᵢ) = ``value`` and Σ sᵢ rᵢ xᵢᵀ = ``gradient`` G bound the objective from
        below by value − R*(−G). As ℓ* is convex with −Σ sᵢ ℓ*(0) = ``floor`` (the smallest the loss can be),
        so does max_θ θ·value + (1 − θ)·floor − R*(−θG), which is never below the floor.
        """
        gain = value - floor
        if not (isfinite(gain) and gain > 0):
            return float(floor)
        if self.l1_weight == 0 and self.l2_weight > 0:
            return float(floor) + self._ridge_gain(gain, float(np.vdot(gradient, gradient)))
        if not np.isfinite(gradient).all():
            return float(floor)
        theta = self._best_scale(gain, np.abs(gradient).ravel())
        if self.l2_weight == 0:  # the scale itself keeps θG inside the domain, up to rounding
            return float(floor + theta * gain)
        return max(float(floor + theta * gain - self.conjugate(theta * gradient)), float(floor))

    def _ridge_gain(self, gain: float, square: float) -> float:
        """max_θ θ·gain − θ²‖G‖²/2α over [0, 1], from ‖G‖²."""
        if not isfinite(square):
            return 0.0
        theta = 1.0 if square <= self.l2_weight * gain else self.l2_weight * gain / square
        return max(theta * gain - theta * theta * square / (2 * self.l2_weight), 0.0)

    def _best_scale(self, gain: float, size: Float) -> float:
        """The θ ∈ [0, 1] that maximises θ·gain − R*(−θG), from |G|."""
        largest = float(size.max(initial=0.0))
        if largest <= self.l1_weight:
            return 1.0
        if self.l2_weight == 0:
            return self.l1_weight / largest
        # The slope, gain − Σ|G|(θ|G| − αρ)₊/(α(1 − ρ)), is concave, piecewise linear and falling in θ. From
        # the right, Newton's method never oversteps its zero; it ends when the active entries stay the same.
        theta = 1.0
        for _ in range(MAX_STEPS):
            active = size[theta * size > self.l1_weight]
            squares = float(active @ active)
            if squares == 0:  # only due to rounding
                break
            zero = (self.l2_weight * gain + self.l1_weight * float(active.sum())) / squares
            if zero >= theta:
                break
            theta = zero
        return theta


def l2(alpha: float) -> ElasticNet:
    """Create a ridge penalty: α/2·‖W‖².

    Examples
    --------
    >>> l2(0.5).value(np.array([[3.0, -4.0]]))
    6.25
    """
    return ElasticNet(alpha, 0.0)


def l1(alpha: float) -> ElasticNet:
    """Create a lasso penalty: α·‖W‖₁.

    Examples
    --------
    >>> l1(0.5).value(np.array([[3.0, -4.0]]))
    3.5
    """
    return ElasticNet(alpha, 1.0)
