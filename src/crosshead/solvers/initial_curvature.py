"""The initial curvature of a quasi-Newton method, H₀, and when to estimate it again.

For dense features of moderate width, H₀ has the inverses of the Hessian's blocks for each class or group of classes
(`crosshead.curvature.class_blocks`), whose application costs next to nothing. If they are too expensive, or steps with
them are shortened too often, H₀ is the Hessian of subsampled rows, inverted approximately by a few conjugate-gradient
steps; if the loss has no second-order model of rows, it is the Kronecker metric, scaled to the last step. It is
estimated again once the passes since the last estimate have cost as much as the estimate.

The estimate mixes in a share of the curvature at zero scores. Newton's model is too optimistic about rows that are no
longer curved but would be again after a long step. So the share falls while unit steps are accepted, and rises when
they are not (as the damping of Levenberg and Marquardt does).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import numpy as np

from crosshead.curvature.class_blocks import ClassBlocks
from crosshead.losses.protocol import Array
from crosshead.solvers.costs import block_rows, build_passes, class_groups
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients
from crosshead.solvers.numerics.long_vectors import dot
from crosshead.solvers.protocol import Float, Objective

FEW_ROWS, MANY_ROWS = 8192, 16384
MANY_AFTER = 30  # iterations: a problem that needs more needs a better model
ROUGH_FORCING, ROUGH_PRODUCTS = 0.4, 10
FINE_FORCING, FINE_PRODUCTS = 0.3, 20
OVERFITTED_PRODUCTS = 5  # limit of products when rows are few: the exact solution would be overfitted
INTERVAL, LONGEST_INTERVAL = 5, 25  # iterations to the first new estimate, and at most between estimates
MIN_INTERVAL = 6  # for blocks, however cheap they are
FIRST_SHARE, SHARE_FACTOR = 0.1, 5.0
ENOUGH_PARAMETERS, MIN_SCALE = 8, 0.05  # parameters per row of a model; the smallest scale of a step
MAX_BLOCK_SCALE = 2.0  # limit of the scale of steps with blocks
FEW_EVALUATIONS, MANY_EVALUATIONS, TOO_MANY_EVALUATIONS = 1.15, 1.5, 2.0  # evaluations per iteration


class InitialCurvature(Protocol):
    """H₀, an approximate inverse of the Hessian; ``interval`` is the number of passes until the next estimate.

    None if that follows from the number of estimates so far.
    """

    @property
    def interval(self) -> float | None: ...  # noqa: D102

    def apply(self, objective: Objective, vector: Float) -> Float:
        """Apply H₀ to a flat vector, which may be overwritten."""
        ...

    def match(self, objective: Objective, step: Array, change: Array) -> InitialCurvature:
        """Fit H₀ to the change of the gradient along the last step."""
        ...

    def at(self, l2_weight: float) -> InitialCurvature:
        """The same with another penalty."""
        ...


@final
@dataclass(frozen=True)
class BlockInverse:
    """The inverses of the blocks, times ``scale``."""

    blocks: ClassBlocks
    interval: float
    scale: float = 1.0

    def apply(self, objective: Objective, vector: Float) -> Float:
        """Nearly (∇²F)⁻¹ v."""
        step = objective.pack(*self.blocks.precondition(*objective.unpack(vector)))
        step *= self.scale
        return step

    def match(self, objective: Objective, step: Array, change: Array) -> BlockInverse:
        """Scale by sᵀy / yᵀH₀y of the last step (Shanno and Phua, Mathematical Programming 14, 1978)."""
        change = change.astype(np.float64, copy=False)
        solved = objective.pack(*self.blocks.precondition(*objective.unpack(change)))
        size = float(change @ solved)
        scale = dot(step, change) / size if size > 0 else 1.0
        return replace(self, scale=float(np.clip(scale, MIN_SCALE, MAX_BLOCK_SCALE)))

    def at(self, l2_weight: float) -> BlockInverse:
        """Return itself: a penalty of similar size changes it little."""
        return self


@final
@dataclass(frozen=True)
class ScaledMetric:
    """The inverse of a metric, with the loss's part divided by ``scale``."""

    metric: Any
    scale: float = 1.0
    interval: None = None

    def apply(self, objective: Objective, vector: Float) -> Float:
        """(B ⊗ A/scale + αI)⁻¹ v."""
        return objective.pack(*self.metric.solve(*objective.unpack(vector), self.scale))

    def match(self, objective: Objective, step: Array, change: Array) -> ScaledMetric:
        """Match the scale to the curvature of the loss along the last step."""
        step, change = (kept.astype(np.float64, copy=False) for kept in (step, change))
        solved = objective.pack(*self.metric.solve(*objective.unpack(change)))
        size = float(change @ solved) / float(step @ change)
        return replace(self, scale=float(np.clip(1.0 / size, 1e-3, 1e3)) if size > 0 else 1.0)

    def at(self, l2_weight: float) -> ScaledMetric:
        """The same with another penalty."""
        return replace(self, metric=replace(self.metric, l2_weight=l2_weight))


