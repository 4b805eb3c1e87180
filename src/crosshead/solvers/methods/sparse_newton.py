"""Newton steps on the non-zero weights, between proximal steps that determine which these are.

A proximal quasi-Newton step (`crosshead.solvers.methods.proximal_steps`) finds weights that should leave zero, but its
model, one Kronecker product and a few pairs, needs hundreds of steps for accurate values: the gap depends on the
largest gradient, to which the value is insensitive. While no sign changes F is smooth, and Newton's equation on the
non-zero weights,

    (∇²F)_SS d = −(∇F + αρ sign W)_S,

is solved by conjugate gradients with the Hessian of subsampled rows, corrected by the last steps. Weights that would
change their sign become zero. A proximal step is due when the predicted decrease from weights at zero exceeds a share
of that from the others (as in Moré and Toraldo, SIAM Journal on Optimization 1, 1991, and Dostál, SIAM Journal on
Optimization 7, 1997).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from crosshead.objective.facts import Trait
from crosshead.solvers.continuation import SETTLED_SHARE, Carried
from crosshead.solvers.initial_curvature import FEW_ROWS, Renewal
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.proximal_steps import (
    DECREASE,
    MEMORY,
    Frame,
    FramedPairs,
    backtrack,
    compact,
    model_step,
)
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients
from crosshead.solvers.numerics.line_search import NOISE_DOUBLE, NOISE_SINGLE
from crosshead.solvers.protocol import Float, Objective

FIRST_PROXIMAL = 8  # first iterations, whose support is not worth a Newton step
FIRST_SHARE = 0.01  # share of the curvature at zero scores: small, as proximal steps have come close already
OUTSIDE_SHARE = 0.1  # of the energy of non-zero weights' gradients: above it, weights at zero get a proximal step
FORCING, MAX_PRODUCTS = 0.1, 40
MORE_ROWS, ROWS_PER_WEIGHT = 11264, 4  # rows of a model with many weights
NEAR = 0.5  # of αρ: weights at zero with larger gradients may soon be free
TRIALS, SHORTER, FLAT = 3, 0.25, 0.9
MIN_CURVATURE = 1e-12
METRIC_FACTOR = 3.0  # factor by which alpha falls until the preconditioner is computed again
MAX_NOISY, PROGRESS = 3, 0.5  # limit of Newton steps that reduced neither the violation to this share nor F: rounding


class SupportModel:
    """B₀ − Q K Qᵀ on the free parameters: the subsampled Hessian B₀ (``known``), corrected by the last steps."""

    def __init__(self, objective: Objective, known: Any, pairs: deque[tuple[Float, Float]], metric: Any = None) -> None:
        self.objective, self.known, self.products = objective, known, 0
        self.metric = known.on_support()
        if metric is not None:
            metric.adopt(self.metric)
            self.metric = metric
        self.pairs: deque[tuple[Float, Float, Float]] = deque(maxlen=MEMORY)
        self._free: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._low_rank = self._scaled = np.zeros((objective.size, 0))
        for step, change in pairs:
            self.add(step, change)

    def add(self, step: Float, change: Float) -> None:
        """Add a step with its change of the gradient."""
        self.pairs.append((step, change, self.known.multiply(step)))

    def restrict(self, free: NDArray[np.bool_], near: NDArray[np.bool_]) -> None:
        """Set the parameters that are free, and those that may soon be, as flat boolean arrays."""
        shape = self.objective.unpack(np.empty(self.objective.size))[0].shape
        weights = (flat[: shape[0] * shape[1]].reshape(shape) for flat in (free, near))
        self._free = free
        self.metric.restrict(*weights, self.known.l2_weight)
        if self.pairs:
            self._low_rank = self._scaled = np.zeros((0, 0))  # frees memory first
            self._low_rank, self._scaled = compact(*(np.array(columns).T for columns in zip(*self.pairs, strict=True)))
            self._low_rank[~free] = self._scaled[~free] = 0.0

    def multiply(self, direction: Float) -> Float:
        """The free rows of the product with a vector that is zero elsewhere."""
        self.products += 1
        product = np.where(self._free, self.known.multiply(direction), 0.0)
        product -= self._scaled @ (direction @ self._low_rank)
        return product

    def precondition(self, vector: Float) -> Float:
        """Apply the inverse of each class's own block."""
        return self.objective.pack(*self.metric.apply(*self.objective.unpack(vector)))


