"""The multiclass hinges that sum over wrong classes: Weston–Watkins, and its square."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import final

import numpy as np

from crosshead.losses import _dual_steps, _margins, _numerics
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Moments, Pieces, QuadraticLoss
from crosshead.losses.quadratic import StarQuadratic


@final
@dataclass(frozen=True)
class Hinge:
    """Multiclass hinge loss of Weston and Watkins: the sum of the violations of all wrong classes.

    ℓ(z, y) = Σ_{j≠y} max(0, m_j) with m_j = z_j − z_y + Δ and Δ = ``margin``, in units of score.

    With ``smoothing`` μ > 0 each max(0, m) becomes max_{0≤r≤1} r·m − μ/2·r²: zero for m ≤ 0, m²/(2μ) up to
    μ, m − μ/2 beyond. It lies below the hinge by at most μ/2 for each wrong class (Nesterov, Mathematical
    Programming 103, 2005). The gradient is r_j = clip(m_j/μ, 0, 1), r_y = −Σ_j r_j; at a kink of the
    unsmoothed loss the subgradient with r_j = 0 is taken.

    Source: Weston and Watkins, Support vector machines for multi-class pattern recognition, ESANN 1999.

    Examples
    --------
    >>> import numpy as np
    >>> Hinge().value(np.array([[3.0, 2.5, 1.0]]), [0])  # only 2.5 − 3 + 1 is positive
    array([0.5])
    """

    margin: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", _numerics.positive("margin", self.margin))
        object.__setattr__(self, "smoothing", _margins.smoothing_width(self.smoothing))

    @property
    def name(self) -> str:
        """The registry's key."""
        return "hinge"

    @property
    def smooth(self) -> bool:
        """Only with smoothing."""
        return self.smoothing > 0

    @property
    def shift_invariant(self) -> bool:
        """Only differences of scores matter."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """Never: margins are not log-odds."""
        return False

    @property
    def accepts_probabilities(self) -> bool:
        """Never: a hinge needs one class a row."""
        return False

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, (self.margin, self.smoothing, 0.0)

    @property
    def pieces(self) -> Pieces | None:
        """The sum of violations; None with smoothing."""
        return None if self.smoothing > 0 else Pieces(self.margin, worst=False)

    @property
    def has_dual_step(self) -> bool:
        """Only without smoothing: the conjugate is that of the loss itself."""
        return self.smoothing == 0

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        return self.value_and_gradient(scores, target)[0]

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and a (sub)gradient, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        if self.smoothing > 0:
            residual = np.clip(violation, 0, self.smoothing) / self.smoothing
        else:
            residual = (violation > 0).astype(violation.dtype)
        value = _margins.smoothed_value(violation, residual, self.smoothing)
        return value, _margins.closed(residual, indices)

    def conjugate(self, residual: Array, target: Array) -> Array:
        """−Δ Σ_{j≠y} r_j where 0 ≤ r_j ≤ 1 for j ≠ y and Σ_c r_c = 0, +inf elsewhere, (n,).

        Always that of the loss without smoothing, whose certificate a smoothed solution is to get.
        """
        rest, inside = _margins.others(residual, target)
        inside &= (rest <= 1 + _numerics.domain_tolerance(rest.dtype)).all(axis=1)
        return _numerics.where_inside(inside, -self.margin * np.minimum(rest, 1).sum(axis=1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """clip(r_j + m_j/q − S, 0, 1) for j ≠ y, where S is the increase of Σ_j r_j, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        return _dual_steps.all_violations(residual, violation, indices, curvature)

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Clip to 0 ≤ r_j ≤ 1, j ≠ y, and set r_y = −Σ_j r_j, in place."""
        _margins.clip_to_domain(residual, target, most=1.0)
        _margins.closed(residual, target)

    def infimum(self, target: Array) -> Array:
        """Zero, where every margin is met, (n,)."""
        return np.zeros(len(target))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """(1/μ) Σ_j (e_j − e_y)(e_j − e_y)ᵀ over 0 < m_j < μ; ValueError without smoothing."""
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        active = (violation > 0) & (violation < self.smoothing)
        pairs = _margins.pair_curvature(active, indices, weight)
        return Curvature(pairs.classes / self.smoothing, pairs.rows / self.smoothing)

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """(1/μ) Σ_j (e_j − e_y)(v_j − v_y) over 0 < m_j < μ, (n, C); ValueError without smoothing."""
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        active = (violation > 0) & (violation < self.smoothing)
        return _margins.pair_product(active, indices, direction) / self.smoothing

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float]:
        """1/μ over 0 < m_j < μ, with a share of 1/max(μ, Δ) over all j ≠ y; ValueError without smoothing."""
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        active = (violation > 0) & (violation < self.smoothing)
        everywhere = share / max(self.smoothing, self.margin)
        return StarQuadratic(), _margins.star((1 - share) / self.smoothing * active + everywhere, indices)

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """−m_j/μ² over 0 < m_j < μ, closed in the target's column, (n, C); ValueError without smoothing."""
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        share = violation / self.smoothing
        share[(share <= 0) | (share >= 1)] = 0
        return _margins.closed(-share / self.smoothing, indices)

    def curvature_bound(self) -> float:
        """Infinite: there is none without smoothing, and with it C/μ grows with the number of classes."""
        return inf

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Mix with anchors that cancel the bias gradient; r_j ≤ 1 determines their share."""
        return _margins.balance_by_transport(
            point,
            moments,
            rate=lambda sent, received: sent * received,
            value=lambda total, squares: self.margin * total,
        )

    def bias_limits(self, frequencies: Float) -> Float:
        """Zeros: every bias has an optimum, (C,)."""
        return np.zeros_like(frequencies)

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """None: Newton's steps on a bias lead nowhere from which they would not return."""
        return None

    def predict_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def predict_log_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def smoothed(self, smoothing: float) -> Hinge:
        """The same loss smoothed over this width; 0 removes the smoothing."""
        return replace(self, smoothing=smoothing)


