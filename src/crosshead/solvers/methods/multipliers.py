"""The method of multipliers, by Newton steps: hinges with an L2 penalty where dual coordinate ascent is slow.

Each step is a Newton step on the augmented Lagrangian (`crosshead.curvature.augmented_lagrangian`). Newton's equation
is solved by conjugate gradients over the curved rows, preconditioned by a Hessian factorised some steps ago; the step
length follows from the slope along the step, which needs only the scores of all rows. Once the remaining gap is mainly
due to the residuals that the Lagrangian is centred at, they are replaced by the current ones (semismooth Newton
augmented Lagrangian: Li, Sun and Toh, SIAM Journal on Optimization 28, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.conjugate_gradients import conjugate_gradients
from crosshead.solvers.protocol import Float

FIRST_WIDTH = 1.0  # in margins
MIN_WIDTH = 1e-9
SOLVED = 0.5  # of the gap's other part: the unsolved part at which residuals are replaced
NARROWING, QUICK = 0.5, 3  # factor of the width, if that few steps solved the last
FORCING, MAX_PRODUCTS, STALE_PRODUCTS = 0.1, 40, 20
FLAT, MAX_SLOPES = 0.2, 20  # of the slope at the start, at which the search along a step ends
IDLE_STEPS, PROGRESS = 60, 0.9  # limit of steps that do not reduce the gap to this share


@dataclass(frozen=True)
class MultiplierState:
    """The state: point and scores, the residuals that φ is centred at, its width, and the factor in use.

    ``steps`` counts steps since the residuals were replaced, ``idle`` those since the gap last fell noticeably below
    ``gap``.
    """

    lagrangian: Any
    point: Float
    scores: Float
    center: Float
    width: float
    here: Any
    factor: Any = None
    steps: int = 0
    idle: int = 0
    gap: float = np.inf
    stuck: bool = False


@final
@dataclass(frozen=True)
class Multipliers:
    """Minimise an objective that has an augmented Lagrangian (`Objective.dual.augmented`)."""

    title: ClassVar[str] = "multipliers"
    needs: ClassVar[frozenset[Trait]] = frozenset(
        {"a piecewise linear loss", "an L2 part", "no L1 part", "dense features"}
    )

    def start(self, run: Run, point: Float) -> MultiplierState:
        """Start at a point, centred at the residuals of another method, or at zero."""
        run.go_exact()
        if run.best is None:
            run.evaluate(point, run.objective.smoothed(FIRST_WIDTH))
        lagrangian = run.objective.dual.augmented
        residual = lagrangian.no_residual if run.residual is None else run.residual
        scores = lagrangian.scores(point)
        width = FIRST_WIDTH * lagrangian.pieces.margin
        run.count()
        here = lagrangian.at(point, scores, residual, width)
        return MultiplierState(lagrangian, point, scores, residual, width, here, gap=run.gap)

    def step(self, run: Run, state: MultiplierState) -> MultiplierState:
        """Take one Newton step, and certify."""
        lagrangian = state.lagrangian
        if state.steps and state.here.stationarity <= SOLVED * state.here.complementarity:
            state = _renewed(state)
            run.residual = state.center
        step, factor = _newton(run, state)
        if step is None:
            return replace(state, stuck=True)
        moved = lagrangian.moved(step)
        length = _length(state, step, moved)
        if length is None:
            return replace(state, stuck=state.factor is None, factor=None)
        point, scores = state.point + length * step, state.scores + length * moved
        here = lagrangian.at(point, scores, state.center, state.width)
        run.count()
        evaluation = run.evaluate(point, run.objective.smoothed(state.width))
        run.record(run.objective.certified_by(evaluation, here.dual))
        progress = run.gap <= PROGRESS * state.gap
        return replace(
            state,
            point=point,
            scores=scores,
            here=here,
            factor=factor,
            steps=state.steps + 1,
            idle=0 if progress else state.idle + 1,
            gap=run.gap if progress else state.gap,
            stuck=state.idle >= IDLE_STEPS or state.width < MIN_WIDTH,
        )

    def stuck(self, state: MultiplierState) -> bool:
        """Whether rounding prevents further progress."""
        return state.stuck


def _renewed(state: MultiplierState) -> MultiplierState:
    """Centre the Lagrangian at the current residuals, with a smaller width if they were found quickly."""
    lagrangian, center = state.lagrangian, state.here.residual
    width = state.width * (NARROWING if state.steps <= QUICK else 1.0)
    scores = lagrangian.scores(state.point)  # without the accumulated rounding errors
    here = lagrangian.at(state.point, scores, center, width)
    return replace(state, center=center, width=width, scores=scores, here=here, steps=0)


def _newton(run: Run, state: MultiplierState) -> tuple[Float | None, Any]:
    """Newton's step, and the factor for the next one."""
    lagrangian, factor = state.lagrangian, state.factor
    if factor is None:
        factor = lagrangian.factored(state.here, state.width, run.factorisations)
        run.factorisations += 1
        if factor is None:
            return None, None
    products: list[None] = []
    hessian = lagrangian.hessian(state.here, state.width, factor, count=lambda: products.append(None))
    step = conjugate_gradients(hessian, -state.here.gradient, FORCING, MAX_PRODUCTS)
    if not np.isfinite(step).all() or not step.any():
        return None, None
    return step, None if len(products) >= STALE_PRODUCTS else factor


def _length(state: MultiplierState, step: Float, moved: Float) -> float | None:
    """Where the slope along a step almost vanishes, by bracketed false position; at most the whole step."""
    slope = state.lagrangian.slope(state.point, step, state.center, state.width)
    first = float(state.here.gradient @ step)
    if not first < 0:
        return None
    low, high, at_low, at_high = 0.0, 1.0, first, slope(state.scores, moved, 1.0)
    if at_high <= FLAT * abs(first):
        return high
    length = 0.5
    for _ in range(MAX_SLOPES):
        share = at_low / (at_low - at_high)
        length = low + (high - low) * min(max(share, 0.1), 0.9)
        there = slope(state.scores, moved, length)
        if abs(there) <= FLAT * abs(first):
            break
        if there < 0:
            low, at_low = length, there
        else:
            high, at_high = length, there
    return length
