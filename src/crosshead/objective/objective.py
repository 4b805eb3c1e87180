"""Loss × penalty × data: what a solver minimises, and the lower bound that certifies it.

    F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + R(W),    R(W) = α(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²)

Every pass yields residuals rᵢ in the domain of the conjugate ℓ*, and with them, by Fenchel duality, a number that no
F can be below:

    D(r) = −Σ sᵢ ℓ*(rᵢ) / Σ sᵢ − R*(−G),    G = Σ sᵢ rᵢ xᵢᵀ / Σ sᵢ,    provided Σ sᵢ rᵢ = 0 if there is a bias.

The loss makes the residuals sum to zero (`Loss.balance`), the penalty scales them into its domain
(`ElasticNet.best_bound`); neither needs another pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.engines.moments import weighted_moments
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Curvature, DualPoint, Float, Loss, Moments
from crosshead.objective.hessian import Hessian, build_hessian
from crosshead.objective.metric import ClassFactor, KroneckerMetric, build_metric, variances_of
from crosshead.penalties import ElasticNet

CURVATURE_ROWS = 16384  # rows that the metric is built from
VARIANCE_ROWS = 4096  # rows whose squares are held at once
ORIGIN_SHARE = 1e-3  # of the curvature at W = 0 in every metric
ROUNDINGS = 4
SMALL_PARAMETERS, SMALL_ROWS = 250, 5000
SCORES_OF_SAMPLE = 1 << 23  # at most this many scores of those rows at once


@dataclass(frozen=True)
class Evaluation:
    """What one pass tells at a point.

    * ``value``: F, with the loss as it is; ``bound``: no F is below it (−inf where alpha = 0)
    * ``surrogate``, ``surrogate_bound``: the same for the smoothed loss (equal where nothing is smoothed)
    * ``gradient``: of the surrogate without the L1 part, as a flat vector like ``point``
    * ``free_value``: the dual value as it would be were the residuals' sums already zero, before the penalty's part
    * ``exact``: computed in float64 throughout; ``coarse``: on rounded features, at a point on their grid
    """

    point: Float
    value: float
    bound: float
    surrogate: float
    surrogate_bound: float
    gradient: Float
    free_value: float
    exact: bool
    coarse: bool = False


@final
class Objective:
    """F on flat parameter vectors (W row by row, then b), with gradient, bound, metric and prox.

    Errors: ValueError where the loss cannot take the data's targets.
    """

    def __init__(
        self, engine: Engine, loss: Loss, penalty: ElasticNet, *, fit_intercept: bool = True, seed: int = 0
    ) -> None:
        if engine.data.target.ndim == 2 and not loss.accepts_probabilities:
            raise ValueError(f"the loss {loss.name!r} needs class labels, not probabilities")
        self.engine, self.loss, self.penalty = engine, loss, penalty
        self.fit_intercept, self.seed = fit_intercept, seed
        self.n_classes, self.n_features = engine.data.n_classes, engine.data.n_features

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.n_classes * (self.n_features + 1)

    @property
    def smooth(self) -> bool:
        """Whether the loss has a Lipschitz gradient."""
        return self.loss.smooth

    @property
    def small(self) -> bool:
        """Whether a Hessian is so quickly formed and factorised that no cheaper model of it is worth its name."""
        return self.size <= SMALL_PARAMETERS and self.engine.data.n_rows <= SMALL_ROWS

    @property
    def smooths(self) -> bool:
        """Whether the loss is a smoothed stand-in for one with kinks."""
        return self.loss.smoothed(0.0) != self.loss

    @property
    def has_certificate(self) -> bool:
        """Whether a lower bound exists: alpha > 0."""
        return self.penalty.alpha > 0

    @property
    def inexact_passes(self) -> bool:
        """Whether passes without ``exact`` are rounded more coarsely."""
        return bool(self.engine.data.features.dtype == np.float32)

    @property
    def l1_weight(self) -> float:
        """αρ, the factor of ‖W‖₁, which `Evaluation.gradient` leaves out."""
        return self.penalty.l1_weight

    def smoothed(self, smoothing: float) -> Objective:
        """The same objective with the loss smoothed over a width; certificates stay those of the loss itself."""
        other = Objective(
            self.engine,
            self.loss.smoothed(smoothing),
            self.penalty,
            fit_intercept=self.fit_intercept,
            seed=self.seed,
        )
        for shared in ("moments", "floor", "_sample", "_feature_size", "_unseen"):
            other.__dict__[shared] = getattr(self, shared)
        return other

    @property
    def coarse_resolution(self) -> float | None:
        """The relative difference of two values that coarse passes tell apart; None where there are no such passes."""
        return None if self.engine.coarse is None else self.engine.coarse.resolution

    def unpack(self, point: Float) -> tuple[Float, Float]:
        """W (C, D) and b (C,) of a flat vector, as views."""
        split = self.n_classes * self.n_features
        return point[:split].reshape(self.n_classes, self.n_features), point[split:]

    def pack(self, weight: Float, bias: Float) -> Float:
        """A flat vector of W (C, D) and b (C,)."""
        return np.concatenate([weight.ravel(), bias])

    def without_shift(self, step: Float) -> Float:
        """A step with what only adds one number to all scores taken out of its bias part."""
        if not self.loss.shift_invariant:
            return step
        weight, bias = self.unpack(step)
        return self.pack(weight, bias - bias.mean())

    @cached_property
    def moments(self) -> Moments:
        """Means of targets and features, computed once."""
        return weighted_moments(self.engine)

    @cached_property
    def floor(self) -> float:
        """The smallest value the mean loss can take."""
        data = self.engine.data
        total = 0.0
        for first in range(0, data.n_rows, 1 << 18):
            block = data.block(first, first + (1 << 18))
            total += float(block.weights @ self.loss.infimum(block.target))
        return total / data.total_weight

    def evaluate(self, point: Float, *, exact: bool = True, coarse: bool = False) -> Evaluation:
        """One pass over the data; a ``coarse`` one, where there are such passes, at the nearest point on their grid."""
        weight, bias = self.unpack(point)
        if coarse:
            assert self.engine.coarse is not None
            weight = self.engine.coarse.on_grid(weight)
            point = self.pack(weight, bias)
            sums = self.engine.coarse.evaluate(weight, bias, self.loss)
        else:
            sums = self.engine.evaluate(weight, bias, self.loss, exact=exact)
        total = self.engine.data.total_weight
        G = sums.weight_gradient / total
        g = sums.bias_gradient / total if self.fit_intercept else np.zeros_like(bias)
        charge = self.penalty.value(weight)
        value, surrogate = sums.loss / total + charge, sums.surrogate / total + charge
        bound = self._bound(DualPoint(sums.dual / total, G, g)) - self._rounding(weight, bias, value)
        # Fenchel's equality: −ℓ*(r) = ℓ(z) − ⟨r, z⟩ at r = ∇ℓ(z), for the loss whose gradient was taken.
        surrogate_dual = sums.surrogate / total - float(np.vdot(G, weight)) - float(g @ bias)
        return Evaluation(
            point=point,
            value=value,
            bound=bound,
            surrogate=surrogate,
            surrogate_bound=self._scaled_bound(surrogate_dual, G) if self.smooths else bound,
            gradient=self.pack(G + self.penalty.gradient(weight), g),
            free_value=sums.dual / total + float(g @ bias),
            exact=(exact or not self.inexact_passes) and not coarse,
            coarse=coarse,
        )

    def free_bound(self, evaluation: Evaluation) -> float:
        """The bound were the residuals' sums already zero: an estimate, for decisions only."""
        weight, _ = self.unpack(evaluation.point)
        gradient, _ = self.unpack(evaluation.gradient)
        return self._scaled_bound(evaluation.free_value, gradient - self.penalty.gradient(weight))

    def metric(self, evaluation: Evaluation) -> KroneckerMetric:
        """The Kronecker metric at a point, from a sample of rows."""
        sample = self._sample
        return build_metric(
            self.engine,
            self._curvature(evaluation.point),
            sample.features,
            sample.weights / sample.total_weight,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
            unseen=self._unseen,
        )

    def hessian(self, evaluation: Evaluation) -> Hessian | None:
        """The Hessian of the surrogate at a point; None where too many rows are curved to be gathered."""
        weight, bias = self.unpack(evaluation.point)
        return build_hessian(
            self.engine,
            self.loss,
            weight,
            bias,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
        )

    def move_bias(self, evaluation: Evaluation) -> Float:
        """The point after one Newton step on the bias alone, which brings the residuals' sums towards zero."""
        weight, bias = self.unpack(evaluation.point)
        factor = ClassFactor.of(self._curvature(evaluation.point).classes)
        return self.pack(weight, bias - factor.solve(self.unpack(evaluation.gradient)[1]))

    def _curvature(self, point: Float) -> Curvature:
        """The curvature at a point, with a trace of the origin's: it must vanish nowhere that steps may lead."""
        here, origin = self._sampled_curvature(point), self._origin_curvature
        classes = here.classes + ORIGIN_SHARE * origin.classes
        if float(np.trace(classes)) > 0:
            return Curvature(classes, here.rows + ORIGIN_SHARE * origin.rows)
        # No row of the sample sits where the loss is curved: a hinge far from its kinks.
        return Curvature(np.eye(self.n_classes), np.ones(self._sample.n_rows))

    def _sampled_curvature(self, point: Float) -> Curvature:
        weight, bias = self.unpack(point)
        sample = self._sample
        scores = sample.features @ weight.T.astype(sample.features.dtype) + bias
        return self.loss.curvature(scores, sample.target, sample.weights / sample.total_weight)

    @cached_property
    def _origin_curvature(self) -> Curvature:
        return self._sampled_curvature(np.zeros(self.size))

    def _bound(self, point: DualPoint) -> float:
        if not self.has_certificate:
            return -np.inf
        if not self.fit_intercept:
            return self._scaled_bound(point.value, point.weight_gradient)
        balanced = self.loss.balance(point, self.moments)
        return self.floor if balanced is None else self._scaled_bound(balanced.value, balanced.weight_gradient)

    def _rounding(self, weight: Float, bias: Float, value: float) -> float:
        """What rounding may have added to F − D in float64: it follows the size of the scores, not that of F.

        A loss close to zero is a difference of scores, each rounded to a relative 2⁻⁵³; a bound that ignored this
        could lie above the optimum, and a gap of exactly zero mean nothing.
        """
        size = float(np.linalg.norm(weight)) * self._feature_size + float(np.abs(bias).max(initial=0.0))
        return ROUNDINGS * float(np.finfo(np.float64).eps) * (size + abs(value))

    @cached_property
    def _feature_size(self) -> float:
        """The root mean square norm of a row, from the sample."""
        rows = self._sample.features
        total = np.einsum("ij,ij->", rows, rows) if isinstance(rows, np.ndarray) else rows.multiply(rows).sum()
        return float(np.sqrt(float(total) / max(1, rows.shape[0])))

    def _scaled_bound(self, value: float, weight_gradient: Float) -> float:
        if not self.has_certificate:
            return -np.inf
        return self.penalty.best_bound(value, weight_gradient, self.floor)

    @cached_property
    def _unseen(self) -> Float | None:
        """What the variance of each feature over all rows has beyond that over the sample, (D,); None if nothing."""
        data, sample = self.engine.data, self._sample
        if sample is data:
            return None
        center = self.moments.features
        weight = sample.weights / sample.total_weight
        total = np.zeros(data.n_features)
        for first in range(0, data.n_rows, VARIANCE_ROWS):
            block = data.block(first, first + VARIANCE_ROWS)
            total += variances_of(block.features, block.weights / data.total_weight, np.zeros(1))
        within = variances_of(sample.features, weight, np.zeros(1))
        unseen = np.maximum(total - within, 0.0)
        # Differences that rounding makes are no variance, nor is what centring takes away.
        return np.where(unseen > 1e-6 * total, np.minimum(unseen, np.maximum(total - center**2, 0.0)), 0.0)

    @cached_property
    def _sample(self) -> TrainingData:
        data = self.engine.data
        count = min(CURVATURE_ROWS, max(256, SCORES_OF_SAMPLE // self.n_classes))
        if count >= data.n_rows:
            return data
        positive = np.flatnonzero(data.weights > 0)
        chance = np.random.default_rng(self.seed)
        return data.take(np.sort(chance.choice(positive, size=min(count, len(positive)), replace=False)))
