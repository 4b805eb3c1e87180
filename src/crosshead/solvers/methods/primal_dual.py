"""The primal–dual hybrid gradient method: one pass updates residuals and, by their gradient, the weights.

For the saddle point of θ and r (`crosshead.objective.saddle_point`), with A the map to scores,

    θ′ = prox_τR(θ − τ A*r),    r′ = prox_σℓ*(r + σ A(2θ′ − θ)),    τσ‖A‖² ≤ 1

(Chambolle and Pock, Journal of Mathematical Imaging and Vision 40, 2011). The reflected step averaged with the starting
point, λ(2z′ − z) + (1 − λ)z₀ with λ = (k + 1)/(k + 2), has a fixed-point error of O(1/k) (Halpern's iteration).
Restarted whenever the error has fallen enough, it converges linearly for piecewise linear and quadratic objectives
(Lu and Yang, arXiv:2407.16144; Applegate et al., NeurIPS 2021). A step is one pass, needs no Hessian, and gives a
feasible dual point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np

from crosshead.engines.protocol import MovedSums, ResidualMove
from crosshead.objective.facts import Trait
from crosshead.objective.saddle_point import SaddlePoint, dual_point
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.smoothing import width_for
from crosshead.solvers.protocol import Float

ENOUGH, MIN_FALL = (
    0.2,
    0.8,
)  # shares of the first error after a restart at which the next is made; once it rises again
LONGEST = 0.36  # limit of the length of a restart, as a share of all steps so far
FIRST_STEPS, MAX_STEPS, CERTIFIED_SHARE = (
    10,
    100,
    0.1,
)  # steps between certificates: limits, and share of all so far
BALANCING = 0.5  # exponential smoothing of the steps' balance, on a logarithmic scale
UNSEEN = 1e-12  # relative to the largest weight
SINGLE_GAP = 0.1  # gap below which passes are exact
FIRST_CURVATURE = 1e-3  # of the residuals' first update from zero: almost the loss's gradient
SHORTER = 1.5  # factor by which the estimate of ‖A‖ grows if a step shows that it is too small


@dataclass(frozen=True)
class PrimalDualState:
    """θ and r with A*r, their values at the last restart, and the result of the last step.

    ``balance`` is √(τ/σ); ``first`` and ``last`` are fixed-point errors since the restart ``since`` steps ago.
    ``moved`` is θ′ with the sums of r′, and whether these are exact.
    """

    saddle: SaddlePoint
    theta: Float
    residual: Float
    pulled: Float
    anchor: tuple[Float, Float, Float]
    norm: float
    balance: float = 1.0
    steps: int = 0
    since: int = 0
    first: float = np.inf
    last: float = np.inf
    moved: tuple[Float, MovedSums, bool] | None = None


@final
@dataclass(frozen=True)
class PrimalDual:
    """Minimise an objective whose loss computes a row's optimal residuals (`Objective.dual.saddle`)."""

    title: ClassVar[str] = "primal–dual hybrid gradients"
    needs: ClassVar[frozenset[Trait]] = frozenset({"sweeps over rows"})

    def start(self, run: Run, point: Float) -> PrimalDualState:
        """Start at the weights of the point, and the optimal residuals for their scores."""
        saddle = run.objective.dual.saddle
        run.begin(point, None if run.objective.smooth else run.objective.smoothed(width_for(run.gap)))
        theta = saddle.enter(*run.objective.unpack(point))
        residual = np.zeros((saddle.engine.data.n_rows, len(theta)))
        sums, pulled = saddle.move(ResidualMove(residual, FIRST_CURVATURE), theta, exact=run.exact)
        run.count()
        # With zero weights: as large as scores of one would make them.
        size = saddle.square(theta) or len(theta) / saddle.norm**2
        balance = float(np.sqrt(size / sums.distance)) if sums.distance > 0 else 1.0
        return PrimalDualState(
            saddle,
            theta,
            residual,
            pulled,
            (theta, residual.copy(), pulled),
            saddle.norm,
            balance,
            moved=(theta, sums, run.exact),
        )

    def step(self, run: Run, state: PrimalDualState) -> PrimalDualState:
        """Take some steps, and certify."""
        if run.gap <= SINGLE_GAP:
            run.go_exact()  # a certificate needs exact sums
        steps = int(np.clip(CERTIFIED_SHARE * state.steps, FIRST_STEPS, MAX_STEPS))
        try:
            for _ in range(steps):
                state = _step(run, state)
                if run.seconds_left <= 0:
                    break
        finally:
            _certify(run, state)
        return state

    def stuck(self, state: PrimalDualState) -> bool:
        """False: steps that change nothing end a fit anyway."""
        return False


def _step(run: Run, state: PrimalDualState) -> PrimalDualState:
    saddle, tau, curvature = state.saddle, state.balance / state.norm, state.balance * state.norm
    share = (state.since + 1) / (state.since + 2)
    theta = saddle.shrink(state.theta - tau * saddle.units * state.pulled, tau)
    ahead = 2 * theta - state.theta
    move = ResidualMove(state.residual, curvature, state.anchor[1], share)
    sums, pulled = saddle.move(move, ahead, exact=run.exact)
    run.count()
    moved, change = theta - state.theta, pulled - state.pulled
    crossed = 2 * float((moved * change).sum())
    error = saddle.square(moved) / tau + curvature * sums.distance
    norm = state.norm
    if crossed > error > UNSEEN**2 * saddle.square(theta) / tau:  # τσ‖A‖² exceeds one
        norm, error = SHORTER * norm, np.inf
    else:
        error = float(np.sqrt(max(error - crossed, 0.0)))
    z0, kept, p0 = state.anchor
    after = replace(
        state,
        theta=share * (theta + moved) + (1 - share) * z0,
        pulled=share * (pulled + change) + (1 - share) * p0,
        norm=norm,
        steps=state.steps + 1,
        since=state.since + 1,
        first=error if state.since == 0 else state.first,
        last=error,
        moved=(theta, sums, run.exact),
    )
    fallen = error <= ENOUGH * after.first or (error <= MIN_FALL * after.first and error > state.last)
    long = state.since > 0 and after.since >= LONGEST * after.steps
    if not (fallen or long or norm > state.norm):
        return after
    kept[:] = after.residual
    # Weights that become zero converge to it only in the limit, through subnormal numbers, which are slow.
    left = after.theta.copy()
    left[(theta == 0) & (np.abs(left) <= UNSEEN * np.abs(left).max(initial=0.0))] = 0.0
    ways = saddle.square(theta - z0), sums.travelled
    balance = after.balance
    if min(ways) > 0 and np.isfinite(ways).all():
        balance = balance ** (1 - BALANCING) * (ways[0] / ways[1]) ** (BALANCING / 2)
    return replace(after, theta=left, anchor=(left, kept, after.pulled), balance=balance, since=0)


def _certify(run: Run, state: PrimalDualState) -> None:
    """A pass at the weights that the last step moved to, with the bound of its residuals."""
    if state.moved is None:
        return
    theta, sums, exact = state.moved
    objective = run.objective
    surrogate = objective if objective.smooth else objective.smoothed(width_for(run.gap))
    evaluation = run.evaluate(objective.pack(*state.saddle.leave(theta)), surrogate)
    if exact or not evaluation.exact:  # otherwise the bound would count as an exact one
        run.record(objective.certified_by(evaluation, dual_point(sums)))
