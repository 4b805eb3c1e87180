"""What a quasi-Newton method knows of the curvature before it has taken a step, and when to estimate it again.

For dense features of moderate width that are the Hessian's blocks of each class, or of groups of classes, inverted
(`crosshead.curvature.class_blocks`): applying them costs next to nothing. Where steps with them have to be shortened
too often, and where they cost too much, it is the Hessian of rows drawn by their curvature, inverted roughly by a few
conjugate gradients; where the loss has no second-order model of rows, the Kronecker metric, scaled to what the last
step met. Each is built again as the iterates move on: once the passes since have cost as much as building it.

The model mixes in a share of the curvature at zero scores. Newton's model promises too much where it counts on rows
that are no longer curved and would be again after a long step, so the share falls while unit steps are accepted, and
rises when they are not (as the damping of Levenberg and Marquardt does).
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
MANY_AFTER = 30  # iterations: who needs more of them has a problem that needs a better model
ROUGH_FORCING, ROUGH_PRODUCTS = 0.4, 10
FINE_FORCING, FINE_PRODUCTS = 0.3, 20
OVERFITTED_PRODUCTS = 5  # where rows are few for the parameters: the equation's solution is no better than its start
INTERVAL, LONGEST_INTERVAL = 5, 25  # iterations to the first renewal, and between the last ones
LEAST_INTERVAL = 6  # of blocks, however little they cost
FIRST_SHARE, SHARE_FACTOR = 0.1, 5.0
ENOUGH_PARAMETERS, LEAST_SCALE = 8, 0.05  # for each row of a model; the shortest that a step is made
MOST_BLOCK_SCALE = 2.0  # by which blocks' steps are made longer
SMOOTH_GOING, ROUGH_GOING, TOO_ROUGH = 1.15, 1.5, 2.0  # evaluations an iteration


class InitialCurvature(Protocol):
    """H₀, an approximate inverse of the Hessian; ``interval`` is after how many passes it may be built again.

    None where that follows from how often it was.
    """

    @property
    def interval(self) -> float | None: ...  # noqa: D102

    def apply(self, objective: Objective, vector: Float) -> Float:
        """H₀ v for a flat vector, which may be overwritten."""
        ...

    def match(self, objective: Objective, step: Array, change: Array) -> InitialCurvature:
        """Itself, fitted to the gradient's change along the last step, both as they are remembered."""
        ...

    def at(self, l2_weight: float) -> InitialCurvature:
        """The same beside another penalty."""
        ...


@final
@dataclass(frozen=True)
class BlockInverse:
    """The blocks' inverses, times ``scale``."""

    blocks: ClassBlocks
    interval: float
    scale: float = 1.0

    def apply(self, objective: Objective, vector: Float) -> Float:
        """Nearly (∇²F)⁻¹ v."""
        step = objective.pack(*self.blocks.precondition(*objective.unpack(vector)))
        step *= self.scale
        return step

    def match(self, objective: Objective, step: Array, change: Array) -> BlockInverse:
        """Scaled as the last step says: sᵀy / yᵀH₀y (Shanno and Phua, Mathematical Programming 14, 1978)."""
        change = change.astype(np.float64, copy=False)
        solved = objective.pack(*self.blocks.precondition(*objective.unpack(change)))
        size = float(change @ solved)
        scale = dot(step, change) / size if size > 0 else 1.0
        return replace(self, scale=float(np.clip(scale, LEAST_SCALE, MOST_BLOCK_SCALE)))

    def at(self, l2_weight: float) -> BlockInverse:
        """Itself: a penalty of about the same size changes it little."""
        return self


@final
@dataclass(frozen=True)
class ScaledMetric:
    """A metric's inverse, with the loss's part divided by ``scale``."""

    metric: Any
    scale: float = 1.0
    interval: None = None

    def apply(self, objective: Objective, vector: Float) -> Float:
        """(B ⊗ A/scale + αI)⁻¹ v."""
        return objective.pack(*self.metric.solve(*objective.unpack(vector), self.scale))

    def match(self, objective: Objective, step: Array, change: Array) -> ScaledMetric:
        """Match the size to the curvature of the loss seen in the last step."""
        step, change = (kept.astype(np.float64, copy=False) for kept in (step, change))
        solved = objective.pack(*self.metric.solve(*objective.unpack(change)))
        size = float(change @ solved) / float(step @ change)
        return replace(self, scale=float(np.clip(1.0 / size, 1e-3, 1e3)) if size > 0 else 1.0)

    def at(self, l2_weight: float) -> ScaledMetric:
        """The same beside another penalty."""
        return replace(self, metric=replace(self.metric, l2_weight=l2_weight))


