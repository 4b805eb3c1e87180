"""Dual coordinate ascent for piecewise linear hinges with an L2 penalty: its state, and its kernel's readable twin.

With residuals rᵢ in the domain of the hinge and normalised row weights sᵢ,

    W = −(1/α) Σ sᵢ rᵢ xᵢᵀ,    b = b₀ − (1/β) Σ sᵢ rᵢ,

and the dual objective as a function of one row's rᵢ alone has its maximum in closed form: a projection on a simplex
where the worst violation is charged for (Crammer and Singer 2001; Keerthi et al., KDD 2008), one equation in one
unknown where every violation is. β > 0 stands for β/2·‖b − b₀‖², without which a bias could not follow a single row;
moving b₀ to b makes it vanish in the limit (Rockafellar, SIAM Journal on Control and Optimization 14, 1976).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, DualPoint, Float, Pieces

MOST_RESIDUALS = 1 << 25  # numbers in all rows' residuals
BIAS_SHARE = 0.1  # the bias's part of a row's curvature, relative to that of its features on average
BLOCK_ELEMENTS = 1 << 21
LONGEST_STEP = 1e150  # of the bias: what no product takes out of the numbers
LEAST_CURVATURE, MOST_CURVATURE = 1e-200, 1e300  # of a row that is looked at: others overflow


@dataclass
class Ascent:
    """The residuals r (N, C) of all rows, the weights W (C, D) and the bias b (C,) that belong to them.

    ``weight`` has the features' type and drifts by its rounding; `settle` makes it anew. ``bias_step`` is 1/β, zero
    without a bias.
    """

    data: TrainingData
    pieces: Pieces
    l2: float
    share: Float
    squares: Float
    bias_step: float
    weight: Array
    bias: Float
    residual: Float
    pause: Array
    waiting: Array
    order: Array
    sweeps: int = field(default=0)

    @classmethod
    def of(cls, data: TrainingData, pieces: Pieces, l2: float, fit_intercept: bool) -> Ascent | None:
        """At residuals of zero; None where the features are sparse or there are too many residuals to hold."""
        if not cls.fits(data):
            return None
        X, n, C = data.features, data.n_rows, data.n_classes
        step = max(1, BLOCK_ELEMENTS // max(1, data.n_features))
        blocks = (X[first : first + step].astype(np.float64) for first in range(0, n, step))
        squares = np.concatenate([np.einsum("ij,ij->i", block, block) for block in blocks])
        share = data.weights / data.total_weight
        size = float(share @ squares)
        return cls(
            data=data,
            pieces=pieces,
            l2=l2,
            share=share,
            squares=squares,
            bias_step=min((BIAS_SHARE * size if size > 0 else 1.0) / l2, LONGEST_STEP) if fit_intercept else 0.0,
            weight=np.zeros((C, data.n_features), dtype=X.dtype),
            bias=np.zeros(C),
            residual=np.zeros((n, C)),
            pause=np.zeros(n, dtype=np.uint8),
            waiting=np.zeros(n, dtype=np.uint8),
            order=np.arange(n),
        )

    @staticmethod
    def fits(data: TrainingData) -> bool:
        """Whether `of` can make one."""
        if data.sparse or data.target.ndim != 1 or data.n_rows * data.n_classes > MOST_RESIDUALS:
            return False
        return bool(data.features.strides[1] == data.features.itemsize or data.n_features <= 1)

    def settle(self) -> tuple[Float, DualPoint]:
        """W in float64 from the residuals, which ``weight`` is set to as well, and the dual point that they are."""
        data, C = self.data, self.data.n_classes
        gradient = np.zeros((C, data.n_features))
        step = max(1, BLOCK_ELEMENTS // max(C, data.n_features))
        for first in range(0, data.n_rows, step):
            residual = self.residual[first : first + step]
            contain(residual, data.target[first : first + step], self.pieces)
            weighted = residual * self.share[first : first + step, None]
            gradient += weighted.T @ data.features[first : first + step].astype(np.float64)
        weight = -gradient / self.l2
        with np.errstate(over="ignore"):  # of an infinite weight no score is a number, and no row moves
            self.weight[:] = weight
        rows = np.arange(data.n_rows)
        # Of a residual, −r_y is the sum over the other classes.
        value = -self.pieces.margin * float(self.share @ self.residual[rows, data.target])
        return weight, DualPoint(value, gradient, self.share @ self.residual)

    def follow_bias(self, total: Float) -> None:
        """Move b₀ to where b is; ``total`` is Σ sᵢ rᵢ."""
        self.bias -= self.bias_step * total
        self.waiting[:] = 0


def contain(residual: Float, target: Array, pieces: Pieces) -> None:
    """Put residuals (n, C) into the hinge's domain, in place: a bound is worth nothing whose dual point is not there.

    Sweeps leave it by rounding alone; this does not take their word for it.
    """
    rows = np.arange(len(residual))
    residual[rows, target] = 0.0
    np.fmax(residual, 0.0, out=residual)  # not `maximum`: what is no number becomes zero
    np.fmin(residual, 1.0, out=residual)
    if pieces.worst:
        residual /= np.maximum(residual.sum(axis=1), 1.0)[:, None]
    residual[rows, target] = -residual.sum(axis=1)


def ascend(ascent: Ascent, sweeps: int) -> None:
    """The kernel's arithmetic, row by row, in another order and without its pauses."""
    X, pieces = ascent.data.features, ascent.pieces
    for _ in range(sweeps):
        np.random.default_rng(ascent.sweeps).shuffle(ascent.order)
        ascent.sweeps += 1
        for i in ascent.order:
            curvature = float(ascent.share[i]) * (float(ascent.squares[i]) / ascent.l2 + ascent.bias_step)
            if not LEAST_CURVATURE < curvature < MOST_CURVATURE:
                continue
            own = int(ascent.data.target[i])
            scores = (ascent.weight @ X[i]).astype(np.float64) + ascent.bias
            if not np.isfinite(scores).all():
                continue
            violation = scores - scores[own] + pieces.margin
            violation[own] = 0.0
            wanted = _worst if pieces.worst else _each
            after = wanted(ascent.residual[i], violation / curvature, own)
            change = ascent.share[i] * (after - ascent.residual[i])
            ascent.residual[i] = after
            ascent.weight -= (np.outer(change, X[i].astype(np.float64)) / ascent.l2).astype(X.dtype)
            ascent.bias -= ascent.bias_step * change


