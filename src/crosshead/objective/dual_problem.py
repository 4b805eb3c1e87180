"""The dual problem, for the methods that solve it: coordinate ascent, quadratic program, multipliers.

`crosshead.solvers.costs` says when each of them pays; `crosshead.objective.certificate` computes bounds from residuals.
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
from crosshead.engines.row_subset import RowSubset
from crosshead.losses.protocol import Float, Loss
from crosshead.objective.certificate import Certificate
from crosshead.objective.saddle_point import SaddlePoint
from crosshead.penalties import ElasticNet

WIDTHS = (1.0, 0.3, 0.1, 0.03, 0.01)  # smoothing widths for the residuals at given weights


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
    def dual_steps(self) -> bool:
        """Whether the loss has a dual step for single rows, and rows can be visited one by one."""
        return self.loss.has_dual_step and not isinstance(self.engine.data.features, RowSubset)

    def ascent(self) -> Ascent:
        """Create the state of dual coordinate ascent at residuals of zero; it needs an L2 part."""
        return Ascent.of(self._by_rows.data, self.loss, self.penalty.l2_weight, self.fit_intercept)

    def begin(self, ascent: Ascent, weight: Float, bias: Float) -> None:
        """Set an ascent to the residuals at weights (C, D) and bias (C,).

        At a kink the gradient is that of one side, while the optimal residual is in between. So the loss is smoothed,
        with the width that gives the best dual point.
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
        """Run sweeps of an ascent over the rows."""
        self._by_rows.ascend(ascent, sweeps)

    @cached_property
    def _by_rows(self) -> Engine:
        """The engine, over a contiguous copy of dense features whose rows are not: visiting rows would be slow."""
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
        with np.errstate(over="ignore"):  # a column of infinite size cannot be scaled
            variance = self.sampler.variance if fit_intercept else self.sampler.variance + self.sampler.center**2
        return SaddlePoint(self.engine, self.loss, self.penalty, fit_intercept, center, np.sqrt(variance))

    @property
    def augmented(self) -> AugmentedLagrangian:
        """The augmented Lagrangian of a hinge with an L2 penalty."""
        center = self.sampler.center if self.fit_intercept else np.zeros(self.engine.data.n_features)
        return AugmentedLagrangian(self.engine, self.loss, self.penalty.l2_weight, self.fit_intercept, center)
