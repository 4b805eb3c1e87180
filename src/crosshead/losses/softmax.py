"""The softmax loss: cross-entropy between a target distribution and softmax(z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import DTypeLike

from crosshead.losses import _dual_steps, _numerics
from crosshead.losses._dual import is_balanced, is_finite, mixed, settled
from crosshead.losses._targets import as_distributions, as_indices, as_scores, at, has_rows, one_hot
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Moments, QuadraticLoss
from crosshead.losses.quadratic import CentredQuadratic


@final
@dataclass(frozen=True)
class Softmax:
    """Softmax loss, also called cross-entropy or multinomial log-loss, in nats.

    ℓ(z, y) = log Σ_c exp(z_c) − ⟨y, z⟩ with gradient softmax(z) − y, where y is the one-hot row of a class
    index or a row of probabilities. Label smoothing ε replaces y by (1 − ε)·y + ε/C.

    The conjugate is Σ_c p_c log p_c, the negative entropy, at p = r + y in the simplex. The Hessian
    diag p − ppᵀ has eigenvalues of at most ½ (Böhning, Annals of the Institute of Statistical Mathematics 44,
    1992).

    Examples
    --------
    >>> import numpy as np
    >>> value, gradient = Softmax().value_and_gradient(np.log([[1.0, 2.0, 5.0]]), [2])
    >>> value.round(4), gradient.round(4)
    (array([0.47]), array([[ 0.125,  0.25 , -0.375]]))
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        share = _numerics.unit_interval("label_smoothing", self.label_smoothing)
        object.__setattr__(self, "label_smoothing", share)

    @property
    def name(self) -> str:
        """The name in `LOSSES`."""
        return "softmax"

    @property
    def smooth(self) -> bool:
        """True: the gradient is Lipschitz with constant ½."""
        return True

    @property
    def shift_invariant(self) -> bool:
        """True: the loss depends on differences of scores."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """True: softmax(z)."""
        return True

    @property
    def accepts_probabilities(self) -> bool:
        """True: the target may be rows of probabilities."""
        return True

    @property
    def kernel(self) -> tuple[str, tuple[float, float, float]]:
        """The native epilogue and its parameters."""
        return self.name, (0.0, 0.0, self.label_smoothing)

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
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - self._target_score(shifted, target))

    def value_and_gradient(self, scores: Array, target: Array) -> tuple[Array, Array]:
        """The loss of each sample, (n,), and softmax(z) − y, (n, C)."""
        scores = as_scores(scores)
        shifted = scores - scores.max(axis=1, keepdims=True)
        power = np.exp(shifted)
        total = power.sum(axis=1)
        value = np.log(total) - self._target_score(shifted, target)
        power /= total[:, None]
        if has_rows(target):
            return value, power - self._distribution(target, scores.shape, scores.dtype)
        power -= self.label_smoothing / scores.shape[1]
        power[np.arange(len(power)), as_indices(target, scores.shape)] -= 1 - self.label_smoothing
        return value, power

    def conjugate(self, residual: Array, target: Array) -> Array:
        """Σ_c p_c log p_c where p = r + y lies in the simplex, +inf elsewhere, (n,)."""
        residual = as_scores(residual)
        p = residual + self._distribution(target, residual.shape, residual.dtype)
        tolerance = _numerics.domain_tolerance(p.dtype)
        inside = (p >= -tolerance).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= tolerance)
        return _numerics.where_inside(inside, _numerics.x_log_x(p).sum(axis=1))

    def dual_step(self, residual: Float, scores: Float, target: Array, curvature: Float) -> Float:
        """The residual p − y at p = softmax(z − q(p − p₀)), by Newton's method on the scores, (n, C)."""
        y = self._distribution(target, residual.shape, np.float64)
        return _dual_steps.softmax(residual + y, scores, curvature) - y

    def clip_to_domain(self, residual: Float, target: Array) -> None:
        """Normalise p = r + y to the simplex, in place."""
        self._shift(residual, target, 1)
        _dual_steps.normalise_to_simplex(residual)
        self._shift(residual, target, -1)

    def infimum(self, target: Array) -> Array:
        """The entropy of the (smoothed) target: 0 for class indices without smoothing, (n,).

        The entropy of a smoothed target grows with the number of classes, which class indices do not determine. The
        highest index present is used, so that the result is a lower bound, and exact if the last class occurs. Rows of
        probabilities (n, C) give the exact infimum.
        """
        target = np.asarray(target)
        if not has_rows(target):
            classes = int(target.max(initial=0)) + 1
            indices = as_indices(target, (len(target), classes))
            if self.label_smoothing == 0:
                return np.zeros(len(indices))
            target = one_hot(indices, classes)
        rows = self._distribution(target, target.shape, np.float64)
        return np.asarray(-_numerics.x_log_x(rows).sum(axis=1))

    def curvature(self, scores: Array, target: Array, weight: Array) -> Curvature:
        """Σ sᵢ (diag p − ppᵀ) and the traces 1 − ‖p‖², for any target."""
        p = self.predict_proba(scores)
        weighted = p * np.asarray(weight)[:, None].astype(p.dtype)
        classes = np.negative(weighted.T @ p, dtype=np.float64)
        np.einsum("cc->c", classes)[:] += weighted.sum(axis=0, dtype=np.float64)
        return Curvature(classes, (p * (1 - p)).sum(axis=1, dtype=np.float64))

    def hessian_product(self, scores: Array, target: Array, direction: Array) -> Array:
        """p∘v − p·(pᵀv) of each row, for any target, (n, C)."""
        p = self.predict_proba(scores)
        product = p * direction
        product -= p * product.sum(axis=1, keepdims=True)
        return np.asarray(product)

    def quadratic(self, scores: Array, target: Array, share: float) -> tuple[QuadraticLoss, Float]:
        """Diag p̃ − p̃p̃ᵀ at p̃ = (1 − share)·p + share/C, for any target."""
        p = self.predict_proba(scores).astype(np.float64, copy=False)
        p *= 1 - share
        p += share / p.shape[1]
        return CentredQuadratic(), p

    def smoothing_slope(self, scores: Array, target: Array) -> Array:
        """Zero: there is no smoothing, (n, C)."""
        return np.zeros_like(as_scores(scores))

    def curvature_bound(self) -> float:
        """½, for any number of classes."""
        return 0.5

    def balance(self, point: DualPoint, moments: Moments) -> DualPoint | None:
        """Mix every p with one distribution q so that the mean of p becomes the mean of y.

        ε = max_c (1 − f_c/p̄_c)₊ is the smallest share that leaves q = p̄ + (f − p̄)/ε in the simplex, where
        f and p̄ are the means of y and p. A class without rows has f_c = 0 and gives ε = 1: every p becomes q.
        """
        if is_balanced(point):
            return point
        excess = point.bias_gradient
        if not is_finite(point):
            return None
        if not ((excess > 0).any() and (excess < 0).any()):
            return settled(point)
        frequencies, target_features = self._smoothed_moments(moments)
        mean = frequencies + excess
        # g/p̄ rather than 1 − f/p̄, to avoid cancellation when the bias gradient is small.
        shares = np.divide(excess, mean, out=np.zeros_like(mean), where=excess > 0)
        share = min(float(shares.max()), 1.0)
        anchor = np.maximum(mean - excess / share, 0)
        anchor /= anchor.sum()
        entropy = -float(_numerics.x_log_x(anchor).sum())
        anchored = np.outer(anchor, moments.features)
        anchored -= target_features
        return mixed(point, share, entropy, anchored)

    def bias_limits(self, frequencies: Float) -> Float:
        """−1 for classes without any share in the targets."""
        absent = (frequencies <= 0) & (self.label_smoothing == 0)
        return np.where(absent & (frequencies.max(initial=0.0) > 0), -1.0, 0.0)

    def bias_step(self, frequencies: Float, residual: Float) -> Float | None:
        """The log-ratio of mean targets to mean p, which never increases the loss (Darroch and Ratcliff, 1972)."""
        wanted = (1 - self.label_smoothing) * frequencies + self.label_smoothing / max(1, len(frequencies))
        return _numerics.log_ratio(wanted, wanted + residual)

    def predict_proba(self, scores: Array) -> Array:
        """softmax(z), (n, C)."""
        return _numerics.softmax(as_scores(scores))

    def predict_log_proba(self, scores: Array) -> Array:
        """Log-softmax of the scores in nats, (n, C)."""
        return _numerics.log_softmax(as_scores(scores))

    def smoothed(self, smoothing: float) -> Softmax:
        """Return itself: there are no kinks."""
        return self

    def _target_score(self, scores: Array, target: Array) -> Array:
        """⟨y, z⟩ of each row, without forming y from class indices."""
        if has_rows(target):
            return np.asarray((self._distribution(target, scores.shape, scores.dtype) * scores).sum(axis=1))
        own = at(scores, as_indices(target, scores.shape))
        if self.label_smoothing == 0:
            return own
        return np.asarray((1 - self.label_smoothing) * own + self.label_smoothing * scores.mean(axis=1))

    def _distribution(self, target: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """The target as smoothed rows of probabilities, (n, C)."""
        if has_rows(target):
            rows = as_distributions(target, shape, dtype)
        else:
            rows = one_hot(as_indices(target, shape), shape[1], dtype)
        if self.label_smoothing == 0:
            return rows
        return np.asarray((1 - self.label_smoothing) * rows + self.label_smoothing / shape[1])

    def _shift(self, rows: Array, target: Array, sign: int) -> None:
        """Add the targets to rows (n, C), or subtract them, in place."""
        if has_rows(target):
            rows += sign * self._distribution(target, rows.shape, rows.dtype)
            return
        indices = as_indices(target, rows.shape)
        rows[np.arange(len(rows)), indices] += sign * (1 - self.label_smoothing)
        if self.label_smoothing > 0:
            rows += sign * self.label_smoothing / rows.shape[1]

    def _smoothed_moments(self, moments: Moments) -> tuple[Float, Float]:
        """Mean target and mean target × features with label smoothing, from those without."""
        if self.label_smoothing == 0:
            return moments.target, moments.target_features
        keep = 1 - self.label_smoothing
        each = self.label_smoothing / len(moments.target)
        return keep * moments.target + each, keep * moments.target_features + each * moments.features
