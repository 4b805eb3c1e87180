"""The dual problem, as methods solve it: coordinate ascent, quadratic program, multipliers.

Where each is worth its while is in `crosshead.solvers.costs`; what takes residuals to a bound is
`crosshead.objective.certificate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from crosshead.curvature.augmented_lagrangian import AugmentedLagrangian
from crosshead.curvature.quadratic_program import Program, build_program
from crosshead.curvature.row_sampling import RowSampler
from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.protocol import Engine
from crosshead.engines.row_subset import ChosenRows
from crosshead.losses.protocol import Float, Loss
from crosshead.objective.certificate import Certificate
from crosshead.objective.saddle_point import SaddlePoint
from crosshead.penalties import ElasticNet

WIDTHS = (1.0, 0.3, 0.1, 0.03, 0.01)  # over which kinks are rounded off at a start that is given


@final
@dataclass(frozen=True)
class DualProblem:
    """The dual problem of F."""

    engine: Engine
    loss: Loss
    penalty: ElasticNet
    sampler: RowSampler
    fit_intercept: bool

    @cached_property
    def program(self) -> Program:
        """The quadratic program of a loss of violations.

        Errors: ValueError for other losses.
        """
        return build_program(
            self.engine.data,
            self.loss,
            l1_weight=self.penalty.l1_weight,
            l2_weight=self.penalty.l2_weight,
            fit_intercept=self.fit_intercept,
        )

    @property
    def ascends(self) -> bool:
        """Whether the loss knows a row's best residuals, and rows can be visited one by one."""
        return self.loss.ascends and not isinstance(self.engine.data.features, ChosenRows)

    def ascent(self) -> Ascent:
        """Dual coordinate ascent at residuals of zero, which needs an L2 part."""
        return Ascent.of(self._by_rows.data, self.loss, self.penalty.l2_weight, self.fit_intercept)

    def begin(self, ascent: Ascent, weight: Float, bias: Float) -> None:
        """Set an ascent to the residuals at weights (C, D) and bias (C,).

        The gradient of a loss with kinks is no residual at which a fit ends: it is either of a kink's two sides. So the
        loss is smoothed, over that one of some widths which gives the best dual point.
        """
        data, certificate = self.engine.data, Certificate(self.engine, self.loss, self.fit_intercept)
        scores = np.asarray(self.engine.scores(weight, bias, 0, data.n_rows), dtype=np.float64)

        def bound(width: float) -> float:
            residual = self.loss.smoothed(width).value_and_gradient(scores, data.target)[1]
            return certificate.bound(self.penalty, ascent.begin(residual, bias))

        if self.loss.smooth:
            bound(0.0)
            return
        bounds = {width: bound(width) for width in WIDTHS}
        best = max(WIDTHS, key=lambda width: bounds[width])
        if best != WIDTHS[-1]:
            bound(best)

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Take an ascent further by so many sweeps over the rows."""
        self._by_rows.ascend(ascent, sweeps)

    @cached_property
    def _by_rows(self) -> Engine:
        """The engine, over a copy of dense features whose rows do not lie together: a visit of a row would be slow."""
        data = self.engine.data
        X = data.features
        if data.sparse or X.flags.c_contiguous or X.strides[1] == X.itemsize:
            return self.engine
        rows = TrainingData(np.ascontiguousarray(X), data.target, data.n_classes, data.sample_weight)
        return self.engine.over(rows)

    @property
    def saddle(self) -> SaddlePoint:
        """F as a saddle point of weights and residuals."""
        data, fit_intercept = self.engine.data, self.fit_intercept
        center = self.sampler.center if fit_intercept else np.zeros(data.n_features)
        with np.errstate(over="ignore"):  # a column of infinite size has no unit to take steps in
            variance = self.sampler.variance if fit_intercept else self.sampler.variance + self.sampler.center**2
        return SaddlePoint(self.engine, self.loss, self.penalty, fit_intercept, center, np.sqrt(variance))

    @property
    def augmented(self) -> AugmentedLagrangian:
        """The augmented Lagrangian of a hinge with an L2 penalty."""
        center = self.sampler.center if self.fit_intercept else np.zeros(self.engine.data.n_features)
        return AugmentedLagrangian(self.engine, self.loss, self.penalty.l2_weight, self.fit_intercept, center)
