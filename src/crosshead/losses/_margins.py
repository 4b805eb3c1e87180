"""Functions shared by the multiclass hinges: margins, residuals, domains, curvature and feasible dual points."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np

from crosshead.losses import _numerics
from crosshead.losses._dual import is_balanced, is_finite, mixed, settled
from crosshead.losses._targets import as_indices, as_scores, one_hot
from crosshead.losses.protocol import Array, Curvature, DualPoint, Moments

# Smaller smoothing would underflow in single precision; it is far below the rounding of any score.
MIN_SMOOTHING = 1e-30


def smoothing_width(smoothing: float) -> float:
    """Validate a smoothing width: zero or a usable positive number, as a Python float."""
    if not (smoothing == 0 or (isfinite(smoothing) and smoothing >= MIN_SMOOTHING)):
        raise ValueError(f"smoothing must be 0 or a positive finite number, not {smoothing}")
    return float(smoothing)


def violations(scores: Array, target: Array, margin: float) -> tuple[Array, Array]:
    """m_j = z_j − z_y + Δ for j ≠ y, with 0 in the target's own column, (n, C); and the indices y, (n,)."""
    scores = as_scores(scores)
    if np.ndim(target) == 2:
        raise ValueError("the hinge losses take class indices, not rows of probabilities")
    indices = as_indices(target, scores.shape)
    rows = np.arange(len(indices))
    violation = scores - scores[rows, indices][:, None]
    violation += margin
    violation[rows, indices] = 0
    return violation, indices


def closed(residual: Array, indices: Array) -> Array:
    """Set r_y = −Σ_{j≠y} r_j in the target's column, which is zero before."""
    residual[np.arange(len(indices)), indices] = -residual.sum(axis=1)
    return residual


def clip_to_domain(residual: Array, indices: Array, *, most: float) -> None:
    """Clip residuals off the target's column to [0, ``most``] and set that column to zero, in place.

    NaN becomes zero.
    """
    residual[np.arange(len(indices)), indices] = 0.0
    np.fmax(residual, 0.0, out=residual)  # unlike `maximum`, it replaces NaN
    np.fmin(residual, most, out=residual)


def smoothed_value(violation: Array, residual: Array, smoothing: float) -> Array:
    """⟨r, m⟩ − μ/2·‖r‖² of each row, for a residual that is still zero in the target's column."""
    return np.asarray((residual * (violation - smoothing / 2 * residual)).sum(axis=1))


def capped_simplex(violation: Array, indices: Array, smoothing: float) -> tuple[Array, Array]:
    """The r ≥ 0 with Σ_{j≠y} r_j ≤ 1 that maximises ⟨r, m⟩ − μ/2·‖r‖², and the rows that reach the cap.

    It is the projection of m/μ, computed at the scale of m, so that a large m is never divided by a small μ.
    """
    residual = np.maximum(violation, 0)
    capped = residual.sum(axis=1) > smoothing
    rows = np.flatnonzero(capped)
    if len(rows):
        residual[rows] = _simplex(violation[rows], indices[rows], smoothing)
    residual /= smoothing
    return residual, capped


def _simplex(violation: Array, indices: Array, total: float) -> Array:
    """Project each row without its target's column on {r ≥ 0, Σ r = total}, by sorting.

    The threshold τ with Σ max(0, m_j − τ) = total follows from the sorted prefix sums (Held, Wolfe and
    Crowder, Mathematical Programming 6, 1974).
    """
    violation[np.arange(len(indices)), indices] = -np.inf
    # A common shift does not change the projection, and keeps the prefix sums small.
    violation -= violation.max(axis=1, keepdims=True)
    ordered = -np.sort(-violation, axis=1)[:, :-1]  # the target's column is last
    excess = ordered.cumsum(axis=1) - total
    count = np.arange(1, ordered.shape[1] + 1, dtype=ordered.dtype)
    used = (ordered * count > excess).sum(axis=1)
    threshold = excess[np.arange(len(used)), used - 1] / used.astype(ordered.dtype)
    return np.asarray(np.maximum(violation - threshold[:, None], 0))


def others(residual: Array, target: Array) -> tuple[Array, Array]:
    """The residuals off the target's column, clipped at zero; and whether r_j ≥ 0 there and Σ_c r_c = 0."""
    residual = as_scores(residual)
    indices = as_indices(target, residual.shape)
    tolerance = _numerics.domain_tolerance(residual.dtype)
    scale = np.maximum(np.abs(residual).sum(axis=1), 1)  # residuals of squared hinges are unbounded
    rest = residual.copy()
    rest[np.arange(len(indices)), indices] = 0
    inside = (rest >= -tolerance * scale[:, None]).all(axis=1)
    inside &= np.abs(residual.sum(axis=1)) <= tolerance * scale
    return np.maximum(rest, 0), inside