def _worst(residual: Float, step: Float, own: int) -> Float:
    """The projection of r + e_y + step on the simplex, less e_y."""
    point = residual + step
    point[own] += 1
    point -= point.max()  # changes nothing, and keeps the digits of the sums where the row's curvature is tiny
    ordered = np.sort(point)[::-1]
    thresholds = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    after = np.maximum(point - thresholds[ordered > thresholds][-1], 0)
    after[own] = 0.0
    after[own] = -after.sum()
    return np.asarray(after)


def _each(residual: Float, step: Float, own: int) -> Float:
    """clip(r_j + step_j − S, 0, 1) for j ≠ y, where S = Σ_j of their growth."""
    others = np.arange(len(residual)) != own
    if not others.any():
        return np.zeros_like(residual)
    point, before = (residual + step)[others], float(residual[others].sum())
    # Σ clip(point − S, 0, 1) − before − S falls and is linear between its kinks.
    kinks = np.sort(np.concatenate([point, point - 1]))
    excess = np.clip(point[None, :] - kinks[:, None], 0, 1).sum(axis=1) - before - kinks
    first = int((excess > 0).sum())
    middle = (
        kinks[0] - 1 if first == 0 else kinks[-1] + 1 if first == len(kinks) else kinks[first - 1 : first + 1].mean()
    )
    inside = (point > middle) & (point - 1 < middle)
    level = (point[inside].sum() + (point - 1 >= middle).sum() - before) / (1 + inside.sum())
    after = np.zeros_like(residual)
    after[others] = np.clip(point - level, 0, 1)
    after[own] = -after.sum()
    return np.asarray(after)
