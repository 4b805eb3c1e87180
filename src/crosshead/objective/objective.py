"""Loss × penalty × data: what a solver minimises, and the lower bound that certifies it.

    F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + R(W),    R(W) = α(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²)

Every pass yields residuals rᵢ in the domain of the conjugate ℓ*, and with them, by Fenchel duality, a number that no
F can be below:

    D(r) = −Σ sᵢ ℓ*(rᵢ) / Σ sᵢ − R*(−G),    G = Σ sᵢ rᵢ xᵢᵀ / Σ sᵢ,    provided Σ sᵢ rᵢ = 0 if there is a bias.

The loss makes the residuals sum to zero (`Loss.balance`), the penalty scales them into its domain
(`ElasticNet.best_bound`); neither needs another pass.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import final

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.moments import weighted_moments
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Loss, Moments
from crosshead.objective.augmented import AugmentedLagrangian
from crosshead.objective.bias import BiasCurvature
from crosshead.objective.evaluation import Evaluation
from crosshead.objective.hessian import Hessian, build_hessian
from crosshead.objective.metric import DENSE_FEATURES, KroneckerMetric, build_metric
from crosshead.objective.penalty_levels import PenaltyLevels
from crosshead.objective.program import Program, build_program
from crosshead.objective.row_model import ActiveModel, build_active_model
from crosshead.objective.sampled_hessian import SampledHessian
from crosshead.objective.sampling import CurvedSample, RowSampler
from crosshead.penalties import ElasticNet

METRIC_ROWS, METRIC_SHARE = 16384, 0.03  # rows of a metric, and the share of their curvature that is the origin's
MODEL_SCORES = 1 << 22  # at most so many coefficients of a second-order model
PROBE_ROWS = 1024
ROUNDINGS = 8  # and half of one for each class: so much may the sum over the classes lose at every addition
SMALL_PARAMETERS, SMALL_ROWS = 250, 5000


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
        for shared in ("moments", "floor", "_sampler", "_feature_size"):
            other.__dict__[shared] = getattr(self, shared)
        return other

    def with_penalty(self, penalty: ElasticNet) -> Objective:
        """The same objective with another penalty; what has been computed of the data alone is shared."""
        other = copy.copy(self)
        other.penalty = penalty
        other.__dict__.pop("program", None)  # holds the penalty's weights
        return other

    @property
    def coarse_resolution(self) -> float | None:
        """The relative difference of two values that coarse passes tell apart; None where there are no such passes."""
        return None if self.engine.coarse is None else self.engine.coarse.resolution

    def begin_coarse(self) -> None:
        """Have coarse passes made ready beside other work."""
        self.engine.begin_coarse()

    def end_coarse(self) -> None:
        """Give back what coarse passes hold."""
        self.engine.end_coarse()

    def unpack(self, point: Float) -> tuple[Float, Float]:
        """W (C, D) and b (C,) of a flat vector, as views."""
        split = self.n_classes * self.n_features
        return point[:split].reshape(self.n_classes, self.n_features), point[split:]

    def pack(self, weight: Float, bias: Float) -> Float:
        """A flat vector of W (C, D) and b (C,)."""
        return np.concatenate([weight.ravel(), bias])

    def without_shift(self, step: Float) -> Float:
        """A step without what only adds one number to all scores of a row: of its bias, and of W where that is free."""
        if not self.loss.shift_invariant:
            return step
        weight, bias = self.unpack(step)
        if self.penalty.alpha == 0:  # no curvature at all: any rounding of the gradient would be blown up
            weight = weight - weight.mean(axis=0)
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
        gradient = self.pack(sums.weight_gradient, sums.bias_gradient if self.fit_intercept else np.zeros_like(bias))
        gradient /= total
        sums = replace(sums, weight_gradient=np.empty((0, 0)))  # as large as X may be: nobody asks for it again
        G, g = self.unpack(gradient)
        charge = self.penalty.value(weight)
        value, surrogate = sums.loss / total + charge, sums.surrogate / total + charge
        if not (np.isfinite(charge) and np.isfinite(bias).all()):
            value = surrogate = np.inf  # comparisons within a hinge may take what is no number for a margin that is met
        bound = self._bound(DualPoint(sums.dual / total, G, g)) - self._rounding(weight, bias, value)
        # Fenchel's equality: −ℓ*(r) = ℓ(z) − ⟨r, z⟩ at r = ∇ℓ(z), for the loss whose gradient was taken.
        surrogate_dual = sums.surrogate / total - float(np.vdot(G, weight)) - float(g @ bias)
        surrogate_bound = self._scaled_bound(surrogate_dual, G) if self.smooths else bound
        G += self.penalty.gradient(weight)
        return Evaluation(
            point=point,
            value=value,
            bound=bound,
            surrogate=surrogate,
            surrogate_bound=surrogate_bound,
            gradient=gradient,
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
        return self._metric(self._drawn(evaluation, METRIC_ROWS, METRIC_SHARE), METRIC_SHARE)

    def model(
        self, evaluation: Evaluation, *, rows: int, share: float, in_place: bool = False
    ) -> SampledHessian | None:
        """∇²F at a point from about ``rows`` rows; None where the loss has no second-order model of rows.

        ``share`` of the rows' curvature is that at zero scores: more of it for longer steps. ``in_place`` forgoes a
        copy of the rows in bfloat16.
        """
        sample = self._drawn(evaluation, min(rows, max(256, MODEL_SCORES // self.n_classes)), share)
        if sample.quadratic is None or sample.coefficients is None:
            return None
        data = TrainingData(sample.features, sample.coefficients, self.n_classes, sample.weight)
        return SampledHessian(
            self.engine.over(data) if in_place else self.engine.steering_over(data),
            sample.quadratic,
            self._metric(sample, share),
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
            shift_invariant=self.loss.shift_invariant,
        )

    def active_model(self, evaluation: Evaluation, coordinates: Array, *, share: float) -> ActiveModel | None:
        """The second-order model of F over some weights, positions in W row by row, and the bias.

        ``share`` of the curvature is that at zero scores; above 1, all of it is, so many times. None where the loss has
        no second-order model of rows.
        """
        rows = max(256, min(self.engine.data.n_rows, MODEL_SCORES // self.n_classes))
        weight, _ = self.unpack(evaluation.point)
        gradient, bias = self.unpack(evaluation.gradient)
        return build_active_model(
            self._drawn(evaluation, rows, min(share, 1.0)),
            weight,
            gradient,
            bias if self.fit_intercept else None,
            coordinates,
            l1=self.penalty.l1_weight,
            l2=self.penalty.l2_weight,
            stretch=max(share, 1.0),
        )

    @property
    def wide(self) -> bool:
        """Whether there are more features than rows, or than a matrix of all pairs of them should have."""
        return self.n_features > min(self.engine.data.n_rows, DENSE_FEATURES)

    @property
    def levels(self) -> PenaltyLevels:
        """The same objective beside stronger penalties."""
        return PenaltyLevels(self.engine, self.loss, self.penalty, self._sampler, self.fit_intercept, self.seed)

    def _drawn(self, evaluation: Evaluation, rows: int, share: float) -> CurvedSample:
        weight, bias = self.unpack(evaluation.point)
        return self._sampler.draw(self.loss, weight, bias, rows, share)

    def _metric(self, sample: CurvedSample, share: float) -> KroneckerMetric:
        curvature = sample.curvature
        classes = curvature.classes
        if not float(np.sum(np.diag(classes) if classes.ndim == 2 else classes)) > 0:
            # No row of the sample sits where the loss is curved: a hinge far from its kinks.
            curvature = Curvature(np.eye(self.n_classes), np.ones(len(sample.weight)))
        return build_metric(
            self.engine,
            curvature,
            sample.features,
            sample.weight,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
            least=share * self._sampler.variance,
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

    @cached_property
    def program(self) -> Program | None:
        """The quadratic program of a piecewise linear loss; None for other losses and where it would be large."""
        return build_program(
            self.engine.data,
            self.loss,
            l1_weight=self.penalty.l1_weight,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
        )

    @property
    def ascends(self) -> bool:
        """Whether dual coordinate ascent is possible, and worth its while."""
        if self.loss.pieces is None or self.l1_weight > 0 or not self.has_certificate or self.small:
            return False
        return self.engine.ascends and Ascent.fits(self.engine.data)

    def ascent(self) -> Ascent | None:
        """Dual coordinate ascent at residuals of zero; None where the loss or the data are not made for it."""
        if self.loss.pieces is None or self.penalty.l2_weight == 0:
            return None
        return Ascent.of(self.engine.data, self.loss.pieces, self.penalty.l2_weight, self.fit_intercept)

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Take an ascent further by so many sweeps over the rows."""
        self.engine.ascend(ascent, sweeps)

    @property
    def augmented(self) -> AugmentedLagrangian | None:
        """The augmented Lagrangian of a hinge with an L2 penalty; None for other losses, or where it would be large."""
        pieces = self.loss.pieces
        if pieces is None or not self._augments:
            return None
        center = self._sampler.center if self.fit_intercept else np.zeros(self.n_features)
        return AugmentedLagrangian(self.engine, pieces, self.penalty.l2_weight, self.fit_intercept, center)

    @property
    def newton_sweeps(self) -> float:
        """What minimising it costs, in sweeps of dual coordinate ascent; inf where there is none."""
        return AugmentedLagrangian.sweeps(self.engine.data) if self._augments else np.inf

    @property
    def _augments(self) -> bool:
        if self.loss.pieces is None or self.l1_weight > 0 or not self.has_certificate:
            return False
        return AugmentedLagrangian.fits(self.engine.data)

    def certified_by(self, evaluation: Evaluation, point: DualPoint) -> Evaluation:
        """An evaluation whose bound is that of another dual point, where this one is better."""
        weight, bias = self.unpack(evaluation.point)
        bound = self._bound(point) - self._rounding(weight, bias, evaluation.value)
        return replace(evaluation, bound=max(evaluation.bound, bound))

    def bias_curvature(self, evaluation: Evaluation) -> BiasCurvature:
        """∂²F/∂b² at a point, from some rows a class."""
        return BiasCurvature.of(self.loss, self.engine.data, *self.unpack(evaluation.point))

    def move_bias(self, evaluation: Evaluation, curvature: BiasCurvature | None = None) -> Float:
        """The point after one Newton step on the bias alone, which brings the residuals' sums towards zero."""
        weight, bias = self.unpack(evaluation.point)
        curvature = curvature or self.bias_curvature(evaluation)
        return self.pack(weight, bias + curvature.step(self.unpack(evaluation.gradient)[1]))

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
        with np.errstate(over="ignore"):  # infinite rounding makes an infinite gap
            size = float(np.linalg.norm(weight)) * self._feature_size + float(np.abs(bias).max(initial=0.0))
        return (ROUNDINGS + self.n_classes / 2) * float(np.finfo(np.float64).eps) * (size + abs(value))

    @cached_property
    def _feature_size(self) -> float:
        """The root mean square norm of a row, from a few of them."""
        data = self.engine.data
        rows = data.features[:: max(1, data.n_rows // PROBE_ROWS)]
        total = np.einsum("ij,ij->", rows, rows) if isinstance(rows, np.ndarray) else rows.multiply(rows).sum()
        return float(np.sqrt(float(total) / max(1, rows.shape[0])))

    def _scaled_bound(self, value: float, weight_gradient: Float) -> float:
        if not self.has_certificate:
            return -np.inf
        return self.penalty.best_bound(value, weight_gradient, self.floor)

    @cached_property
    def _sampler(self) -> RowSampler:
        return RowSampler(self.engine, self.n_classes, self.seed)
