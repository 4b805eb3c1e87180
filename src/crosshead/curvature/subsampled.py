"""The Hessian of an objective at a point, estimated from rows that were drawn by their curvature.

With score Hessians Hᵢ, x̃ᵢ = (xᵢ, 1) and the rows' weights wᵢ, which make up for those that were not drawn,

    ∇²F ≈ Σ wᵢ Hᵢ ⊗ x̃ᵢ x̃ᵢᵀ + α(1 − ρ) I (on W only).

A product with it is a pass over a few rows, so that Newton's equation is solved for a fraction of what a pass over all
of them costs; its gradient stays exact, so the solution does not depend on the draw (Byrd, Chin, Neveitt and Nocedal,
SIAM Journal on Optimization 21, 2011).
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
class SampledHessian:
    """∇²F on flat parameters.

    ``engine`` holds the rows, with their coefficients as target; ``metric`` is made of the same rows.
    """

    engine: Engine
    quadratic: QuadraticLoss
    metric: Any
    l2_weight: float
    fit_intercept: bool
    shift_invariant: bool

    @property
    def n_rows(self) -> int:
        """How many rows it is estimated from."""
        return self.engine.data.n_rows

    def multiply(self, direction: Float) -> Float:
        """∇²F v for a flat v."""
        weight, bias = self._unpack(direction)
        if self.shift_invariant:  # what all classes have in common changes nothing but the rounding
            sums = self.engine.evaluate(weight - weight.mean(axis=0), bias - bias.mean(), self.quadratic, exact=False)
        else:
            sums = self.engine.evaluate(weight, bias, self.quadratic, exact=False)
        product = sums.gradient  # of this product alone, so that it may be changed
        G, g = product[: weight.size].reshape(weight.shape), product[weight.size :]
        if self.shift_invariant:
            G -= G.mean(axis=0)
            g -= g.mean()
        if not self.fit_intercept:
            g[:] = 0.0
        daxpy(direction, product, n=G.size, a=self.l2_weight)  # in place
        return product

    def precondition(self, vector: Float) -> Float:
        """A flat vector through the inverse of the rows' Kronecker metric."""
        weight, bias = self.metric.precondition(*self._unpack(vector))
        return np.concatenate([weight.ravel(), bias])

    def on_support(self) -> SupportMetric:
        """What preconditions it where some weights stay zero."""
        engine = self.engine.over(self.engine.data)  # without the rows' bfloat16 copy, which may go before it does
        return SupportMetric(engine, self.quadratic, self.metric, self.fit_intercept, self.shift_invariant)

    @property
    def diagonal(self) -> Float:
        """The metric's diagonal, the bias seen from the mean feature, flat."""
        B = self.metric.class_matrix
        classes = np.diag(B) if B.ndim == 2 else B
        weight = np.outer(classes, self.metric.features.diagonal) + self.l2_weight
        return np.concatenate([weight.ravel(), classes])

    def at(self, l2_weight: float) -> SampledHessian:
        """The same curvature of the loss, beside another penalty."""
        return replace(self, l2_weight=l2_weight, metric=replace(self.metric, l2_weight=l2_weight))

    def _unpack(self, point: Float) -> tuple[Float, Float]:
        data = self.engine.data
        split = data.n_classes * data.n_features
        bias = point[split:] if self.fit_intercept else np.zeros(data.n_classes)
        return point[:split].reshape(data.n_classes, -1), bias