def pair_curvature(active: Array, indices: Array, weight: Array) -> Curvature:
    """Σ sᵢ Σ_{j active} (e_j − e_y)(e_j − e_y)ᵀ and its traces, from the mask of active columns j ≠ y."""
    weighted = active * np.asarray(weight, dtype=np.float64)[:, None]
    pairs = weighted.T @ one_hot(indices, active.shape[1])  # (j, y): the weight of rows of y with j active
    classes = np.diag(weighted.sum(axis=0) + pairs.sum(axis=0)) - pairs - pairs.T
    return Curvature(classes, 2.0 * active.sum(axis=1))


def pair_product(active: Array, indices: Array, direction: Array, centred: Array | None = None) -> Array:
    """Σ_{j active} (e_j − e_y)(v_j − v_y) of each row v, from the mask of active columns j ≠ y, (n, C).

    In the rows marked by ``centred`` (n,), the mean of v_j − v_y over the active columns is subtracted.
    """
    difference = direction - direction[np.arange(len(indices)), indices][:, None]
    product = np.where(active, difference, 0)
    if centred is not None and centred.any():
        rows = np.flatnonzero(centred)
        count = np.maximum(active[rows].sum(axis=1, keepdims=True), 1).astype(product.dtype)
        product[rows] -= np.where(active[rows], product[rows].sum(axis=1, keepdims=True) / count, 0)
    return closed(product, indices)


def star(coefficients: Array, indices: Array) -> Array:
    """Coefficients a_j of Σ_j a_j (e_j − e_y)(e_j − e_y)ᵀ with −1 in the target's column, which marks it, (n, C)."""
    if coefficients.dtype.kind != "f":
        coefficients = coefficients.astype(np.float64)
    coefficients[np.arange(len(indices)), indices] = -1.0
    return coefficients


def centred_curvature(active: Array, weight: Array) -> Curvature:
    """Σ sᵢ (I_A − 1_A 1_Aᵀ/|A|) and its traces |A| − 1, from the mask of each row's active set A ≠ ∅."""
    mask = active.astype(np.float64)
    size = mask.sum(axis=1)
    weight = np.asarray(weight, dtype=np.float64)
    classes = np.diag(weight @ mask) - (mask * (weight / size)[:, None]).T @ mask
    return Curvature(classes, size - 1)


def no_curvature(name: str) -> ValueError:
    """The error for asking an unsmoothed hinge for its curvature."""
    return ValueError(f"{name} has kinks and no curvature; smooth it first, as with smoothed(0.1)")


def no_probabilities(name: str) -> ValueError:
    """The error for asking a hinge for probabilities."""
    return ValueError(f"{name} has no probability model; use softmax or binary for probabilities")


def balance_by_transport(
    point: DualPoint,
    moments: Moments,
    rate: Callable[[float, float], float],
    value: Callable[[float, float], float],
) -> DualPoint | None:
    """Mix every residual with an anchor that moves the excess g_c > 0 to the classes with g_d < 0.

    The rows of class c, whose share is f_c, provide the transport t_cd = g_c·|g_d| / Σ|g₋|: their anchor
    is r_d = a_cd = t_cd/(τ·f_c), r_c = −Σ_d a_cd, and its share of the mixture is ε = τ/(1 + τ). The loss
    gives τ (``rate`` of the largest g_c/f_c and of the largest |g_d|/Σ|g₋|), as small as its domain allows,
    and the anchor's value (``value`` of Σ_c f_c Σ_d a_cd and of Σ_c f_c Σ_d a_cd²). None if a class
    without rows has an excess. As t has rank one, no C × C matrix is formed.
    """
    if is_balanced(point):
        return point
    if not is_finite(point):
        return None
    excess, lack = np.maximum(point.bias_gradient, 0), np.maximum(-point.bias_gradient, 0)
    if not (excess.any() and lack.any()):
        return settled(point)
    if (moments.target[excess > 0] <= 0).any():
        return None
    # The two sums are equal up to rounding; scaling preserves exact zeros, a shift would not.
    excess *= lack.sum() / excess.sum()
    sent = np.divide(excess, moments.target, out=np.zeros_like(excess), where=excess > 0)
    received = lack / lack.sum()
    tau = rate(float(sent.max()), float(received.max()))
    sent /= tau  # now a_cd = sent_c · received_d
    anchor_value = value(float(moments.target @ sent), float(moments.target @ sent**2) * float(received @ received))
    arriving = np.outer(received, sent @ moments.target_features)
    leaving = sent[:, None] * moments.target_features
    return mixed(point, tau / (1 + tau), anchor_value, arriving - leaving)
