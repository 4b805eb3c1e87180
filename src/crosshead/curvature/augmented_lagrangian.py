"""The augmented Lagrangian of a hinge: smoothed around good residuals r̄ instead of around zero.

A piecewise linear hinge is the maximum of ⟨r, m⟩ over residuals r in its domain, with m the violations. With r̄ in it,

    φ(W, b) = Σ sᵢ max_r (⟨r, mᵢ⟩ − μ/2·‖r − r̄ᵢ‖²) + α/2·‖W‖²

is differentiable, and the maximising r at its minimum are better residuals than r̄ (Rockafellar, Mathematics of
Operations Research 1, 1976). So the width μ need not go to zero. The Hessian of φ is a sum over the rows whose r is in
the interior, which are few if most margins are clearly met or violated (Li, Sun and Toh, SIAM Journal on Optimization
28, 2018).

The norm excludes the target's column if every violation counts; if only the largest counts, r plus one in the target's
column lies on a simplex, and the norm is over all columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from crosshead.curvature.factored import AllRowsHessian, FactoredHessian, factorise
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import Engine
from crosshead.losses.protocol import Array, DualPoint, Float, Loss, Pieces, QuadraticLoss
from crosshead.losses.quadratic import CentredQuadratic, DiagonalQuadratic, StarQuadratic

BLOCK_ELEMENTS = 1 << 21
# Curvature of a bias without curved rows, and of all others: shares of the curvature if all rows were curved.
# Since W can compensate for it, a bias with few curved rows is nearly free to move.
BIAS_PENALTY, MIN_CHARGE = 1e-4, 1e-10


@final
@dataclass(frozen=True)
class Curved:
    """A point: its residuals r (N, C), and which of them change with the scores.

    * ``active`` (N, C): strictly inside the box, or in the support on the simplex
    * ``dual``: r as a dual point of the hinge; ``gradient``: ∇φ, flat
    * ``complementarity`` Σ sᵢ(ℓᵢ − ⟨rᵢ, mᵢ⟩) and ``stationarity`` ‖∇_W φ‖²/(2α): together the gap, except for the bias
    """

    residual: Float
    active: Array
    dual: DualPoint
    gradient: Float
    complementarity: float
    stationarity: float


@final
@dataclass(frozen=True)
class AugmentedLagrangian:
    """φ on flat parameters; points along a line are compared by their slopes."""

    engine: Engine
    loss: Loss
    l2_weight: float
    fit_intercept: bool
    center: Float

    @property
    def pieces(self) -> Pieces:
        """The hinge as a loss of violations."""
        assert self.loss.pieces is not None
        return self.loss.pieces

    @property
    def no_residual(self) -> Float:
        """Residuals of zero, (N, C), which are in the domain of every hinge."""
        return np.zeros((self.engine.data.n_rows, self.engine.data.n_classes))

    def scores(self, point: Float) -> Float:
        """Scores of all rows in float64, (N, C)."""
        weight, bias = self._unpack(point)
        features = self.engine.data.features
        out = np.empty((len(features), len(bias)))
        step = max(1, BLOCK_ELEMENTS // max(1, features.shape[1]))
        for first in range(0, len(out), step):
            np.matmul(features[first : first + step].astype(np.float64), weight.T, out=out[first : first + step])
        out += bias
        return out

    def moved(self, step: Float) -> Float:
        """The change of the scores with a step, in the dtype of the features: errors only affect the step length."""
        weight, bias = self._unpack(step)
        return self.engine.scores(weight, bias, 0, self.engine.data.n_rows).astype(np.float64)

    def at(self, point: Float, scores: Float, center: Float, width: float) -> Curved:
        """Evaluate residuals, ∇φ and both parts of the gap at a point with its ``scores``, centred at ``center``."""
        residual, active = self.residuals(scores, center, width)
        dual = self.dual_point(residual)
        weight, _ = self._unpack(point)
        gradient = dual.weight_gradient + self.l2_weight * weight
        violation = self._violations(scores)
        loss = violation.max(axis=1) if self.pieces.worst else np.maximum(violation, 0).sum(axis=1)
        taken = np.einsum("ic,ic->i", residual, violation)
        return Curved(
            residual=residual,
            active=active,
            dual=dual,
            gradient=np.concatenate([gradient.ravel(), dual.bias_gradient]),
            complementarity=float(self._share @ (loss - taken)),
            stationarity=float(np.vdot(gradient, gradient)) / (2 * self.l2_weight),
        )

    def residuals(self, scores: Float, center: Float, width: float) -> tuple[Float, Array]:
        """The r of each row at its scores, (N, C), and which of them change with the scores."""
        rows, own = self._rows, self.engine.data.target
        point = self._violations(scores)
        point /= width
        point += center
        if not self.pieces.worst:
            active = (point > 0) & (point < 1)
            active[rows, own] = False
            residual = np.clip(point, 0, 1, out=point)
            residual[rows, own] = 0.0
            residual[rows, own] = -residual.sum(axis=1)
            return residual, active
        point[rows, own] += 1
        residual = _onto_simplex(point)
        active = residual > 0
        residual[rows, own] -= 1
        return residual, active

    def dual_point(self, residual: Float) -> DualPoint:
        """The sums over residuals for a bound, in float64; clips the residuals to the domain, in place."""
        data, own = self.engine.data, self.engine.data.target
        self.loss.clip_to_domain(residual, own)
        rows = TrainingData(data.features, residual, data.n_classes, data.sample_weight)
        weight, ones = np.zeros((data.n_classes, data.n_features)), np.ones(data.n_classes)
        # At scores of one, the gradient of ½ Σ r z² is r.
        sums = self.engine.over(rows).evaluate(weight, ones, DiagonalQuadratic(), exact=True)
        value = -self.pieces.margin * float(self._share @ residual[self._rows, own])
        total = self._share @ residual if self.fit_intercept else np.zeros(data.n_classes)
        return DualPoint(value, sums.weight_gradient / data.total_weight, total)

    def slope(self, point: Float, step: Float, center: Float, width: float) -> Callable[[Float, Float, float], float]:
        """The slope dφ/dt along a step as a function of the scores, of their change, and of t."""
        weight, _ = self._unpack(point)
        along, _ = self._unpack(step)
        level, bend = float(np.vdot(weight, along)), float(np.vdot(along, along))

        def of(scores: Float, moved: Float, length: float) -> float:
            residual, _ = self.residuals(scores + length * moved, center, width)
            per_row = np.einsum("ic,ic->i", residual, moved)
            return float(self._share @ per_row) + self.l2_weight * (level + length * bend)

        return of

    def factored(self, curved: Curved, width: float, draw: int) -> FactoredHessian | None:
        """∇²φ, factorised in single precision; None if that fails."""
        engine, quadratic, coefficients = self._curved_rows(curved.active, width)
        return factorise(
            engine,
            quadratic,
            coefficients,
            np.ones(len(coefficients)),
            self.center,
            np.full(engine.data.n_features, self.l2_weight),
            fit_intercept=self.fit_intercept,
            shift_invariant=True,
            seed=draw,
        )

    def hessian(
        self, curved: Curved, width: float, factored: FactoredHessian, *, count: Callable[[], None]
    ) -> AllRowsHessian:
        """Products with ∇²φ over the curved rows alone; ``count`` is called for each."""
        engine, quadratic, coefficients = self._curved_rows(curved.active, width)
        data = engine.data
        rows = replace(data, target=coefficients)
        penalty = np.full(data.n_classes * (data.n_features + 1), self.l2_weight)
        penalty[data.n_classes * data.n_features :] = 0.0
        exact = data.features.dtype == np.float64
        return AllRowsHessian(engine.over(rows), quadratic, factored, penalty, True, exact, count)

    def _curved_rows(self, active: Array, width: float) -> tuple[Engine, QuadraticLoss, Float]:
        """An engine over the rows with a non-zero Hessian, and the coefficients of the Hessians.

        With a bias, an additional row at the mean feature connects the classes that no curved row connects.
        """
        data, total = self.engine.data, self.engine.data.total_weight
        rows = np.flatnonzero((active.sum(axis=1) > int(self.pieces.worst)) & (self._share > 0))
        held = np.concatenate([rows, np.flatnonzero(self._share > 0)[:1]])
        features, target, weights = data.features[held], data.target[held], data.weights[held]
        coefficients = active[held] / width
        coefficients[-1] = 0.0
        if self.fit_intercept:
            features[-1] = self.center
            penalty = np.where(self._connected(active[rows], target[:-1], int(target[-1])), MIN_CHARGE, BIAS_PENALTY)
            penalty[target[-1]] = BIAS_PENALTY
            coefficients[-1] = penalty * total / (weights[-1] * width)
        coefficients *= weights.sum() / total  # sums over these rows are divided by their own total weight
        if not self.pieces.worst:
            coefficients[np.arange(len(held)), target] = -1.0
        engine = self.engine.over(TrainingData(features, target, data.n_classes, weights))
        return engine, CentredQuadratic() if self.pieces.worst else StarQuadratic(), coefficients

    def _connected(self, active: Array, target: Array, first: int) -> Array:
        """The classes connected with the ``first`` by active residuals of some rows, (C,)."""
        members = active.astype(np.float64)
        if not self.pieces.worst:
            members[np.arange(len(target)), target] = 1.0
        _, part = csgraph.connected_components(sparse.csr_matrix(members.T @ members), directed=False)
        return np.asarray(part == part[first])

    def _violations(self, scores: Float) -> Float:
        """m_j = z_j − z_y + Δ, and 0 in the target's column."""
        rows, own = self._rows, self.engine.data.target
        violation = scores - scores[rows, own][:, None]
        violation += self.pieces.margin
        violation[rows, own] = 0.0
        return np.asarray(violation)

    @cached_property
    def _rows(self) -> Array:
        return np.arange(self.engine.data.n_rows)

    @cached_property
    def _share(self) -> Float:
        return self.engine.data.weights / self.engine.data.total_weight

    def _unpack(self, point: Float) -> tuple[Float, Float]:
        split = self.engine.data.n_classes * self.engine.data.n_features
        return point[:split].reshape(self.engine.data.n_classes, -1), point[split:]


def _onto_simplex(point: Float) -> Float:
    """The projection of each row on {p ≥ 0, Σ p = 1} (Held, Wolfe and Crowder, Mathematical Programming 6, 1974)."""
    point -= point.max(axis=1, keepdims=True)
    ordered = -np.sort(-point, axis=1)
    threshold = (ordered.cumsum(axis=1) - 1) / np.arange(1, point.shape[1] + 1)
    used = (ordered > threshold).sum(axis=1)
    point -= threshold[np.arange(len(point)), used - 1][:, None]
    return np.maximum(point, 0, out=point)
