"""The protocol of the built-in losses.

A loss depends on scores and targets only, not on features, weights, engines or solvers. It provides all that those
need: its gradient, its conjugate, its curvature, and how to make a dual point feasible. No other code depends on which
loss it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Weighted means over the training rows that a loss needs to make a dual point feasible.

    With normalised row weights sᵢ (Σ sᵢ = 1) and targets yᵢ as rows of length C (one-hot for class indices):

    * ``target`` f = Σ sᵢ yᵢ, shape (C,)
    * ``features`` x̄ = Σ sᵢ xᵢ, shape (D,)
    * ``target_features`` T = Σ sᵢ yᵢ xᵢᵀ, shape (C, D)

    Examples
    --------
    >>> import numpy as np
    >>> Moments(np.array([0.5, 0.5]), np.zeros(3), np.zeros((2, 3))).target_features.shape
    (2, 3)
    """

    target: Float
    features: Float
    target_features: Float


@dataclass(frozen=True)
class DualPoint:
    """A dual point, one row of residuals rᵢ per sample, represented by its three sums.

    * ``value`` = −Σ sᵢ ℓᵢ*(rᵢ), −inf if some rᵢ is outside the conjugate's domain
    * ``weight_gradient`` G = Σ sᵢ rᵢ xᵢᵀ, shape (C, D)
    * ``bias_gradient`` g = Σ sᵢ rᵢ, shape (C,); with an unpenalised bias g = 0 is required

    Examples
    --------
    >>> import numpy as np
    >>> DualPoint(0.5, np.zeros((2, 3)), np.zeros(2)).value
    0.5
    """

    value: float
    weight_gradient: Float
    bias_gradient: Float


@dataclass(frozen=True)
class Curvature:
    """The Hessians with respect to the scores, Hᵢ (C, C), condensed to what a Kronecker preconditioner uses.

    * ``classes`` = Σ sᵢ Hᵢ, shape (C, C), with weights sᵢ normalised by the caller; or only its diagonal (C,)
    * ``rows`` = trace Hᵢ, shape (n,), without sᵢ

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.losses import Softmax
    >>> Softmax().curvature(np.zeros((1, 2)), np.array([0]), np.ones(1)).classes
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """

    classes: Float
    rows: Float


@dataclass(frozen=True)
class Pieces:
    """A loss of the violations m_j = z_j − z_y + Δ over j ≠ y, with Δ = ``margin``.

    It is max(0, max_j m_j) if ``worst``, Σ_j max(0, m_j)² if ``squared``, and Σ_j max(0, m_j) otherwise.
    """

    margin: float
    worst: bool
    squared: bool = False


class PassLoss(Protocol):
    """What an engine requires of a loss, to sum it over the rows; see `Loss`."""

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]: ...  # noqa: D102
    def value(self, scores: Array, target: Array) -> Array: ...  # noqa: D102
    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]: ...  # noqa: D102
    def conjugate(self, residual: Array, target: Array) -> Array: ...  # noqa: D102
    def smoothed(self, smoothing: float) -> PassLoss: ...  # noqa: D102


class QuadraticLoss(PassLoss, Protocol):
    """A loss ½ vᵀ H v with coefficients of H (n, C) in place of a target; see `crosshead.losses.quadratic`."""

    couples: ClassVar[bool]

    def curvature(self, coefficients: Float, weight: Float) -> Curvature: ...  # noqa: D102
    def diagonal(self, coefficients: Float, weight: Float) -> Curvature: ...  # noqa: D102
    def traces(self, coefficients: Float) -> Float: ...  # noqa: D102
    def factors(self, coefficients: Float, weight: Float) -> tuple[Float, ...]: ...  # noqa: D102
    def row_totals(self, coefficients: Array) -> Array: ...  # noqa: D102
    def own_curvature(self, coefficients: Array, totals: Array) -> Array: ...  # noqa: D102
    def edge_factors(self, coefficients: Float) -> Float | None: ...  # noqa: D102
    def edges(self, coefficients: Float) -> Iterator[tuple[int, int | None, Float]]: ...  # noqa: D102


