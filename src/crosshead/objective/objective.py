"""The objective that solvers minimise, and the lower bound that certifies it.

    F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + R(W),    R(W) = α(ρ‖W‖₁ + (1 − ρ)/2·‖W‖²)

Every pass computes residuals rᵢ in the domain of the conjugate ℓ*, and with them, by Fenchel duality, a lower bound of
F: `crosshead.objective.certificate`. Methods that solve the dual problem itself use `crosshead.objective.dual_problem`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import final

import numpy as np

from crosshead.curvature.class_blocks import ClassBlocks, build_blocks
from crosshead.curvature.curved_rows import Hessian, build_hessian
from crosshead.curvature.dense_hessian import ClasswiseHessian, DenseHessian, dense_hessian
from crosshead.curvature.kronecker import KroneckerMetric, build_metric
from crosshead.curvature.row_model import ActiveModel, build_active_model
from crosshead.curvature.row_sampling import CurvedSample, RowSampler
from crosshead.curvature.subsampled import SubsampledHessian
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine, PassSums
from crosshead.losses.protocol import Array, Curvature, DualPoint, Float, Loss, Moments
from crosshead.objective.bias import BiasCurvature
from crosshead.objective.certificate import Certificate
from crosshead.objective.dual_problem import DualProblem
from crosshead.objective.evaluation import Evaluation
from crosshead.objective.exact_bias import best_bias
from crosshead.objective.facts import Facts
from crosshead.objective.penalty_levels import PenaltyLevels
from crosshead.penalties import ElasticNet

METRIC_ROWS, METRIC_SHARE = 16384, 0.03  # rows of a metric, and the share of the curvature at zero scores
MODEL_SCORES = 1 << 22  # limit of the coefficients of a second-order model
COMMON_ROUNDING = 1e-9  # of the largest weight: rounding errors common to all classes
MODEL_BLOCK = 1 << 16  # coefficients computed at a time


@final
class Objective:
    """F(W, b) as a function of flat parameter vectors (W row by row, then b), with gradient, bound and models.

    Raises ValueError if the loss does not take the targets of the data.

    Examples
    --------
    >>> from crosshead.engines import make_engine
    >>> from crosshead.losses import Softmax
    >>> data = TrainingData(np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 1], dtype=np.int32), 2)
    >>> objective = Objective(make_engine("reference", data), Softmax(), ElasticNet(0.1))
    >>> evaluation = objective.evaluate(np.zeros(objective.size))
    >>> objective.size, round(evaluation.value, 4), evaluation.bound <= evaluation.value
    (4, 0.6931, True)
    """

    def __init__(
        self, engine: Engine, loss: Loss, penalty: ElasticNet, *, fit_intercept: bool = True, seed: int = 0
    ) -> None:
        if engine.data.target.ndim == 2 and not loss.accepts_probabilities:
            raise ValueError(f"the loss {loss.name!r} needs class labels, not probabilities")
        self.engine, self.loss, self.penalty = engine, loss, penalty
        self.fit_intercept, self.seed = fit_intercept, seed
        self.n_classes, self.n_features = engine.data.n_classes, engine.data.n_features
        self.certificate = Certificate(engine, loss, fit_intercept)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.n_classes * (self.n_features + 1)

    @property
    def smooth(self) -> bool:
        """Whether the loss has a Lipschitz gradient."""
        return self.loss.smooth

    @property
    def is_smoothed(self) -> bool:
        """Whether the loss is a smoothed version of one with kinks."""
        return self.loss.smoothed(0.0) != self.loss

    @property
    def has_certificate(self) -> bool:
        """Whether a lower bound exists: alpha > 0."""
        return self.penalty.alpha > 0

    @property
    def inexact_passes(self) -> bool:
        """Whether passes without ``exact`` have larger rounding errors."""
        return bool(self.engine.data.features.dtype == np.float32)

    @property
    def alpha(self) -> float:
        """α, the penalty's strength."""
        return self.penalty.alpha

    @property
    def l2_weight(self) -> float:
        """α(1 − ρ), the factor of ‖W‖²/2."""
        return self.penalty.l2_weight

    @property
    def l1_weight(self) -> float:
        """αρ, the factor of ‖W‖₁, which `Evaluation.gradient` leaves out."""
        return self.penalty.l1_weight

    def smoothed(self, smoothing: float) -> Objective:
        """The same objective with a smoothed loss; certificates are still those of the loss itself."""
        assert self._sampler is not None  # created here, so that both share it
        return self._with(self.loss.smoothed(smoothing), self.penalty)

    def with_penalty(self, penalty: ElasticNet) -> Objective:
        """The same objective with another penalty; quantities of the data alone are shared."""
        return self._with(self.loss, penalty)

    def _with(self, loss: Loss, penalty: ElasticNet) -> Objective:
        other = copy.copy(self)
        other.loss, other.penalty = loss, penalty
        for name in ("dual", "facts"):  # depend on loss and penalty
            other.__dict__.pop(name, None)
        return other

    @cached_property
    def facts(self) -> Facts:
        """The facts that determine the plan."""
        data = self.engine.data
        return Facts(
            n_rows=data.n_rows,
            n_features=self.n_features,
            n_classes=self.n_classes,
            itemsize=int(data.features.dtype.itemsize),
            sparse=data.sparse,
            labelled=data.target.ndim == 1,
            smooth=self.smooth,
            quadratic=self.smooth and self._has_rows_model,
            violations=self.loss.pieces is not None,
            piecewise=self.loss.pieces is not None and not self.loss.pieces.squared,
            couples=self.loss.shift_invariant,
            l1=self.penalty.l1_weight > 0,
            l2=self.penalty.l2_weight > 0,
            dual_steps=self.dual.dual_steps,
            fast_sweeps=self.engine.fast_sweeps,
        )

    @property
    def _has_rows_model(self) -> bool:
        """Whether a smooth loss has a second-order model of each row."""
        return self.loss.quadratic(np.zeros((0, self.n_classes)), self.engine.data.target[:0], 0.0) is not None

    @property
    def coarse_resolution(self) -> float | None:
        """The relative difference of two values that coarse passes resolve; None without coarse passes."""
        return None if self.engine.coarse is None else self.engine.coarse.resolution

    def unpack(self, point: Float) -> tuple[Float, Float]:
        """Split a flat vector into W (C, D) and b (C,), as views."""
        split = self.n_classes * self.n_features
        return point[:split].reshape(self.n_classes, self.n_features), point[split:]

    def pack(self, weight: Float, bias: Float) -> Float:
        """Combine W (C, D) and b (C,) into a flat vector."""
        return np.concatenate([weight.ravel(), bias])

    def without_shift(self, step: Float) -> Float:
        """A step without the part that adds one number to all scores of a row: of the bias, and of W if it is free."""
        if not self.loss.shift_invariant:
            return step
        weight, bias = self.unpack(step)
        if self.penalty.alpha == 0:  # no curvature at all: rounding errors of the gradient would be amplified
            weight = weight - weight.mean(axis=0)
        return self.pack(weight, bias - bias.mean())

    def without_common(self, point: Float) -> Float:
        """A point without the mean of the weights over the classes, if the loss is invariant to it; this reduces F.

        The point itself is returned if the mean is zero up to rounding.
        """
        if not self.loss.shift_invariant or self.penalty.l2_weight == 0 or self.penalty.l1_weight > 0:
            return point
        weight, bias = self.unpack(point)
        common = weight.mean(axis=0)
        if np.abs(common).max(initial=0.0) <= COMMON_ROUNDING * np.abs(weight).max(initial=0.0):
            return point
        return self.pack(weight - common, bias)

    @property
    def moments(self) -> Moments:
        """Means of targets and features, computed once."""
        return self.certificate.moments

    @property
    def floor(self) -> float:
        """The smallest possible value of the mean loss."""
        return self.certificate.floor

    @cached_property
    def dual(self) -> DualProblem:
        """The dual problem, for the methods that solve it."""
        return DualProblem(self.engine, self.loss, self.penalty, self._sampler, self.fit_intercept)

    def evaluate(self, point: Float, *, exact: bool = True, coarse: bool = False) -> Evaluation:
        """Run one pass over the data; a ``coarse`` one, if available, is at the nearest point on its grid."""
        weight, bias = self.unpack(point)
        if coarse:
            assert self.engine.coarse is not None
            weight = self.engine.coarse.on_grid(weight)
            point = self.pack(weight, bias)
            weight, bias = self.unpack(point)  # views: vectors may be as large as X
            sums = self.engine.coarse.evaluate(weight, bias, self.loss)
        else:
            sums = self.engine.evaluate(weight, bias, self.loss, exact=exact)
        return self._evaluation(point, sums, exact=(exact or not self.inexact_passes) and not coarse, coarse=coarse)

    def evaluate_balanced(self, point: Float, *, exact: bool = True) -> Evaluation:
        """Run a pass at the weights W of a point and the optimal bias for them, at which the residuals sum to zero.

        It stores the scores of all rows, (N, C), and costs about one and a half passes.
        """
        if self.fit_intercept:
            weight, bias = self.unpack(point)
            scores = self.engine.scores(weight, bias, 0, self.engine.data.n_rows, exact=exact)
            point = self.pack(weight, bias + best_bias(self.engine, self.loss, scores, bias, self.moments.target))
            del scores
        return self.evaluate(point, exact=exact)

    def _evaluation(self, point: Float, sums: PassSums, *, exact: bool, coarse: bool) -> Evaluation:
        weight, bias = self.unpack(point)
        total = self.engine.data.total_weight
        gradient = sums.gradient  # owned by this pass, so that it may be modified
        gradient /= total
        G, g = self.unpack(gradient)
        if not self.fit_intercept:
            g[:] = 0.0
        sums = replace(sums, weight_gradient=G, bias_gradient=g)
        penalty_value = self.penalty.value(weight)
        value, surrogate = sums.loss / total + penalty_value, sums.surrogate / total + penalty_value
        if not (np.isfinite(penalty_value) and np.isfinite(bias).all()):
            value = surrogate = np.inf  # comparisons in a hinge may take NaN for a margin that is met
        bound = self._bound(DualPoint(sums.dual / total, G, g), weight, bias, value)
        # Fenchel's equality: −ℓ*(r) = ℓ(z) − ⟨r, z⟩ at r = ∇ℓ(z), for the loss whose gradient was taken.
        surrogate_dual = sums.surrogate / total - float(np.vdot(G, weight)) - float(g @ bias)
        surrogate_bound = self.certificate.scaled(self.penalty, surrogate_dual, G) if self.is_smoothed else bound
        G += self.penalty.gradient(weight)
        return Evaluation(
            point=point,
            value=value,
            bound=bound,
            surrogate=surrogate,
            surrogate_bound=surrogate_bound,
            gradient=gradient,
            free_value=sums.dual / total + float(g @ bias),
            exact=exact,
            coarse=coarse,
        )

    def free_bound(self, evaluation: Evaluation) -> float:
        """The bound if the sums of the residuals were zero: an estimate, for decisions only."""
        weight, _ = self.unpack(evaluation.point)
        gradient, _ = self.unpack(evaluation.gradient)
        return self.certificate.scaled(self.penalty, evaluation.free_value, gradient - self.penalty.gradient(weight))

    def metric(self, evaluation: Evaluation) -> KroneckerMetric:
        """The Kronecker metric at a point, from subsampled rows."""
        return self._metric(self._subsample(evaluation, METRIC_ROWS, METRIC_SHARE), METRIC_SHARE)

    def model(
        self, evaluation: Evaluation, *, rows: int, share: float, in_place: bool = False
    ) -> SubsampledHessian | None:
        """∇²F at a point from about ``rows`` rows; None without a second-order model of rows.

        ``share`` is the share of the curvature at zero scores: larger for longer steps. ``in_place`` avoids a bfloat16
        copy of the rows.
        """
        sample = self._subsample(evaluation, min(rows, max(256, MODEL_SCORES // self.n_classes)), share)
        if sample.quadratic is None or sample.coefficients is None:
            return None
        data = TrainingData(sample.features, sample.coefficients, self.n_classes, sample.weight)
        return SubsampledHessian(
            self.engine.over(data) if in_place else self.engine.inexact_over(data),
            sample.quadratic,
            self._metric(sample, share),
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
            shift_invariant=self.loss.shift_invariant,
        )

    def active_model(self, evaluation: Evaluation, coordinates: Array, *, share: float) -> ActiveModel | None:
        """The second-order model of F over some weights, given as flat positions in W, and the bias.

        ``share`` is the share of the curvature at zero scores; above 1 it is a multiple of that curvature alone. None
        without a second-order model of rows.
        """
        rows = max(256, min(self.engine.data.n_rows, MODEL_SCORES // self.n_classes))
        weight, _ = self.unpack(evaluation.point)
        gradient, bias = self.unpack(evaluation.gradient)
        return build_active_model(
            self._subsample(evaluation, rows, min(share, 1.0)),
            weight,
            gradient,
            bias if self.fit_intercept else None,
            coordinates,
            l1=self.penalty.l1_weight,
            l2=self.penalty.l2_weight,
            stretch=max(share, 1.0),
        )

    @property
    def levels(self) -> PenaltyLevels:
        """The same objective with stronger penalties."""
        return PenaltyLevels(self.engine, self.loss, self.penalty, self._sampler, self.fit_intercept, self.seed)

    def _subsample(self, evaluation: Evaluation, rows: int, share: float) -> CurvedSample:
        weight, bias = self.unpack(evaluation.point)
        return self._sampler.draw(self.loss, weight, bias, rows, share)

    def _metric(self, sample: CurvedSample, share: float) -> KroneckerMetric:
        curvature = sample.curvature
        classes = curvature.classes
        if not float(np.sum(np.diag(classes) if classes.ndim == 2 else classes)) > 0:
            # No row of the sample is curved: a hinge far from its kinks.
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

    def class_blocks(
        self, evaluation: Evaluation, *, share: float, groups: int, rows: int, seed: int
    ) -> ClassBlocks | None:
        """The inverted blocks of the Hessian at a point, for about ``groups`` groups of classes.

        ``share`` is the share of the curvature at zero scores. It stores one number per score, (N, C), in the dtype of
        the features, and costs half a pass plus the blocks. None without a second-order model of rows.
        """
        engine, data = self.engine, self.engine.data
        none = np.zeros((0, self.n_classes))
        model = self.loss.quadratic(none, data.target[:0], share)
        if model is None:
            return None
        quadratic = model[0]
        weight, bias = self.unpack(evaluation.point)
        scores = engine.scores(weight, bias, 0, data.n_rows)
        step = max(1, MODEL_BLOCK // self.n_classes)
        for first in range(0, data.n_rows, step):
            part = slice(first, first + step)
            found = self.loss.quadratic(scores[part], data.target[part], share)
            assert found is not None
            scores[part] = found[1]
        return build_blocks(
            engine,
            quadratic,
            scores,
            self._sampler.leverage,
            groups=groups if weight.any() else 1,  # with equal scores all classes are alike
            rows=rows,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
            shift_invariant=self.loss.shift_invariant,
            seed=seed,
        )

    @property
    def n_weights(self) -> int:
        """C·D, the parameters without the bias."""
        return self.n_classes * self.n_features

    @property
    def feature_sizes(self) -> Float:
        """The standard deviation of each weight's feature, or without an intercept its root mean square, (C·D,)."""
        variance = self._sampler.variance
        if not self.fit_intercept:
            variance = variance + self._sampler.center**2
        return np.tile(np.sqrt(variance), self.n_classes)

    def dense_hessian(self, evaluation: Evaluation) -> DenseHessian | ClasswiseHessian:
        """The Hessian of the loss as a matrix, from the scores of all rows."""
        data = self.engine.data
        scores = self.engine.scores(*self.unpack(evaluation.point), 0, data.n_rows, exact=True)
        model = self.loss.quadratic(scores, data.target, 0.0)
        assert model is not None
        return dense_hessian(data, *model, fit_intercept=self.fit_intercept, shift_invariant=self.loss.shift_invariant)

    def hessian(self, evaluation: Evaluation) -> Hessian | None:
        """The Hessian of the surrogate at a point; None if too many rows are curved to copy them."""
        weight, bias = self.unpack(evaluation.point)
        return build_hessian(
            self.engine,
            self.loss,
            weight,
            bias,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
        )

    def certified_by(self, evaluation: Evaluation, point: DualPoint) -> Evaluation:
        """The evaluation with the bound of another dual point, if that is better."""
        weight, bias = self.unpack(evaluation.point)
        bound = self._bound(point, weight, bias, evaluation.value)
        return replace(evaluation, bound=max(evaluation.bound, bound))

    def bias_curvature(self, evaluation: Evaluation) -> BiasCurvature:
        """∂²F/∂b² at a point, from some rows of each class."""
        return BiasCurvature.of(self.loss, self.engine.data, *self.unpack(evaluation.point))

    def move_bias(self, evaluation: Evaluation, curvature: BiasCurvature | None = None) -> Float:
        """The point after one Newton step on the bias alone, which reduces the sums of the residuals."""
        weight, bias = self.unpack(evaluation.point)
        curvature = curvature or self.bias_curvature(evaluation)
        return self.pack(weight, bias + curvature.step(self.unpack(evaluation.gradient)[1]))

    def _bound(self, point: DualPoint, weight: Float, bias: Float, value: float) -> float:
        certificate = self.certificate
        return certificate.bound(self.penalty, point) - certificate.rounding(weight, bias, value)

    @cached_property
    def _sampler(self) -> RowSampler:
        return RowSampler(self.engine, self.n_classes, self.seed)
