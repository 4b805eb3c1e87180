"""Dual coordinate ascent with an L2 penalty: its state, and the reference implementation of its kernel.

With residuals rᵢ in the domain of the loss's conjugate and normalised row weights sᵢ,

    W = −(1/α) Σ sᵢ rᵢ xᵢᵀ,    b = b₀ − (1/β) Σ sᵢ rᵢ,

and the dual objective as a function of one row's rᵢ alone has a maximum that each loss computes (`Loss.dual_step`;
Shalev-Shwartz and Zhang, Journal of Machine Learning Research 14, 2013). β > 0 adds β/2·‖b − b₀‖²: without it,
Σ sᵢ rᵢ = 0 would have to hold, and no single row could change. Moving b₀ to b makes the term vanish in the limit
(Rockafellar, SIAM Journal on Control and Optimization 14, 1976).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from crosshead.engines.data import TrainingData
from crosshead.losses.protocol import Array, DualPoint, Float, Loss

BIAS_SHARE = 0.1  # the bias's share of a row's curvature, relative to that of its features on average
# The same for smooth losses, whose rows move a little in all classes at once. But b₀ also has to move faster than the
# loss is curved, which for C equally frequent classes is about 1/C; no row may count on the bias alone for that.
SMOOTH_BIAS_SHARE, CLASS_STEPS, MAX_BIAS_CURVATURE = 0.5, 10.0, 0.5
BLOCK_ELEMENTS = 1 << 21
LANES = 16  # classes that the kernel processes side by side: weights of sparse features are padded to a multiple
FEW_CLASSES = 8  # with fewer, there is no padding
LONGEST_STEP = 1e150  # of the bias, so that products do not overflow
STILL = 0.02  # of the largest change of a sweep: rows that change less are skipped
MIN_CURVATURE, MAX_CURVATURE = 1e-200, 1e300  # of a row that is updated: others overflow


@dataclass
class Ascent:
    """The residuals r (N, C) of all rows, and the weights W and the bias b (C,) that follow from them.

    ``weight`` has the dtype of the features and accumulates rounding errors; `settle` recomputes it. Its shape is
    (C, D), for sparse features (D, C) with padded columns. ``bias_step`` is 1/β, zero without a bias. A row whose
    residuals change by no more than ``still`` is skipped in the next sweep, and in more sweeps the next time.
    """

    data: TrainingData
    loss: Loss
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
    still: float = field(default=0.0)

    @classmethod
    def of(cls, data: TrainingData, loss: Loss, l2: float, fit_intercept: bool) -> Ascent:
        """Create the state at residuals of zero.

        Rows without features start at their optimum, the loss's gradient at scores of zero.
        """
        n, C = data.n_rows, data.n_classes
        squares = row_squares(data)
        share = data.weights / data.total_weight
        stride = C if C < FEW_CLASSES else -(-C // LANES) * LANES
        shape = (data.n_features, stride) if data.sparse else (C, data.n_features)
        residual = np.zeros((n, C))
        if not fit_intercept:
            unreached = np.flatnonzero(squares == 0)
            residual[unreached] = loss.value_and_gradient(np.zeros((len(unreached), C)), data.target[unreached])[1]
        return cls(
            data=data,
            loss=loss,
            l2=l2,
            share=share,
            squares=squares,
            bias_step=_bias_step(loss, l2, share, squares, C) if fit_intercept else 0.0,
            weight=np.zeros(shape, dtype=data.features.dtype),
            bias=np.zeros(C),
            residual=residual,
            pause=np.zeros(n, dtype=np.uint8),
            waiting=np.zeros(n, dtype=np.uint8),
            order=np.arange(n),
        )

    def count(self, sweeps: int, largest: float) -> None:
        """Record ``sweeps`` more sweeps, and the largest change of a residual in the last one.

        Residuals of a smooth loss never stop changing, so rows that change little compared with others are skipped.
        """
        self.sweeps += sweeps
        if self.loss.smooth:
            self.still = STILL * largest

    @property
    def steepness(self) -> float:
        """Σ sᵢ qᵢ with qᵢ = sᵢ‖xᵢ‖²/α: the curvature of the dual objective along residuals, without the bias."""
        with np.errstate(over="ignore"):
            return float((self.share * self.share) @ (self.squares / self.l2))

    def begin(self, residual: Float, bias: Float) -> DualPoint:
        """Set the residuals (N, C) and the bias (C,); return the dual point of the residuals."""
        self.residual[:] = residual
        self.bias[:] = bias
        return self.settle()[1]

    def settle(self) -> tuple[Float, DualPoint]:
        """Recompute W (C, D) from the residuals, in float64; return it and the dual point of the residuals."""
        data, C = self.data, self.data.n_classes
        gradient, value = np.zeros((data.n_features, C) if data.sparse else (C, data.n_features)), 0.0
        step = max(1, BLOCK_ELEMENTS // (C if data.sparse else max(C, data.n_features)))
        for first in range(0, data.n_rows, step):
            block, share = data.block(first, first + step), self.share[first : first + step]
            residual = self.residual[first : first + step]
            self.loss.clip_to_domain(residual, block.target)
            value -= float(share @ self.loss.conjugate(residual, block.target))
            weighted = residual * share[:, None]
            if data.sparse:
                gradient += block.features.T @ weighted
            else:
                gradient += weighted.T @ block.features.astype(np.float64)
        with np.errstate(over="ignore"):  # with infinite weights no score is finite, and no row is updated
            self.weight[:, : gradient.shape[1]] = gradient / -self.l2
        gradient = np.ascontiguousarray(gradient.T) if data.sparse else gradient
        return gradient / -self.l2, DualPoint(value, gradient, self.share @ self.residual)

    def follow_bias(self, total: Float) -> None:
        """Move b₀ to b; ``total`` is Σ sᵢ rᵢ."""
        self.bias -= self.bias_step * total
        self.waiting[:] = 0


def _bias_step(loss: Loss, l2: float, share: Float, squares: Float, classes: int) -> float:
    """1/β."""
    size = float(share @ squares)
    step = (SMOOTH_BIAS_SHARE if loss.smooth else BIAS_SHARE) * (size if size > 0 else 1 / BIAS_SHARE) / l2
    if loss.smooth:
        step = max(step, min(CLASS_STEPS * classes, MAX_BIAS_CURVATURE / float(share.max())))
    return min(step, LONGEST_STEP)


def row_squares(data: TrainingData) -> Float:
    """‖xᵢ‖² of each row in float64, (N,)."""
    X = data.features
    if data.sparse:
        squares = sparse.csr_matrix((np.square(X.data, dtype=np.float64), X.indices, X.indptr), X.shape)
        return np.asarray(squares.sum(axis=1)).ravel()
    step = max(1, BLOCK_ELEMENTS // max(1, data.n_features))
    blocks = (X[first : first + step].astype(np.float64) for first in range(0, data.n_rows, step))
    return np.concatenate([np.einsum("ij,ij->i", block, block) for block in blocks])


def ascend(ascent: Ascent, sweeps: int) -> None:
    """The reference implementation of the kernel, row by row, in another order and without skipping rows."""
    X, loss = ascent.data.features, ascent.loss
    for _ in range(sweeps):
        np.random.default_rng(ascent.sweeps).shuffle(ascent.order)
        ascent.sweeps += 1
        for i in ascent.order:
            with np.errstate(over="ignore", invalid="ignore"):
                curvature = ascent.share[[i]] * (ascent.squares[[i]] / ascent.l2 + ascent.bias_step)
            if not MIN_CURVATURE < float(curvature[0]) < MAX_CURVATURE:
                continue
            scores = _scores(ascent, i)
            if not np.isfinite(scores).all():
                continue
            after = loss.dual_step(ascent.residual[[i]], scores[None], ascent.data.target[[i]], curvature)[0]
            change = ascent.share[i] * (after - ascent.residual[i])
            ascent.residual[i] = after
            if ascent.data.sparse:
                row, classes = X[[i]], len(change)
                step = np.outer(row.data.astype(np.float64), change) / ascent.l2
                np.subtract.at(ascent.weight[:, :classes], row.indices, step.astype(X.dtype))
            else:
                ascent.weight -= (np.outer(change, X[i].astype(np.float64)) / ascent.l2).astype(X.dtype)
            ascent.bias -= ascent.bias_step * change


def _scores(ascent: Ascent, i: int) -> Float:
    X = ascent.data.features
    if not ascent.data.sparse:
        return np.asarray((ascent.weight @ X[i]).astype(np.float64) + ascent.bias)
    row = X[[i]]
    weight = ascent.weight[row.indices, : len(ascent.bias)]
    return np.asarray((row.data @ weight).astype(np.float64) + ascent.bias)