class Loss(Protocol):
    """The protocol of a loss ℓ(z, y) on scores z (n, C).

    ``target`` is class indices (n,) or, if ``accepts_probabilities``, an array (n, C). Methods return one number or row
    per sample, in the dtype of the scores; `infimum`, which has no scores, and `curvature` return float64. Arguments
    are not modified, except by `clip_to_domain`.

    Examples
    --------
    >>> from crosshead.losses import Hinge, Softmax
    >>> losses: list[Loss] = [Softmax(), Hinge(margin=2.0)]
    >>> [loss.smooth for loss in losses]
    [True, False]
    """

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""
        ...

    @property
    def smooth(self) -> bool:
        """Whether the gradient is Lipschitz."""
        ...

    @property
    def shift_invariant(self) -> bool:
        """Whether the loss is invariant to adding one number to all scores of a row, so that the mean bias is free."""
        ...

    @property
    def has_probabilities(self) -> bool:
        """Whether the loss has a probability model, and so `predict_proba`."""
        ...

    @property
    def accepts_probabilities(self) -> bool:
        """Whether the target may be an (n, C) array."""
        ...

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The name of the native epilogue and its parameters (margin, smoothing, label smoothing)."""
        ...

    @property
    def pieces(self) -> Pieces | None:
        """The loss as a function of violations; None if it is not one."""
        ...

    @property
    def has_dual_step(self) -> bool:
        """Whether `dual_step` is available."""
        ...

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        ...

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss (n,) and its gradient with respect to the scores (n, C)."""
        ...

    def conjugate(self, residual: Array, target: Array) -> Array:
        """The convex conjugate ℓ*(r) = sup_z ⟨r, z⟩ − ℓ(z) of each row, +inf outside its domain, (n,).

        A smoothed loss returns the conjugate of the loss without smoothing, because that is the objective to certify.
        Residuals outside the domain by a rounding error count as inside.
        """
        ...

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """The r that maximises −ℓ*(r) + ⟨r − r₀, z⟩ − q/2·‖r − r₀‖² in each row, (n, C), or an approximation of it.

        r₀ is the ``residual`` (n, C), z the ``scores`` (n, C) and q > 0 the ``curvature`` (n,). Float64 only.
        """
        ...

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Clip residuals (n, C) to the conjugate's domain, in place; outside of it the bound would be −inf.

        NaN is replaced by a value inside the domain.
        """
        ...

    def infimum(self, target: Array) -> Array:
        """The smallest value of the loss, inf_z ℓ(z, y) = −ℓ*(0), or a lower bound of it, (n,).

        It is a bound only if it depends on the number of classes, which class indices do not determine.
        """
        ...

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """The Hessian with respect to the scores, condensed; ``weight`` (n,) are the sᵢ."""
        ...

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """The Hessian with respect to the scores times ``direction`` (n, C), row by row: Hᵢ vᵢ, (n, C).

        If the gradient has a kink, the Jacobian is that of the side which `curvature` uses.
        """
        ...

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float] | None:
        """The loss's second-order model around the scores: a quadratic loss and its coefficients (n, C).

        A share in [0, 1] of the coefficients is replaced by those at zero scores: a model for long steps must not rely
        on curvature that is small only at the current scores. None if there is no such model.
        """
        ...

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """∂(∇ℓ)/∂μ: the derivative of the gradient with respect to the smoothing width, (n, C).

        Zero without smoothing.
        """
        ...

    def curvature_bound(self) -> float:
        """An upper bound of the largest eigenvalue of Hᵢ for any number of classes; +inf if there is none."""
        ...

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """A dual point close to ``point`` whose bias gradient is exactly zero; None if there is none.

        Its ``value`` is at most that of feasible residuals with its ``weight_gradient``: a valid bound.
        """
        ...

    def bias_limits(self, frequencies: Float) -> Float:
        """The sign of an infinite optimal bias, given the means of the targets (C,), 0 if it is finite, (C,)."""
        ...

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """A bias step that cannot increase the loss, from the means of targets and residuals (C,), if there is one."""
        ...

    def predict_proba(self, scores: Array) -> Array:
        """Class probabilities (n, C)."""
        ...

    def predict_log_proba(self, scores: Array) -> Array:
        """The logarithms of `predict_proba` in nats (n, C), finite even if a probability underflows."""
        ...

    def smoothed(self, smoothing: float) -> Loss:
        """The same loss with its kinks smoothed over a width ``smoothing``; 0 removes the smoothing.

        A loss without kinks returns itself.
        """
        ...
