"""The primal-dual interior-point method for a smooth loss with an L1 part, where a Hessian is cheap.

With W = P − Q, P, Q ≥ 0, and φ the loss and the L2 part,

    minimise φ(P − Q, b) + λ Σ (P + Q),    ∇φ + λ = Z_P,  λ − ∇φ = Z_Q,    P∘Z_P = Q∘Z_Q = τ,

with τ → 0. Newton's method on these takes some dozen factorisations and is invariant to the scale of the columns (Koh,
Kim and Boyd, JMLR 8, 2007). At every point the bias is optimal for W. The pass at a point gives the bound: while the
duals Z are positive, the gradients lie in the domain of the L1 part's conjugate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.numerics.line_search import NOISE_DOUBLE
from crosshead.solvers.protocol import Float, Objective

BOUNDARY = 0.995  # share of the distance to the boundary that a step may take
FIRST_SCORE = 0.1  # contribution of a weight's two halves to a score at the start
AIM = 0.1  # of the mean product: the target of the next step after a full one
DECREASE, SHORTER, TRIALS = 1e-4, 0.5, 30
SPARSE_GAP = 10.0  # times tol: from there on, weights that vanish in the limit are set to zero
ENOUGH, MIN_GAP = 0.02, 1e-13  # of tol, and of F: smaller products would only lose digits of the duals
MIN_PRODUCT = 1e-200
LONG, TIMID = 0.5, 0.5  # share of a step above which the next target follows the progress, and the target otherwise
MAX_SHORT = 4  # steps in a row that are too short to matter
MAX_IDLE, SEEN_DECREASE, SEEN_GAP = (
    15,
    1e-4,
    0.9,
)  # steps in a row without such a decrease
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class SplitState:
    """P, Q, their duals (all flat, C·D), the evaluation at P − Q, and the number of short steps in a row.

    ``idle`` counts the steps in a row without a decrease of value or gap since ``seen``.
    """

    evaluation: Any
    plus: Float
    minus: Float
    plus_dual: Float
    minus_dual: Float
    aim: float = AIM
    short: int = 0
    idle: int = 0
    seen: tuple[float, float] = (np.inf, np.inf)
    stuck: bool = False

    @property
    def product(self) -> float:
        """The mean of P∘Z_P and Q∘Z_Q."""
        total = float(self.plus @ self.plus_dual + self.minus @ self.minus_dual)
        return total / max(1, 2 * self.plus.size)


@final
@dataclass(frozen=True)
class SplitInteriorPoint:
    """Minimise a smooth loss with an L1 part and few parameters."""

    title: ClassVar[str] = "interior point"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "an L1 part", "a second-order model of rows"})

    def start(self, run: Run, point: Float) -> SplitState:
        """Start at W = 0, with halves that correspond to a small score; the given point is only evaluated.

        A start near the boundary would take more steps.
        """
        run.go_exact()
        objective = run.objective
        if run.best is None:
            run.evaluate(point)
        evaluation = run.evaluate_balanced(np.zeros_like(point))
        count = objective.n_weights
        half = np.minimum(FIRST_SCORE / np.maximum(objective.feature_sizes, TINY), FIRST_SCORE / objective.l1_weight)
        gradient = evaluation.gradient[:count]
        room = FIRST_SCORE * np.maximum(objective.l1_weight, np.abs(gradient))
        return SplitState(
            evaluation,
            half,
            half.copy(),
            np.maximum(objective.l1_weight + gradient, room),
            np.maximum(objective.l1_weight - gradient, room),
        )

    def step(self, run: Run, state: SplitState) -> SplitState:
        """Take one Newton step."""
        objective, here = run.objective, state.evaluation
        count, strength = objective.n_weights, objective.l1_weight
        least = ENOUGH * max(run.tol, MIN_GAP) * abs(run.best.value) / max(1, 2 * count)
        target = max(state.aim * state.product, least, MIN_PRODUCT)
        gradient = here.gradient[:count]
        plus_slope = gradient + strength - target / state.plus
        minus_slope = strength - gradient - target / state.minus
        plus_ratio, minus_ratio = state.plus / state.plus_dual, state.minus / state.minus_dual
        hessian = objective.dense_hessian(here)
        diagonal = 1.0 / (plus_ratio + minus_ratio)
        right = np.zeros_like(here.point)
        right[:count] = diagonal * (minus_ratio * minus_slope - plus_ratio * plus_slope)
        right[count:] = -here.gradient[count:]
        moved = hessian.solve(diagonal + objective.l2_weight, right)
        run.factorisations += 1
        if moved is None or not np.isfinite(moved).all():
            return replace(state, stuck=True)
        bent = hessian.multiply(moved)[:count] + objective.l2_weight * moved[:count]
        plus_step = -plus_ratio * (plus_slope + bent)
        minus_step = -minus_ratio * (minus_slope - bent)
        # The half far from zero is computed from the other: its own ratio would amplify rounding errors.
        plus_larger = plus_ratio > minus_ratio
        plus_step = np.where(plus_larger, moved[:count] + minus_step, plus_step)
        minus_step = np.where(plus_larger, minus_step, plus_step - moved[:count])
        plus_dual_step = target / state.plus - state.plus_dual - state.plus_dual / state.plus * plus_step
        minus_dual_step = target / state.minus - state.minus_dual - state.minus_dual / state.minus * minus_step
        length = min(_length(state.plus, plus_step), _length(state.minus, minus_step))
        dual_length = min(_length(state.plus_dual, plus_dual_step), _length(state.minus_dual, minus_dual_step))
        slope = float(plus_slope @ plus_step + minus_slope @ minus_step)
        found = self._search(run, state, target, slope, length, plus_step, minus_step)
        if found is None:
            return replace(state, aim=1.0, short=state.short + 1, stuck=state.short >= MAX_SHORT)
        there, length = found
        plus, minus = state.plus + length * plus_step, state.minus + length * minus_step
        plus_dual = state.plus_dual + dual_length * plus_dual_step
        minus_dual = state.minus_dual + dual_length * minus_dual_step
        whole = min(length, dual_length)
        value, gap = there.value, run.gap  # of this method: earlier methods may have been lower
        idle = not (value < (1 - SEEN_DECREASE) * state.seen[0] or gap < SEEN_GAP * state.seen[1])
        idle_steps = state.idle + 1 if idle else 0
        state = SplitState(
            there,
            plus,
            minus,
            plus_dual,
            minus_dual,
            min(1.0, max(1.0 - whole, AIM**2)) if whole > LONG else TIMID,
            state.short + 1 if length < 1e-8 else 0,
            idle_steps,
            state.seen if idle else (value, gap),
            stuck=idle_steps >= MAX_IDLE,
        )
        _record_sparse(run, objective, state)
        return state

    def stuck(self, state: SplitState) -> bool:
        """Whether steps no longer make progress."""
        return state.stuck

    def _search(
        self,
        run: Run,
        state: SplitState,
        target: float,
        slope: float,
        length: float,
        plus_step: Float,
        minus_step: Float,
    ) -> tuple[Any, float] | None:
        """Find a point along the step with a lower φ + λ Σ (P + Q) − τ Σ (log P + log Q), and its share of the step."""
        objective, count = run.objective, run.objective.n_weights

        def barrier(evaluation: Any, plus: Float, minus: Float) -> float:
            smooth = evaluation.surrogate - objective.l1_weight * float(np.abs(evaluation.point[:count]).sum())
            logs = float(np.log(plus).sum() + np.log(minus).sum())
            return float(smooth) + objective.l1_weight * float((plus + minus).sum()) - target * logs

        before = barrier(state.evaluation, state.plus, state.minus)
        for _ in range(TRIALS):
            plus, minus = state.plus + length * plus_step, state.minus + length * minus_step
            # The optimal bias, from the current one: a step would be infinite if no row is curved.
            there = run.evaluate_balanced(np.concatenate([plus - minus, state.evaluation.point[count:]]))
            allowed = DECREASE * length * min(slope, 0.0) + NOISE_DOUBLE * abs(before)
            if barrier(there, plus, minus) <= before + allowed:
                return there, length
            length *= SHORTER
        return None


def _length(values: Float, step: Float) -> float:
    falling = step < 0
    return min(1.0, BOUNDARY * float((values[falling] / -step[falling]).min(initial=np.inf)))


def _record_sparse(run: Run, objective: Objective, state: SplitState) -> None:
    """Near the end, run a pass at the point with exact zeros, which the optimum has and the central path has not.

    A weight is zero if its halves are further below a small score than its duals are below λ.
    """
    if not run.gap <= SPARSE_GAP * max(run.tol, MIN_GAP):
        return
    half = np.maximum(state.plus, state.minus) * objective.feature_sizes / FIRST_SCORE
    zero = half < np.minimum(state.plus_dual, state.minus_dual) / objective.l1_weight
    point = state.evaluation.point.copy()
    point[: objective.n_weights][zero] = 0.0
    run.evaluate_balanced(point)