@final
@dataclass(frozen=True)
class SquaredHinge:
    """Squared multiclass hinge loss: the sum of the squared violations of all wrong classes.

    ℓ(z, y) = Σ_{j≠y} max(0, m_j)² with m_j = z_j − z_y + Δ and Δ = ``margin``, in units of score; the
    gradient is r_j = 2·max(0, m_j), r_y = −Σ_j r_j.

    Examples
    --------
    >>> import numpy as np
    >>> SquaredHinge().value(np.array([[3.0, 2.5, 1.0]]), [0])
    array([0.25])
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", _numerics.positive("margin", self.margin))

    @property
    def name(self) -> str:
        """The registry's key."""
        return "squared_hinge"

    @property
    def smooth(self) -> bool:
        """True: the square has no kink."""
        return True

    @property
    def shift_invariant(self) -> bool:
        """Only differences of scores matter."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """Never: margins are not log-odds."""
        return False

    @property
    def accepts_probabilities(self) -> bool:
        """Never: a hinge needs one class a row."""
        return False

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, (self.margin, 0.0, 0.0)

    @property
    def pieces(self) -> Pieces:
        """The sum of squared violations."""
        return Pieces(self.margin, worst=False, squared=True)

    @property
    def has_dual_step(self) -> bool:
        """Always."""
        return True

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        return self.value_and_gradient(scores, target)[0]

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and its gradient, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        violation = np.maximum(violation, 0)
        return (violation * violation).sum(axis=1), _margins.closed(2 * violation, indices)

    def conjugate(self, residual: Array, target: Array) -> Array:
        """Σ_{j≠y} (r_j²/4 − Δ·r_j) where r_j ≥ 0 for j ≠ y and Σ_c r_c = 0, +inf elsewhere, (n,)."""
        rest, inside = _margins.others(residual, target)
        return _numerics.where_inside(inside, (rest * (rest / 4 - self.margin)).sum(axis=1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """max(0, r_j + m_j/q − S)/(1 + 1/(2q)) for j ≠ y, where S is the increase of Σ_j r_j, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        return _dual_steps.all_violations(residual, violation, indices, curvature, most=inf, extra=0.5)

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Clip to r_j ≥ 0, j ≠ y, and set r_y = −Σ_j r_j, in place."""
        _margins.clip_to_domain(residual, target, most=float(np.finfo(np.float64).max ** 0.25))
        _margins.closed(residual, target)

    def infimum(self, target: Array) -> Array:
        """Zero, where every margin is met, (n,)."""
        return np.zeros(len(target))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """2 Σ_j (e_j − e_y)(e_j − e_y)ᵀ over m_j > 0."""
        violation, indices = _margins.violations(scores, target, self.margin)
        pairs = _margins.pair_curvature(violation > 0, indices, weight)
        return Curvature(2 * pairs.classes, 2 * pairs.rows)

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """2 Σ_j (e_j − e_y)(v_j − v_y) over m_j > 0, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        return 2 * _margins.pair_product(violation > 0, indices, direction)

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float]:
        """2 over m_j > 0, and a share of 2 elsewhere off the target's column."""
        violation, indices = _margins.violations(scores, target, self.margin)
        return StarQuadratic(), _margins.star(np.where(violation > 0, 2.0, 2.0 * share), indices)

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """Zero: there is no smoothing, (n, C)."""
        return np.zeros_like(_margins.violations(scores, target, self.margin)[0])

    def curvature_bound(self) -> float:
        """Infinite: for C classes it is 2C, which is unbounded."""
        return inf

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Mix with anchors that cancel the bias gradient.

        Residuals are unbounded; the largest is set to 2Δ, beyond which a larger one reduces the value.
        """
        return _margins.balance_by_transport(
            point,
            moments,
            rate=lambda sent, received: sent * received / (2 * self.margin),
            value=lambda total, squares: self.margin * total - squares / 4,
        )

    def bias_limits(self, frequencies: Float) -> Float:
        """Zeros: every bias has an optimum, (C,)."""
        return np.zeros_like(frequencies)

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """None: Newton's steps on a bias lead nowhere from which they would not return."""
        return None

    def predict_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def predict_log_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def smoothed(self, smoothing: float) -> SquaredHinge:
        """Return itself: there are no kinks."""
        return self
