"""Proximal quasi-Newton steps for objectives with an L1 part.

Each minimises a quadratic model of the smooth part plus the L1 norm itself (Lee, Sun and Saunders, SIAM Journal on
Optimization 24, 2014). The model is the Kronecker metric corrected by the last steps in the compact form of Byrd,
Nocedal and Schnabel (Mathematical Programming 63, 1994), and is minimised by coordinate descent without touching the
data, so that an iteration costs one pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.engines.coordinate_descent import QuadraticModel, coordinate_descent
from crosshead.solvers.costs import descent_passes
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.line_search import NOISE_DOUBLE, NOISE_SINGLE
from crosshead.solvers.protocol import Float, Objective

MEMORY = 12
COUPLED_CLASSES = 128  # with more, the model's class factor is diagonal
RIDGE = 1e-3  # of B's mean diagonal: B alone is singular on what all classes have in common
MODEL_TOLERANCE, MAX_SWEEPS = 5e-2, 60
HALVINGS, HIDDEN_TRIALS = 25, 6  # limit of halvings, and of those whose gain is below rounding
DECREASE = 1e-4


@dataclass(frozen=True)
class Frame:
    """Parameters relative to the mean feature: columns of (W, b + W x̄), where the bias hardly interacts with W."""

    metric: Any
    class_matrix: Float
    feature_matrix: Float
    l1: Float
    l2: Float

    @classmethod
    def of(cls, metric: Any, l1_weight: float) -> Frame:
        """Create the frame of a metric, with the bias as an additional, unpenalised column."""
        B = metric.class_matrix
        diagonal = np.diag(B) if B.ndim == 2 else B
        ridge = RIDGE * float(np.mean(diagonal))
        B = B + ridge * np.eye(len(B)) if len(B) <= COUPLED_CLASSES else diagonal + ridge
        A = metric.features.diagonal if metric.features.matrix is None else metric.features.matrix
        columns = len(A)
        l1, l2 = np.full(columns, l1_weight), np.full(columns, metric.l2_weight)
        if metric.fit_intercept:
            A = np.append(A, 1.0) if A.ndim == 1 else np.pad(A, (0, 1))
            A[-1:, ...] = 0.0 if A.ndim == 2 else 1.0
            if A.ndim == 2:
                A[-1, -1] = 1.0
            l1, l2 = np.append(l1, 0.0), np.append(l2, 0.0)
        return cls(metric, B, A, l1, l2)

    def enter(self, weight: Float, bias: Float) -> Float:
        """Transform a difference of points into the frame, (C, D + 1)."""
        if not self.metric.fit_intercept:
            return weight
        return np.column_stack([weight, bias + weight @ self.metric.center])

    def enter_gradient(self, weight: Float, bias: Float) -> Float:
        """Transform a gradient into the frame, (C, D + 1)."""
        if not self.metric.fit_intercept:
            return weight
        return np.column_stack([weight - np.outer(bias, self.metric.center), bias])

    def leave(self, step: Float) -> tuple[Float, Float]:
        """Transform a step back into a step of (W, b)."""
        if not self.metric.fit_intercept:
            return step, np.zeros(len(step))
        return step[:, :-1], step[:, -1] - step[:, :-1] @ self.metric.center

    def multiply(self, step: Float) -> Float:
        """Apply the metric, without the L2 part, to a step in the frame."""
        left = self.class_matrix @ step if self.class_matrix.ndim == 2 else self.class_matrix[:, None] * step
        return np.asarray(left @ self.feature_matrix if self.feature_matrix.ndim == 2 else left * self.feature_matrix)


@dataclass(frozen=True)
class FramedPairs:
    """The last pairs in a frame, flat: steps s, changes y, and the metric applied to the steps."""

    frame: Frame
    pairs: deque[tuple[Float, Float, Float]]

    @classmethod
    def of(cls, frame: Frame, objective: Objective, pairs: Iterable[tuple[Float, Float]]) -> FramedPairs:
        """Transform pairs of parameters and gradients."""
        framed = cls(frame, deque(maxlen=MEMORY))
        for step, change in pairs:
            framed.add(objective, step, change)
        return framed

    def add(self, objective: Objective, step: Float, change: Float) -> None:
        """Add a pair and drop the oldest."""
        entered = self.frame.enter(*objective.unpack(step))
        gradient = self.frame.enter_gradient(*objective.unpack(change))
        self.pairs.append((entered.ravel(), gradient.ravel(), self.frame.multiply(entered).ravel()))


def model_step(run: Run, objective: Objective, here: Any, framed: FramedPairs) -> Float:
    """The step that approximately minimises the model of a frame and its pairs, flat."""
    frame = framed.frame
    scale, low_rank, scaled = _corrections(framed)
    model = QuadraticModel(
        weight=frame.enter(*objective.unpack(here.point)),
        gradient=frame.enter_gradient(*objective.unpack(here.gradient)),
        class_matrix=scale * frame.class_matrix,
        feature_matrix=frame.feature_matrix,
        l1=frame.l1,
        l2=frame.l2,
        low_rank=low_rank,
        low_rank_scaled=scaled,
    )
    step, sweeps = coordinate_descent(model, MODEL_TOLERANCE, MAX_SWEEPS, run.seconds_left)
    run.between += sweeps * descent_passes(objective.facts, low_rank.shape[1])
    return objective.pack(*frame.leave(step))


def _corrections(framed: FramedPairs) -> tuple[float, Float, Float]:
    """The metric's scale σ, and Q, Q K with quasi-Newton Hessian = σ-scaled metric − Q K Qᵀ."""
    frame = framed.frame
    classes = len(frame.class_matrix)
    if not framed.pairs:
        size = classes * len(frame.l1)
        return 1.0, np.zeros((size, 0)), np.zeros((size, 0))
    S, Y, plain = (np.array(columns).T for columns in zip(*framed.pairs, strict=True))
    ridge = np.tile(frame.l2, classes)[:, None] * S
    last_curvature = float(S[:, -1] @ plain[:, -1])
    wanted = float(S[:, -1] @ Y[:, -1] - S[:, -1] @ ridge[:, -1])
    scale = float(np.clip(wanted / last_curvature, 0.1, 10.0)) if last_curvature > 0 else 1.0
    return scale, *compact(S, Y, scale * plain + ridge)


