"""The Hessian of an objective at a point, estimated from rows subsampled by their curvature.

With score Hessians Hᵢ, x̃ᵢ = (xᵢ, 1) and row weights wᵢ, which account for the rows left out,

    ∇²F ≈ Σ wᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ) I (on W only).

A product with it is a pass over few rows, so that solving Newton's equation costs a fraction of a pass over all rows.
The gradient is exact, so the solution does not depend on the subsample (Byrd, Chin, Neveitt and Nocedal, SIAM Journal
on Optimization 21, 2011).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from scipy.linalg.blas import daxpy

from crosshead.curvature.support import SupportMetric
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Float, QuadraticLoss


@final
@dataclass(frozen=True)
class SubsampledHessian:
    """∇²F on flat parameters.

    ``engine`` has the rows, with their coefficients as target; ``metric`` is computed from the same rows.
    """

    engine: Engine
    quadratic: QuadraticLoss
    metric: Any
    l2_weight: float
    fit_intercept: bool
    shift_invariant: bool

    @property
    def n_rows(self) -> int:
        """The number of subsampled rows."""
        return self.engine.data.n_rows

    def multiply(self, direction: Float) -> Float:
        """Multiply ∇²F by a flat vector."""
        weight, bias = self._unpack(direction)
        if self.shift_invariant:  # what all classes have in common only adds rounding errors
            sums = self.engine.evaluate(weight - weight.mean(axis=0), bias - bias.mean(), self.quadratic, exact=False)
        else:
            sums = self.engine.evaluate(weight, bias, self.quadratic, exact=False)
        product = sums.gradient  # owned by this product, so that it may be modified
        G, g = product[: weight.size].reshape(weight.shape), product[weight.size :]
        if self.shift_invariant:
            G -= G.mean(axis=0)
            g -= g.mean()
        if not self.fit_intercept:
            g[:] = 0.0
        daxpy(direction, product, n=G.size, a=self.l2_weight)  # in place
        return product

    def precondition(self, vector: Float) -> Float:
        """Apply the inverse of the rows' Kronecker metric to a flat vector."""
        weight, bias = self.metric.precondition(*self._unpack(vector))
        return np.concatenate([weight.ravel(), bias])

    def on_support(self) -> SupportMetric:
        """The preconditioner if some weights are fixed at zero."""
        engine = self.engine.over(self.engine.data)  # without the rows' bfloat16 copy, which may be freed earlier
        return SupportMetric(engine, self.quadratic, self.metric, self.fit_intercept, self.shift_invariant)

    @property
    def diagonal(self) -> Float:
        """The diagonal of the metric, with the bias relative to the mean feature, flat."""
        B = self.metric.class_matrix
        classes = np.diag(B) if B.ndim == 2 else B
        weight = np.outer(classes, self.metric.features.diagonal) + self.l2_weight
        return np.concatenate([weight.ravel(), classes])

    def at(self, l2_weight: float) -> SubsampledHessian:
        """The same curvature of the loss, with another penalty."""
        return replace(self, l2_weight=l2_weight, metric=replace(self.metric, l2_weight=l2_weight))

    def _unpack(self, point: Float) -> tuple[Float, Float]:
        data = self.engine.data
        split = data.n_classes * data.n_features
        bias = point[split:] if self.fit_intercept else np.zeros(data.n_classes)
        return point[:split].reshape(data.n_classes, -1), bias