@dataclass
class SparseState:
    """The state: evaluation, curvature model, and the pairs (s, y) of parameters and gradients."""

    evaluation: Any
    model: SupportModel | None = None
    frame: Frame | None = None
    framed: FramedPairs | None = None
    pairs: deque[tuple[Float, Float]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    renewal: Renewal = field(default_factory=lambda: Renewal(FIRST_SHARE))
    iteration: int = 0
    proximal_first: int = FIRST_PROXIMAL
    noisy: int = 0
    failed: bool = False  # the last Newton step failed
    blind: bool = False  # the loss has no second-order model of rows
    stuck: bool = False


@final
@dataclass(frozen=True)
class SparseNewton:
    """Minimise a smooth loss with an L1 part.

    With ``carried``, it starts with the pairs and the curvature of the last alpha of a path, and stores its own there.
    """

    title: ClassVar[str] = "proximal quasi-Newton steps and Newton steps on the weights that are not zero"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "an L1 part"})

    carried: Carried | None = None

    def start(self, run: Run, point: Float) -> SparseState:
        """Evaluate the start and take over what was carried."""
        here, carried = run.begin(point), self.carried
        if carried is None:
            return SparseState(here)
        objective = run.objective
        known, leap = carried.prepare(objective, lambda share: estimate_curvature(objective, here, share))
        state = SparseState(here, pairs=deque(carried.pairs, maxlen=MEMORY))
        if known is not None:
            if carried.metric is None or objective.alpha * METRIC_FACTOR < carried.metric_alpha:
                carried.metric, carried.metric_alpha = known.on_support(), objective.alpha
            state.model = SupportModel(objective, known.at(objective.l2_weight), state.pairs, carried.metric)
        if not leap:
            state.renewal, state.proximal_first = Renewal(SETTLED_SHARE), 1
        return state

    def step(self, run: Run, state: SparseState) -> SparseState:
        """Take a proximal or a Newton step."""
        after = self._stepped(run, state)
        if self.carried is not None:
            self.carried.pairs = list(after.pairs)
        return after

    def stuck(self, state: SparseState) -> bool:
        """Whether the last line search failed."""
        return state.stuck

    def _stepped(self, run: Run, state: SparseState) -> SparseState:
        # In place: a reference of the caller must not keep the old model alive while the new one is built.
        state.evaluation, state.iteration = run.current(state.evaluation), state.iteration + 1
        if state.proximal_first > 0 or state.failed or state.blind:
            state.proximal_first, state.failed = state.proximal_first - 1, False
            return _proximal_step(run, state)
        _renew_model(run.objective, state)
        if state.model is None:
            state.blind = True
            return _proximal_step(run, state)
        inside, outside = _energies(run.objective, state.evaluation, state.model.known.diagonal)
        if outside > OUTSIDE_SHARE * inside:
            return _proximal_step(run, state)
        return _newton_step(run, state, state.model)


def estimate_curvature(objective: Objective, here: Any, share: float) -> Any:
    """The Hessian of subsampled rows at a point, more of them for many weights; None without a second-order model."""
    few = bool(ROWS_PER_WEIGHT * np.count_nonzero(here.point) < FEW_ROWS)
    return objective.model(here, rows=FEW_ROWS if few else MORE_ROWS, share=share, in_place=few)


def _renew_model(objective: Objective, state: SparseState) -> None:
    """Build a new model if one is due; each class's own curvature is kept, as it is only a preconditioner."""
    if state.model is not None and not state.renewal.due():
        return
    metric = None if state.model is None else state.model.metric
    state.model = state.frame = state.framed = None  # frees memory first
    known = estimate_curvature(objective, state.evaluation, state.renewal.share)
    if known is not None:
        state.model = SupportModel(objective, known, state.pairs, metric)


