"""The optimal residual of one row, all others fixed: the step of dual coordinate ascent for each loss.

The dual objective as a function of one row's residual r alone is, up to a constant,

    −ℓ*(r) + ⟨r − r₀, z⟩ − q/2·‖r − r₀‖²

with r₀ the current residual, z the row's scores and q > 0 its curvature. The maximiser is the gradient of ℓ at the new
scores u = z − q(r − r₀). It lies in the domain of ℓ*; r₀ may lie outside.
"""

from __future__ import annotations

import numpy as np

from crosshead.losses import _numerics
from crosshead.losses.protocol import Array, Float

NEAR, UNSEEN = 0.01, 1e-24  # squared errors: relative to the first, and of rounding
MAX_STEPS = 60
ROOT = 1e-12  # relative error at the end of Newton's method in one unknown


def largest_violation(residual: Float, violation: Float, target: Array, curvature: Float) -> Float:
    """If only the largest violation counts: the projection of r + e_y + m/q on the simplex, minus e_y, (n, C).

    Crammer and Singer (Journal of Machine Learning Research 2, 2001); Keerthi et al. (KDD 2008).
    """
    rows = np.arange(len(target))
    point = residual + violation / curvature[:, None]
    point[rows, target] += 1
    point -= point.max(axis=1, keepdims=True)  # equivalent, and keeps the digits of the sums if q is tiny
    ordered = -np.sort(-point, axis=1)
    thresholds = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, point.shape[1] + 1)
    last = (ordered > thresholds).sum(axis=1) - 1
    after = np.maximum(point - thresholds[rows, last][:, None], 0)
    after[rows, target] = 0.0
    after[rows, target] = -after.sum(axis=1)
    return np.asarray(after)


def all_violations(
    residual: Float, violation: Float, target: Array, curvature: Float, *, most: float = 1.0, extra: float = 0.0
) -> Float:
    """If every violation counts: clip((r_j + m_j/q − S)/(1 + e/q), 0, ``most``) for j ≠ y, (n, C).

    S is the increase of Σ_j r_j, e = ``extra`` the curvature of the conjugate: the zero of a falling function, linear
    between its kinks, by Newton's method inside a bracket.
    """
    rows = np.arange(len(target))
    before = residual.sum(axis=1) - residual[rows, target]
    rate = 1 / (1 + extra / curvature[:, None])
    point = residual + violation / curvature[:, None]
    point[rows, target] = -np.inf
    less = np.maximum(-before, 0)  # for residuals outside their domain
    low, grown = -before - 1, less
    most_grown = np.maximum((point + before[:, None]) * rate, 0).sum(axis=1) + 1
    high = less + (float(point.shape[1]) if np.isfinite(most) else most_grown)
    enough = ROOT * np.maximum(1.0, np.abs(before))
    for _ in range(MAX_STEPS):
        value = (point - grown[:, None]) * rate
        excess = np.clip(value, 0, most).sum(axis=1) - grown - before
        left = ~(np.abs(excess) < enough)
        if not left.any():
            break
        low, high = np.where(left & (excess > 0), grown, low), np.where(left & ~(excess > 0), grown, high)
        slope = 1 + (rate * ((value > 0) & (value < most))).sum(axis=1)
        step = grown + excess / slope
        grown = np.where(left, np.where((step > low) & (step < high), step, (low + high) / 2), grown)
    after = np.clip((point - grown[:, None]) * rate, 0, most)
    after[rows, target] = 0.0
    after[rows, target] = -after.sum(axis=1)
    return np.asarray(after)


def softmax(before: Float, scores: Float, curvature: Float) -> Float:
    """The p = softmax(u) at u = z − q(p − p₀), to a tenth of the error of p₀, (n, C).

    By Newton's method; I + q(diag p − ppᵀ) is inverted as a diagonal plus a rank-one matrix. A step that does not
    reduce the error is halved. If that fails, p is a step from p₀ towards softmax(z) whose length guarantees an
    increase (Shalev-Shwartz and Zhang, Journal of Machine Learning Research 14, 2013).
    """
    after = np.empty_like(before)
    for i, q in enumerate(curvature):
        after[i] = _softmax_row(before[i], scores[i], float(q))
    return after


def _softmax_row(before: Float, scores: Float, curvature: float) -> Float:
    here, last, first, smallest = scores, scores, np.inf, np.inf
    for k in range(MAX_STEPS):
        p = _numerics.softmax(here)
        error = here - scores + curvature * (p - before)
        size = float(error @ error)
        if not size < smallest:
            here = (here + last) / 2
            continue
        first, smallest = (min(size, 1.0) if k == 0 else first), size
        if size <= UNSEEN or (k > 0 and size <= NEAR * first):
            return p
        inverse = 1 / (1 + curvature * p)
        common = curvature * float((p * inverse) @ error) / float((p * inverse).sum())
        here, last = here - inverse * (error + p * common), here
    inside = np.maximum(before, 0)
    total = float(inside.sum())
    share = 1 / (1 + curvature / 2) if total > 0 else 1.0
    return np.asarray((1 - share) * inside / (total or 1.0) + share * _numerics.softmax(scores))


def sigmoid(before: Float, scores: Float, curvature: Float) -> Float:
    """The p = sigmoid(u) at u = z − q(p − p₀) in each column, (n, C).

    By Newton's method inside a bracket, which is halved if a step does not halve the error.
    """
    q = curvature[:, None]
    high = scores + q * before
    low, here, last = high - q, scores, np.full_like(scores, np.inf)
    for _ in range(MAX_STEPS):
        p = _numerics.sigmoid(here)
        error = here - scores + q * (p - before)
        high, low = np.where(error > 0, np.minimum(here, high), high), np.where(error > 0, low, np.maximum(here, low))
        step = here - error / (1 + q * p * (1 - p))
        inside = (step > low) & (step < high) & (np.abs(error) <= last / 2)
        left = error * error > UNSEEN * (1 + here * here + q * q)
        here, last = np.where(left, np.where(inside, step, (low + high) / 2), here), np.abs(error)
    return _numerics.sigmoid(here)


def normalise_to_simplex(p: Float) -> None:
    """Normalise rows of probabilities (n, C) that rounding moved off the simplex, in place.

    NaN becomes zero, and a row of zeros or infinities becomes uniform.
    """
    np.fmax(p, 0.0, out=p)
    total = p.sum(axis=1)
    lost = ~(np.isfinite(total) & (total > 0))
    p[lost], total[lost] = 1.0, p.shape[1]
    p /= total[:, None]
