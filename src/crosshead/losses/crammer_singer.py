"""The multiclass hinge of Crammer and Singer, which counts only the largest violation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import final

import numpy as np

from crosshead.losses import _dual_steps, _margins, _numerics
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Moments, Pieces


@final
@dataclass(frozen=True)
class CrammerSinger:
    """Multiclass hinge loss of Crammer and Singer: the largest violation of the margin.

    ℓ(z, y) = max(0, max_{j≠y} m_j) with m_j = z_j − z_y + Δ and Δ = ``margin``, in units of score.

    With ``smoothing`` μ > 0 it becomes max ⟨r, m⟩ − μ/2·‖r‖² over r_j ≥ 0, Σ_{j≠y} r_j ≤ 1 (r without the
    target's column): the maximiser, the projection of m/μ on that capped simplex, is the gradient off the
    target's column, and r_y = −Σ_j r_j. It lies below the loss by at most μ/2 (Nesterov, Mathematical
    Programming 103, 2005). Without smoothing the first class with the largest m_j has r_j = 1, if m_j > 0.

    Source: Crammer and Singer, On the algorithmic implementation of multiclass kernel-based vector machines,
    Journal of Machine Learning Research 2, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> CrammerSinger().value(np.array([[3.0, 2.5, 2.25]]), [0])
    array([0.5])
    """

    margin: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", _numerics.positive("margin", self.margin))
        object.__setattr__(self, "smoothing", _margins.smoothing_width(self.smoothing))

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""
        return "crammer_singer"

    @property
    def smooth(self) -> bool:
        """True with smoothing only."""
        return self.smoothing > 0

    @property
    def shift_invariant(self) -> bool:
        """True: the loss depends on differences of scores."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """False: margins are not log-odds."""
        return False

    @property
    def accepts_probabilities(self) -> bool:
        """False: a hinge needs one class per row."""
        return False

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, (self.margin, self.smoothing, 0.0)

    @property
    def pieces(self) -> Pieces | None:
        """The largest violation; None with smoothing."""
        return None if self.smoothing > 0 else Pieces(self.margin, worst=True)

    @property
    def has_dual_step(self) -> bool:
        """True without smoothing only: the conjugate is that of the loss itself."""
        return self.smoothing == 0

    def value(self, scores: Array, target: Array) -> Array:
        """The loss of each sample, (n,)."""
        return self.value_and_gradient(scores, target)[0]

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and a (sub)gradient, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        if self.smoothing > 0:
            residual, _ = _margins.capped_simplex(violation, indices, self.smoothing)
        else:
            rows, worst = np.arange(len(violation)), violation.argmax(axis=1)
            residual = np.zeros_like(violation)
            residual[rows, worst] = violation[rows, worst] > 0  # the target's own violation is 0
        value = _margins.smoothed_value(violation, residual, self.smoothing)
        return value, _margins.closed(residual, indices)

    def conjugate(self, residual: Array, target: Array) -> Array:
        """−Δ Σ_{j≠y} r_j where r_j ≥ 0 and Σ_{j≠y} r_j ≤ 1 and Σ_c r_c = 0, +inf elsewhere, (n,).

        It is always that of the loss without smoothing, which is the one to certify.
        """
        rest, inside = _margins.others(residual, target)
        total = rest.sum(axis=1)
        inside &= total <= 1 + _numerics.domain_tolerance(rest.dtype)
        return _numerics.where_inside(inside, -self.margin * np.minimum(total, 1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """The projection of r₀ + e_y + m/q on the simplex, minus e_y, (n, C)."""
        violation, indices = _margins.violations(scores, target, self.margin)
        return _dual_steps.largest_violation(residual, violation, indices, curvature)

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Clip r_j ≥ 0, j ≠ y, to a sum of at most one, and set r_y = −Σ_j r_j, in place."""
        _margins.clip_to_domain(residual, target, most=1.0)
        residual /= np.maximum(residual.sum(axis=1), 1.0)[:, None]
        _margins.closed(residual, target)

    def infimum(self, target: Array) -> Array:
        """Zero, when every margin is met, (n,)."""
        return np.zeros(len(target))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """The Jacobian of the projection divided by μ, extended to all C columns; ValueError without smoothing.

        With A the columns where r_j > 0: I_A − 1_A 1_Aᵀ/|A| where the cap Σ r_j = 1 holds (what it leaves
        out of r_y vanishes), and Σ_{j∈A} (e_j − e_y)(e_j − e_y)ᵀ below the cap.
        """
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        residual, capped = _margins.capped_simplex(violation, indices, self.smoothing)
        active, weight = residual > 0, np.asarray(weight)
        below = _margins.pair_curvature(active[~capped], indices[~capped], weight[~capped])
        above = _margins.centred_curvature(active[capped], weight[capped])
        rows = np.empty(len(violation))
        rows[~capped], rows[capped] = below.rows, above.rows
        return Curvature((below.classes + above.classes) / self.smoothing, rows / self.smoothing)

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """The Jacobian of `curvature` times v, (n, C); ValueError without smoothing.

        With A the columns where r_j > 0 and u_j = v_j − v_y: u_j/μ over A below the cap, (u_j − mean_A u)/μ where
        it holds, closed in the target's column.
        """
        _, indices, active, capped = self._active(scores, target)
        product = _margins.pair_product(active, indices, direction, centred=capped)
        return product / self.smoothing

    def quadratic(self, scores: Array, target: Array, share: float) -> None:
        """None: rows at the cap and rows below it have Hessians of two forms."""

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """−(1/μ) times the Jacobian applied to the violations, (n, C); ValueError without smoothing."""
        violation, indices, active, capped = self._active(scores, target)
        # At the scale of m/μ, to avoid division by μ².
        product = _margins.pair_product(active, indices, violation / self.smoothing, centred=capped)
        return -product / self.smoothing

    def _active(self, scores: Array, target: Array) -> tuple[Array, Array, Array, Array]:
        """Violations, target indices, the mask of columns with r_j > 0, and the rows at the cap."""
        if self.smoothing == 0:
            raise _margins.no_curvature(self.name)
        violation, indices = _margins.violations(scores, target, self.margin)
        residual, capped = _margins.capped_simplex(violation, indices, self.smoothing)
        return violation, indices, residual > 0, capped

    def curvature_bound(self) -> float:
        """Infinite: there is none without smoothing, and with it C/μ grows with the number of classes."""
        return inf

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Mix with anchors that cancel the bias gradient; Σ_{j≠y} r_j ≤ 1 determines their share."""
        return _margins.balance_by_transport(
            point,
            moments,
            rate=lambda sent, received: sent,
            value=lambda total, squares: self.margin * total,
        )

    def bias_limits(self, frequencies: Float) -> Float:
        """Zeros: the optimal bias is finite, (C,)."""
        return np.zeros_like(frequencies)

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """None: Newton steps on the bias converge."""
        return None

    def predict_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def predict_log_proba(self, scores: Array) -> Array:
        """Not defined: raises ValueError."""
        raise _margins.no_probabilities(self.name)

    def smoothed(self, smoothing: float) -> CrammerSinger:
        """The same loss smoothed over this width; 0 removes the smoothing."""
        return replace(self, smoothing=smoothing)