def _proximal_step(run: Run, state: SparseState) -> SparseState:
    objective, here = run.objective, state.evaluation
    if state.frame is None:
        metric = objective.metric(here) if state.model is None else state.model.known.metric
        state.frame, state.framed = Frame.of(metric, objective.l1_weight), None
    if state.framed is None:
        state.framed = FramedPairs.of(state.frame, objective, state.pairs)
    there = backtrack(run, objective, here, model_step(run, objective, here, state.framed))
    if there is not None:
        return _arrived(objective, state, there)
    if not run.recover(state.pairs):
        return replace(state, stuck=True)
    return state if state.pairs else replace(state, model=None, framed=None)


def _newton_step(run: Run, state: SparseState, model: SupportModel) -> SparseState:
    objective, here = run.objective, state.evaluation
    signs = np.sign(here.point)
    objective.unpack(signs)[1][:] = 0.0
    free = signs != 0
    objective.unpack(free)[1][:] = True
    model.restrict(free, np.abs(here.gradient) > NEAR * objective.l1_weight)
    slope = np.where(free, here.gradient + objective.l1_weight * signs, 0.0)
    direction = objective.without_shift(conjugate_gradients(model, -slope, FORCING, MAX_PRODUCTS))
    run.between += model.products * min(1.0, model.known.n_rows / max(1, objective.facts.n_rows))
    model.products, passes = 0, run.passes
    there = _search(run, here, direction, signs)
    state.renewal.count(run.passes - passes)
    if there is None:
        return replace(state, failed=True)
    state = _arrived(objective, state, there)
    hidden = here.surrogate - there.surrogate < NOISE_SINGLE * abs(here.surrogate)
    if hidden and not run.exact and _violation(objective, there) > PROGRESS * _violation(objective, here):
        state.noisy += 1
        if state.noisy == MAX_NOISY:
            run.go_exact()
    return state


def _arrived(objective: Objective, state: SparseState, there: Any) -> SparseState:
    """The state at the end of a step, with its curvature information."""
    step, change = there.point - state.evaluation.point, there.gradient - state.evaluation.gradient
    if float(step @ change) > MIN_CURVATURE * float(np.linalg.norm(step) * np.linalg.norm(change)):
        state.pairs.append((step, change))
        if state.model is not None:
            state.model.add(step, change)
        if state.framed is not None:
            state.framed.add(objective, step, change)
    return replace(state, evaluation=there)


def _search(run: Run, here: Any, direction: Float, signs: Float) -> Any | None:
    """Find a point along a direction with a lower F; weights that would change their sign become zero.

    If values differ by no more than rounding, the slope decides.
    """
    l1 = run.objective.l1_weight
    noise = (NOISE_DOUBLE if run.exact else NOISE_SINGLE) * abs(here.surrogate)
    length = 1.0
    for _ in range(TRIALS):
        place = here.point + length * direction
        place[np.sign(place) * signs < 0] = 0.0
        by = place - here.point
        promised = float(by @ (here.gradient + l1 * signs))
        length *= SHORTER
        if not promised < 0:
            continue
        there = run.evaluate(place)
        if there.surrogate <= here.surrogate + DECREASE * promised:
            return there
        slope = float(by @ (there.gradient + l1 * signs))
        if there.surrogate <= here.surrogate + noise and slope <= -FLAT * promised:
            return there
    return None


def _violation(objective: Objective, here: Any) -> float:
    """The largest entry of the minimum-norm subgradient of F with respect to W."""
    weight, gradient = objective.unpack(here.point)[0], objective.unpack(here.gradient)[0]
    l1 = objective.l1_weight
    size = np.where(weight == 0, np.abs(gradient) - l1, np.abs(gradient + l1 * np.sign(weight)))
    return float(size.max(initial=0.0))


def _energies(objective: Objective, here: Any, diagonal: Float) -> tuple[float, float]:
    """Σ slope²/curvature over the non-zero weights, and over those at zero."""
    weight, gradient = (objective.unpack(flat)[0] for flat in (here.point, here.gradient))
    curvature = objective.unpack(diagonal)[0]
    curvature = curvature + 1e-3 * float(curvature.mean()) + float(np.finfo(np.float64).tiny)
    l1, zero = objective.l1_weight, weight == 0
    slope = np.where(zero, np.maximum(np.abs(gradient) - l1, 0.0), gradient + l1 * np.sign(weight))
    energy = slope**2 / curvature
    outside = float(energy[zero].sum())
    return float(energy.sum()) - outside, outside