def compact(S: Float, Y: Float, moved: Float) -> tuple[Float, Float]:
    """Q and Q K of the quasi-Newton Hessian B₀ − Q K Qᵀ: from steps, changes and B₀ S, their columns oldest first."""
    products = S.T @ Y
    lower = np.tril(products, -1)
    middle = np.block([[S.T @ moved, lower], [lower.T, -np.diag(np.diag(products))]])
    Q = np.hstack([moved, Y])
    norms = np.sqrt(np.maximum(np.abs(np.diag(middle)), 1e-300))
    K = np.linalg.pinv(middle / np.outer(norms, norms), rcond=1e-12, hermitian=True) / np.outer(norms, norms)
    return Q, Q @ K


def backtrack(run: Run, objective: Objective, here: Any, direction: Float) -> Any | None:
    """The first of the steps 1, ½, ¼, … that sufficiently decreases the objective."""
    weight, _ = objective.unpack(here.point)
    along, _ = objective.unpack(direction)
    l1 = objective.l1_weight
    # Entry by entry: near the optimum, gradient and penalty cancel to the last digits of their sums.
    terms = direction * here.gradient
    terms[: weight.size] += l1 * (np.abs(weight + along) - np.abs(weight)).ravel()
    promised = float(terms.sum())
    if not np.isfinite(promised) or promised >= 0:
        return None
    noise = (NOISE_DOUBLE if run.exact else NOISE_SINGLE) * abs(here.surrogate)
    step, hidden = 1.0, 0
    for _ in range(HALVINGS):
        there = run.evaluate(here.point + step * direction, objective)
        if there.surrogate <= here.surrogate + DECREASE * step * promised:
            return there
        if abs(step * promised) < noise and there.surrogate <= here.surrogate + noise:
            # Values are equal up to rounding; the bound, which follows the gradient, still improves.
            if there.surrogate < here.surrogate or there.surrogate_bound > here.surrogate_bound:
                return there
            if _still_falls(objective, there, step * direction):
                return there
            hidden += 1
            if hidden == HIDDEN_TRIALS:
                return None
        step /= 2
    return None


def _still_falls(objective: Objective, there: Any, step: Float) -> bool:
    """Whether F falls along a step: F is convex, so some subgradient without slope at its end suffices."""
    weight, along = objective.unpack(there.point)[0].ravel(), objective.unpack(step)[0].ravel()
    least = np.where(weight == 0, -np.abs(along), np.sign(weight) * along)
    return float(step @ there.gradient) + objective.l1_weight * float(least.sum()) <= 0
