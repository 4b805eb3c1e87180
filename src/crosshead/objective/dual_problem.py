"""The dual of a loss with kinks, as methods solve it: coordinate ascent, quadratic program, multipliers.

Each form says where it applies; what takes residuals to a bound is `crosshead.objective.certificate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Loss
from crosshead.objective.augmented import AugmentedLagrangian
from crosshead.objective.program import Program, build_program
from crosshead.objective.sampling import RowSampler
from crosshead.penalties import ElasticNet


@final
@dataclass(frozen=True)
class DualProblem:
    """The dual problem of F; ``small`` says that a Hessian costs next to nothing (`Objective.small`)."""

    engine: Engine
    loss: Loss
    penalty: ElasticNet
    sampler: RowSampler
    fit_intercept: bool
    small: bool

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
        return self._hinge and not self.small and self.engine.ascends and Ascent.fits(self.engine.data)

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
        center = self.sampler.center if self.fit_intercept else np.zeros(self.engine.data.n_features)
        return AugmentedLagrangian(self.engine, pieces, self.penalty.l2_weight, self.fit_intercept, center)

    @property
    def newton_sweeps(self) -> float:
        """What minimising it costs, in sweeps of dual coordinate ascent; inf where there is none."""
        return AugmentedLagrangian.sweeps(self.engine.data) if self._augments else np.inf

    @property
    def _augments(self) -> bool:
        return self._hinge and AugmentedLagrangian.fits(self.engine.data)

    @property
    def _hinge(self) -> bool:
        """Whether the loss is piecewise linear, and the penalty L2 alone."""
        return self.loss.pieces is not None and self.penalty.l1_weight == 0 and self.penalty.alpha > 0
