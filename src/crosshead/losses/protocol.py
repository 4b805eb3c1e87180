"""What every loss of the house can say about itself.

A loss knows scores and targets, and nothing of features, weights, engines or solvers. What those need to
know (its gradient, its conjugate, its curvature, how to make a dual point feasible) it answers here, so that
no one ever asks *which* loss it is.
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
    """Weighted means over the training rows that a loss needs to repair a dual point.

    With normalised row weights sᵢ (Σ sᵢ = 1) and targets yᵢ as rows of length C (one-hot for class indices):

    * ``target`` f = Σ sᵢ yᵢ, shape (C,)
    * ``features`` x̄ = Σ sᵢ xᵢ, shape (D,)
    * ``target_features`` T = Σ sᵢ yᵢ xᵢᵀ, shape (C, D)
    """

    target: Float
    features: Float
    target_features: Float


@dataclass(frozen=True)
class DualPoint:
    """A dual point, one residual row rᵢ per sample, seen through the three sums that matter.

    * ``value`` = −Σ sᵢ ℓᵢ*(rᵢ), a number (−inf where some rᵢ lies outside the conjugate's domain)
    * ``weight_gradient`` G = Σ sᵢ rᵢ xᵢᵀ, shape (C, D)
    * ``bias_gradient`` g = Σ sᵢ rᵢ, shape (C,); an unpenalised bias demands g = 0
    """

    value: float
    weight_gradient: Float
    bias_gradient: Float


@dataclass(frozen=True)
class Curvature:
    """The Hessian with respect to the scores, Hᵢ (C, C), condensed to what a Kronecker preconditioner uses.

    * ``classes`` = Σ sᵢ Hᵢ, shape (C, C), with the sᵢ given (normalised by the caller); its diagonal (C,) where only
      that was asked for
    * ``rows`` = trace Hᵢ, shape (n,), without sᵢ
    """

    classes: Float
    rows: Float


@dataclass(frozen=True)
class Pieces:
    """A loss of the violations m_j = z_j − z_y + Δ over j ≠ y, with Δ = ``margin``, in pieces.

    max(0, max_j m_j) where only the ``worst`` is charged for, Σ_j max(0, m_j) otherwise, and Σ_j max(0, m_j)² where
    they are ``squared``.
    """

    margin: float
    worst: bool
    squared: bool = False


class PassLoss(Protocol):
    """What an engine needs of a loss to sum it up over the rows; `Loss` tells what each of these is."""

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]: ...  # noqa: D102
    def value(self, scores: Array, target: Array) -> Array: ...  # noqa: D102
    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]: ...  # noqa: D102
    def conjugate(self, residual: Array, target: Array) -> Array: ...  # noqa: D102
    def smoothed(self, smoothing: float) -> PassLoss: ...  # noqa: D102


class QuadraticLoss(PassLoss, Protocol):
    """½ vᵀ H v with coefficients of H (n, C) in place of a target; see `crosshead.losses.quadratic`."""

    couples: ClassVar[bool]

    def curvature(self, coefficients: Float, weight: Float) -> Curvature: ...  # noqa: D102
    def diagonal(self, coefficients: Float, weight: Float) -> Curvature: ...  # noqa: D102
    def traces(self, coefficients: Float) -> Float: ...  # noqa: D102
    def factors(self, coefficients: Float, weight: Float) -> tuple[Float, ...]: ...  # noqa: D102
    def row_totals(self, coefficients: Array) -> Array: ...  # noqa: D102
    def own_curvature(self, coefficients: Array, totals: Array) -> Array: ...  # noqa: D102
    def bond_factors(self, coefficients: Float) -> Float | None: ...  # noqa: D102
    def bonds(self, coefficients: Float) -> Iterator[tuple[int, int | None, Float]]: ...  # noqa: D102


class Loss(Protocol):
    """The protocol of a loss ℓ(z, y) on scores z (n, C).

    ``target`` is class indices (n,) or, where ``accepts_probabilities``, an array (n, C).
    Every method returns float64 for float64 scores and float32 for float32 ones, one number or row a sample;
    `infimum`, which sees no scores, and `curvature` are float64. Methods never change their arguments.
    """

    @property
    def name(self) -> str:
        """The registry's key."""
        ...

    @property
    def smooth(self) -> bool:
        """Whether the gradient is Lipschitz."""
        ...

    @property
    def shift_invariant(self) -> bool:
        """Whether adding one number to all scores of a row changes nothing, so that the biases' mean is free."""
        ...

    @property
    def has_probabilities(self) -> bool:
        """Whether `predict_proba` has a meaning."""
        ...

    @property
    def accepts_probabilities(self) -> bool:
        """Whether the target may be an (n, C) array."""
        ...

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue's name and its parameters (margin, smoothing, label smoothing)."""
        ...

    @property
    def pieces(self) -> Pieces | None:
        """The loss as a sum of maxima of linear functions; None where it is anything else."""
        ...

    @property
    def ascends(self) -> bool:
        """Whether `dual_step` is to be had."""
        ...

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        ...

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss (n,) and its gradient with respect to the scores (n, C)."""
        ...

    def conjugate(self, residual: Array, target: Array) -> Array:
        """The convex conjugate ℓ*(r) = sup_z ⟨r, z⟩ − ℓ(z) of each row, +inf outside its domain, (n,).

        For a smoothed loss that of the loss without smoothing: what is certified is the original objective.
        Residuals a rounding error outside the domain count as inside.
        """
        ...

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """The r that maximises −ℓ*(r) + ⟨r − r₀, z⟩ − q/2·‖r − r₀‖² in each row, (n, C), or one on the way there.

        r₀ is the ``residual`` (n, C), z the ``scores`` (n, C) and q > 0 the ``curvature`` (n,). Float64 alone.
        """
        ...

    def contain(self, residual: Float, target: Array) -> None:
        """Put residuals (n, C) into the conjugate's domain, in place: no bound is worth anything whose are not there.

        What is no number becomes one that is in it.
        """
        ...

    def infimum(self, target: Array) -> Array:
        """The smallest value the loss can take, inf_z ℓ(z, y) = −ℓ*(0), or a lower bound of it, (n,).

        A bound only where the target does not say how many classes there are and the infimum depends on it.
        """
        ...

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """The Hessian with respect to the scores, condensed; ``weight`` (n,) are the sᵢ."""
        ...

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """Hᵢ vᵢ for each row: the Hessian with respect to the scores times ``direction`` (n, C), (n, C).

        Where the gradient has a kink, of the Jacobians on its two sides the one that `curvature` counts.
        """
        ...

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float] | None:
        """The loss's second-order model around the scores: a loss of its own and its coefficients (n, C).

        ``share`` in [0, 1] of the coefficients is replaced by those at scores of zero: a model that must hold for a
        long step cannot count on curvature that has vanished where the step starts. None where there is no such model.
        """
        ...

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """∂(∇ℓ)/∂μ, how the gradient with respect to the scores changes with the smoothing width, (n, C).

        Zero where nothing is smoothed.
        """
        ...

    def curvature_bound(self) -> float:
        """An upper bound of the largest eigenvalue of any Hᵢ, whatever C; +inf where there is none."""
        ...

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """A dual point near ``point`` whose bias gradient is exactly zero; None where there is none.

        Its ``value`` is at most that of feasible residuals which have its ``weight_gradient``: a valid bound.
        """
        ...

    def bias_limits(self, frequencies: Float) -> Float:
        """Where the best bias is infinite given the targets' means (C,): −1 below, 1 above, else 0, (C,)."""
        ...

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """A step on the bias after which no loss is higher, from the means of targets and residuals (C,), if known."""
        ...

    def predict_proba(self, scores: Array) -> Array:
        """Class probabilities (n, C)."""
        ...

    def predict_log_proba(self, scores: Array) -> Array:
        """Their logarithms in nats (n, C), finite where a probability underflows."""
        ...

    def smoothed(self, smoothing: float) -> Loss:
        """The same loss with its kinks rounded off over a width ``smoothing``; 0 gives back the kinks.

        A loss that has no kinks returns itself.
        """
        ...
