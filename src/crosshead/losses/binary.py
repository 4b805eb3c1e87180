"""The binary loss: an independent logistic loss for each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses import _dual_steps, _numerics
from crosshead.losses._dual import is_balanced, is_finite, mixed
from crosshead.losses._targets import as_fractions, as_indices, as_scores, has_rows, one_hot
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Moments, QuadraticLoss
from crosshead.losses.quadratic import DiagonalQuadratic


@final
@dataclass(frozen=True)
class Binary:
    """Binary cross-entropy: the sum over columns of the logistic loss, in nats.

    ℓ(z, y) = Σ_c log(1 + exp(z_c)) − y_c·z_c with gradient sigmoid(z) − y. A class index t means that column
    t is positive and all others are negative (one against the rest); index −1 means that no column is
    positive, so a single column with indices 0 and −1 is ordinary two-class logistic regression. An (n, C)
    target in [0, 1] has one value per column (multi-label).

    The conjugate is Σ_c p_c log p_c + (1 − p_c) log(1 − p_c) at p = r + y in [0, 1]ᶜ.

    Examples
    --------
    >>> import numpy as np
    >>> Binary().value(np.zeros((2, 1)), [0, -1]).round(4)  # ln 2 for either target
    array([0.6931, 0.6931])
    """

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""
        return "binary"

    @property
    def smooth(self) -> bool:
        """True: the gradient is Lipschitz with constant ¼."""
        return True

    @property
    def shift_invariant(self) -> bool:
        """False: the loss depends on each score."""
        return False

    @property
    def has_probabilities(self) -> bool:
        """True: sigmoids."""
        return True

    @property
    def accepts_probabilities(self) -> bool:
        """True: the target may be an (n, C) array in [0, 1]."""
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
        """The loss of each sample in nats, (n,)."""
        scores = as_scores(scores)
        return _value(scores, self._fractions(target, scores.shape, scores.dtype))

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and sigmoid(z) − y, (n, C)."""
        scores = as_scores(scores)
        y = self._fractions(target, scores.shape, scores.dtype)
        return _value(scores, y), _numerics.sigmoid(scores) - y

    def conjugate(self, residual: Array, target: Array) -> Array:
        """Σ_c p_c log p_c + (1 − p_c) log(1 − p_c) where p = r + y lies in [0, 1]ᶜ, +inf elsewhere, (n,)."""
        residual = as_scores(residual)
        p = residual + self._fractions(target, residual.shape, residual.dtype)
        tolerance = _numerics.domain_tolerance(p.dtype)
        inside = (np.abs(p - 0.5) <= 0.5 + tolerance).all(axis=1)
        return _numerics.where_inside(np.asarray(inside), -_entropies(p).sum(axis=1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """The residual p − y at p = sigmoid(z − q(p − p₀)) of each column, by Newton's method, (n, C)."""
        y = self._fractions(target, residual.shape, np.float64)
        return _dual_steps.sigmoid(residual + y, scores, curvature) - y

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Clip p = r + y to [0, 1]ᶜ, in place; NaN becomes ½."""
        y = self._fractions(target, residual.shape, np.float64)
        p = residual + y
        np.subtract(np.clip(np.where(np.isfinite(p), p, 0.5), 0, 1), y, out=residual)

    def infimum(self, target: Array) -> Array:
        """The sum of the entropies of the columns' targets, 0 for class indices, (n,)."""
        target = np.asarray(target)
        if not has_rows(target):
            return np.zeros(len(target))
        return np.asarray(_entropies(as_fractions(target, target.shape, np.float64)).sum(axis=1))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """Σ sᵢ diag p(1 − p) and the traces Σ_c p_c(1 − p_c), for any target."""
        p = _numerics.sigmoid(as_scores(scores)).astype(np.float64, copy=False)
        spread = p * (1 - p)
        return Curvature(np.diag(np.asarray(weight, dtype=np.float64) @ spread), spread.sum(axis=1))

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """p(1 − p)∘v of each row, for any target, (n, C)."""
        p = _numerics.sigmoid(as_scores(scores))
        return np.asarray(p * (1 - p) * direction)

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float]:
        """Diag p∘(1 − p), with a share of ¼, for any target."""
        p = _numerics.sigmoid(as_scores(scores)).astype(np.float64, copy=False)
        return DiagonalQuadratic(), (1 - share) * p * (1 - p) + share / 4

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """Zero: there is no smoothing, (n, C)."""
        return np.zeros_like(as_scores(scores))

    def curvature_bound(self) -> float:
        """¼, for any number of columns."""
        return 0.25

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Mix every p with one row q so that the mean of p becomes the mean of y in each column.

        ε_c = max((p̄_c − f_c)/p̄_c, (f_c − p̄_c)/(1 − p̄_c)) is the smallest share that leaves
        q_c = p̄_c + (f_c − p̄_c)/ε in [0, 1]; rows are mixed whole, so the largest of them serves all columns.
        """
        if is_balanced(point):
            return point
        if not is_finite(point):
            return None
        excess = point.bias_gradient
        mean = np.clip(moments.target + excess, 0, 1)
        room = np.where(excess > 0, mean, 1 - mean)
        # If rounding leaves a mean outside [0, 1], only the anchor itself, share 1, is feasible.
        shares = np.divide(np.abs(excess), room, out=np.ones_like(mean), where=room > 0)
        share = min(float(shares[excess != 0].max()), 1.0)
        anchor = np.clip(mean - excess / share, 0, 1)
        gradient = np.outer(anchor, moments.features) - moments.target_features
        return mixed(point, share, float(_entropies(anchor).sum()), gradient)

    def bias_limits(self, frequencies: Float) -> Float:
        """−1 for columns of zeros, 1 for columns of ones."""
        return np.where(frequencies <= 0, -1.0, np.where(frequencies >= 1, 1.0, 0.0))

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """The log-odds of the mean targets over those of p: the loss never increases, as for softmax of two classes."""
        mean = frequencies + residual
        return _numerics.log_ratio(frequencies, mean) - _numerics.log_ratio(1 - frequencies, 1 - mean)

    def predict_proba(self, scores: Array) -> Array:
        """Class probabilities (n, C), as one-against-rest classifiers usually give them.

        For one column sigmoid(z), the probability of index 0. For more, sigmoid(z_c) / Σ_k sigmoid(z_k): separate
        sigmoids do not sum to one and are divided by their sum. (For multi-label problems use the sigmoids
        themselves.) The division is done on logarithms, so that it is valid even if all sigmoids underflow.
        """
        scores = as_scores(scores)
        if scores.shape[1] == 1:
            return _numerics.sigmoid(scores)
        return _numerics.softmax(_numerics.log_sigmoid(scores))

    def predict_log_proba(self, scores: Array) -> Array:
        """The logarithms of `predict_proba` in nats, (n, C)."""
        logs = _numerics.log_sigmoid(as_scores(scores))
        return logs if logs.shape[1] == 1 else _numerics.log_softmax(logs)

    def smoothed(self, smoothing: float) -> Binary:
        """Return itself: there are no kinks."""
        return self

    def _fractions(self, target: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """The target as rows of numbers in [0, 1], (n, C)."""
        if has_rows(target):
            return as_fractions(target, shape, dtype)
        return one_hot(as_indices(target, shape, lowest=-1), shape[1], dtype)


def _value(scores: Array, y: Array) -> Array:
    """Σ_c log(1 + e^z) − yz, of validated scores and targets."""
    # = max(z, 0) − yz + log(1 + e^−|z|), where the first difference is exact for y in {0, 1}.
    linear = np.maximum(scores, 0) - y * scores
    return np.asarray((linear + np.log1p(np.exp(-np.abs(scores)))).sum(axis=1))


def _entropies(p: Array | Float) -> Array:
    """The binary entropies −p log p − (1 − p) log(1 − p), in nats."""
    return np.asarray(-_numerics.x_log_x(p) - _numerics.x_log_x(1 - p))