@final
@dataclass(frozen=True)
class RoughNewton:
    """A Hessian's inverse by a few conjugate gradients."""

    model: Any
    forcing: float
    products: int
    scale: float = 1.0
    interval: None = None

    def apply(self, objective: Objective, vector: Float) -> Float:
        """Nearly (∇²F)⁻¹ v."""
        step = conjugate_gradients(self.model, vector, self.forcing, self.products)
        return objective.without_shift(step if self.scale == 1.0 else self.scale * step)

    def match(self, objective: Objective, step: Array, change: Array) -> RoughNewton:
        """Of few rows for many parameters, shortened to the curvature that all rows had along the last step.

        The step was made short of curvature in these rows, so that they have less of it there than the rest.
        """
        if not overfitted(self.model, objective):
            return self
        step = step.astype(np.float64, copy=False)
        size = float(step @ self.model.multiply(step)) / dot(change, step)
        return replace(self, scale=float(np.clip(size, LEAST_SCALE, 1.0)))

    def at(self, l2_weight: float) -> RoughNewton:
        """The same beside another penalty."""
        return replace(self, model=self.model.at(l2_weight))


def look(objective: Objective, here: Any, iteration: int, renewal: Renewal) -> InitialCurvature:
    """The curvature at a point, for a method that has come so many iterations far."""
    groups = 0 if renewal.rough else class_groups(objective.facts)
    if groups > 0:
        rows = block_rows(objective.facts, groups)
        blocks = objective.class_blocks(here, share=renewal.share, groups=groups, rows=rows, seed=renewal.looks)
        if blocks is not None:
            return BlockInverse(blocks, max(LEAST_INTERVAL, build_passes(objective.facts, len(blocks.groups))))
    far = iteration > MANY_AFTER
    model = objective.model(here, rows=MANY_ROWS if far else FEW_ROWS, share=renewal.share)
    if model is None:
        return ScaledMetric(objective.metric(here))
    forcing, products = (FINE_FORCING, FINE_PRODUCTS) if far else (ROUGH_FORCING, ROUGH_PRODUCTS)
    return RoughNewton(model, forcing, OVERFITTED_PRODUCTS if overfitted(model, objective) else products)


def overfitted(model: Any, objective: Objective) -> bool:
    """Whether a model's rows are too few for the parameters."""
    return bool(model.n_rows * ENOUGH_PARAMETERS < objective.size)


@dataclass
class Renewal:
    """When to estimate the curvature again, the share of the origin's to mix in, and whether blocks led too far."""

    share: float = FIRST_SHARE
    looks: int = 1
    rough: bool = False
    iterations: int = 0  # since the last look
    evaluations: int = 0

    def count(self, evaluations: int) -> None:
        """One more iteration, which took so many evaluations."""
        self.iterations += 1
        self.evaluations += evaluations

    def due(self, interval: float | None = None) -> bool:
        """Whether to look again now, after ``interval`` passes if that is given; adapts the share if so."""
        if not self.iterations:
            return False
        pace = self.evaluations / self.iterations
        stumbling = self.iterations >= INTERVAL - 1 and pace > TOO_ROUGH
        if interval is None:
            waiting = self.iterations < min(INTERVAL * self.looks, LONGEST_INTERVAL)
        else:
            waiting = self.evaluations < interval
        if waiting and not stumbling:
            return False
        if pace > ROUGH_GOING:
            self.share = min(1.0, self.share * SHARE_FACTOR)
            self.rough = True
        elif pace <= SMOOTH_GOING and (self.looks > 1 or interval is not None):
            self.share /= SHARE_FACTOR
        self.looks, self.iterations, self.evaluations = self.looks + 1, 0, 0
        return True