@final
@dataclass(frozen=True)
class InexactNewton:
    """The inverse of a Hessian by a few conjugate-gradient steps."""

    model: Any
    forcing: float
    products: int
    scale: float = 1.0
    interval: None = None

    def apply(self, objective: Objective, vector: Float) -> Float:
        """Nearly (∇²F)⁻¹ v."""
        step = conjugate_gradients(self.model, vector, self.forcing, self.products)
        return objective.without_shift(step if self.scale == 1.0 else self.scale * step)

    def match(self, objective: Objective, step: Array, change: Array) -> InexactNewton:
        """If rows are few for the parameters, shorten steps to the curvature of all rows along the last step.

        The step minimises the model of these rows, so that their curvature along it is smaller than that of the others.
        """
        if not overfitted(self.model, objective):
            return self
        step = step.astype(np.float64, copy=False)
        size = float(step @ self.model.multiply(step)) / dot(change, step)
        return replace(self, scale=float(np.clip(size, MIN_SCALE, 1.0)))

    def at(self, l2_weight: float) -> InexactNewton:
        """The same with another penalty."""
        return replace(self, model=self.model.at(l2_weight))


def estimate_curvature(objective: Objective, here: Any, iteration: int, renewal: Renewal) -> InitialCurvature:
    """Estimate the curvature at a point, for a method after ``iteration`` iterations."""
    groups = 0 if renewal.blocks_failed else class_groups(objective.facts)
    if groups > 0:
        rows = block_rows(objective.facts, groups)
        blocks = objective.class_blocks(here, share=renewal.share, groups=groups, rows=rows, seed=renewal.estimates)
        if blocks is not None:
            return BlockInverse(blocks, max(MIN_INTERVAL, build_passes(objective.facts, len(blocks.groups))))
    far = iteration > MANY_AFTER
    model = objective.model(here, rows=MANY_ROWS if far else FEW_ROWS, share=renewal.share)
    if model is None:
        return ScaledMetric(objective.metric(here))
    forcing, products = (FINE_FORCING, FINE_PRODUCTS) if far else (ROUGH_FORCING, ROUGH_PRODUCTS)
    return InexactNewton(model, forcing, OVERFITTED_PRODUCTS if overfitted(model, objective) else products)


def overfitted(model: Any, objective: Objective) -> bool:
    """Whether a model has too few rows for the parameters."""
    return bool(model.n_rows * ENOUGH_PARAMETERS < objective.size)


@dataclass
class Renewal:
    """When to estimate the curvature again, the share of that at zero scores, and whether blocks have failed."""

    share: float = FIRST_SHARE
    estimates: int = 1
    blocks_failed: bool = False
    iterations: int = 0  # since the last estimate
    evaluations: int = 0

    def count(self, evaluations: int) -> None:
        """Count one more iteration and its evaluations."""
        self.iterations += 1
        self.evaluations += evaluations

    def due(self, interval: float | None = None) -> bool:
        """Whether a new estimate is due, after ``interval`` passes if given; if so, adapt the share."""
        if not self.iterations:
            return False
        pace = self.evaluations / self.iterations
        stumbling = self.iterations >= INTERVAL - 1 and pace > TOO_MANY_EVALUATIONS
        if interval is None:
            waiting = self.iterations < min(INTERVAL * self.estimates, LONGEST_INTERVAL)
        else:
            waiting = self.evaluations < interval
        if waiting and not stumbling:
            return False
        if pace > MANY_EVALUATIONS:
            self.share = min(1.0, self.share * SHARE_FACTOR)
            self.blocks_failed = True
        elif pace <= FEW_EVALUATIONS and (self.estimates > 1 or interval is not None):
            self.share /= SHARE_FACTOR
        self.estimates, self.iterations, self.evaluations = self.estimates + 1, 0, 0
        return True
