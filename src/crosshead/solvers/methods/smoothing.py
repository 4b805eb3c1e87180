"""Path following for hinges: solve smoothed problems of decreasing smoothing until the hinge's own gap closes.

A smoothed hinge's gradient is a feasible dual point of the hinge itself (Nesterov, Mathematical Programming 103, 2005),
so every pass of every stage certifies the original problem. The smoothing affects only the speed.

Wide stages, where many rows are curved, are solved approximately by quasi-Newton steps. Once few rows are curved, the
path w(μ) of minimisers is followed as in an interior-point method: with H the Hessian at (w, μ), one solve gives

    w(μ′) ≈ w − H⁻¹(∇f + (μ′ − μ) ∂∇f/∂μ),

and Newton steps at μ′ correct it. While the same margins remain active the path is straight, and the first point of a
narrower stage is almost its solution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.newton import NewtonStep, newton_step
from crosshead.solvers.numerics.line_search import is_stationary, search
from crosshead.solvers.protocol import Float, Objective

FIRST_WIDTH = 2.0
LAST_WIDTH = 1e-14
MIN_FIRST_WIDTH = 1e-6  # the narrowest first stage
FORCING = 0.05  # relative residual of an iterative solution of Newton's equation
ROUGH = 0.01  # quasi-Newton stages end when five steps gain this share of the smoothing error
ROUGH_STEPS, QUASI_STEPS = 5, 30
CENTRED = 0.3  # a Newton stage is solved when its own gap is this share of the smoothing error
NEAR = 0.01  # of the surrogate: a larger predicted decrease means that the point is far from the path
AIM = 0.4  # share of tol for the smoothing error of the last stage
STAGE_STEPS, RETREAT_STEPS = 30, 12
FIRST_FACTOR, MIN_FACTOR, MAX_FACTOR = 0.3, 0.01, 0.7  # factors from one width to the next


@dataclass(frozen=True)
class Anchor:
    """A solved stage: its width, its minimiser and the direction dw/dμ of the path."""

    width: float
    point: Float
    along: Float

    def predict(self, width: float) -> Float:
        """Extrapolate the minimiser to another width."""
        return np.asarray(self.point + (width - self.width) * self.along)


@dataclass(frozen=True)
class PathFollowingState:
    """A stage: its width μ, its evaluation, its quasi-Newton method if any, and its progress."""

    width: float
    objective: Objective
    evaluation: Any
    quasi: Any = None
    gains: tuple[float, ...] = ()
    steps: int = 0
    factor: float = FIRST_FACTOR
    anchor: Anchor | None = None
    widest: bool = True
    stuck: bool = False


@final
@dataclass(frozen=True)
class PathFollowing:
    """Path following for losses with kinks and no L1 part: quasi-Newton steps while wide, Newton steps when narrow."""

    title: ClassVar[str] = "smoothed losses by Newton steps along the path of their widths"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a loss with kinks", "no L1 part"})

    def start(self, run: Run, point: Float) -> PathFollowingState:
        """Start at the widest stage; after another method, at the one whose smoothing error is about the gap."""
        return self._begun(run, point, FIRST_WIDTH if run.best is None else width_for(run.gap))

    def step(self, run: Run, state: PathFollowingState) -> PathFollowingState:
        """Take a step within the stage or to the next; restart at the widest if a narrow start has failed."""
        if state.stuck:
            return self._begun(run, run.best.point, FIRST_WIDTH)
        if state.quasi is not None and state.steps < QUASI_STEPS:
            return _quasi_step(run, state)
        newton = newton_step(state.objective, state.evaluation, FORCING)
        if newton is None:
            return _quasi_step(run, state)
        if not run.exact:  # narrow margins are not resolved in single precision
            run.go_exact()
            state = replace(state, evaluation=run.evaluate(state.evaluation.point, state.objective))
        return _newton_step(run, state, newton)

    def stuck(self, state: PathFollowingState) -> bool:
        """Whether the narrowest stage is done."""
        return state.stuck and state.widest

    def _begun(self, run: Run, point: Float, width: float) -> PathFollowingState:
        objective = run.objective.smoothed(width)
        return PathFollowingState(width, objective, run.evaluate(point, objective), widest=width >= FIRST_WIDTH)


def width_for(gap: float) -> float:
    """The width whose smoothing error is about a relative gap; `FIRST_WIDTH` if there is no gap yet."""
    return float(np.clip(np.sqrt(gap), MIN_FIRST_WIDTH, FIRST_WIDTH)) if np.isfinite(gap) else FIRST_WIDTH


def _quasi_step(run: Run, state: PathFollowingState) -> PathFollowingState:
    method = LBFGS(state.objective)
    quasi = method.start(run, state.evaluation.point) if state.quasi is None else state.quasi
    before = quasi.evaluation
    quasi = method.step(run, quasi)
    here = quasi.evaluation
    gains = (*state.gains, before.surrogate - here.surrogate)[-ROUGH_STEPS:]
    rough = len(gains) == ROUGH_STEPS and sum(gains) <= ROUGH * (here.value - here.surrogate)
    if rough or method.stuck(quasi) or state.steps >= STAGE_STEPS + QUASI_STEPS:
        return _enter(run, state, 0.25 * state.width, here.point, here)
    return replace(state, evaluation=here, quasi=quasi, gains=gains, steps=state.steps + 1)


def _newton_step(run: Run, state: PathFollowingState, newton: NewtonStep) -> PathFollowingState:
    """Correct the point of the stage or, if it is solved, step to the next."""
    here, step = state.evaluation, newton.step
    own, smoothing = _errors(state.objective, here)
    gain = -0.5 * float(here.gradient @ step)
    # The gain includes the bias, on which the balanced errors do not depend.
    error = max(own, 3 * gain)
    if error <= CENTRED * smoothing and gain <= NEAR * abs(here.surrogate):
        wanted = AIM * run.tol * abs(here.value) / max(smoothing, float(np.finfo(np.float64).tiny))
        last = 2 * wanted > 1  # the smoothing is narrow enough: solve this stage to the end
        if not last or error <= 1e-3 * smoothing or state.steps >= STAGE_STEPS:
            factor = max(_factor(state), min(wanted, 0.5))
            return _follow(run, state, factor, Anchor(state.width, here.point + step, newton.along))
    there = None
    may_retreat = state.anchor is not None and state.factor < MAX_FACTOR
    if state.steps < (RETREAT_STEPS if may_retreat else STAGE_STEPS):
        # No step can gain more than the gap: a longer one is based on too little curvature.
        step = step * min(1.0, abs(here.surrogate) / max(gain, 1e-300))
        there = search(lambda point: run.evaluate(point, state.objective), here, step, exact=run.exact)
        if there is not None and is_stationary(here, there):
            there = None
    if there is None and may_retreat and state.anchor is not None:
        return _follow(run, state, float(np.sqrt(state.factor)), state.anchor)
    if there is None:
        return _enter(run, replace(state, anchor=None), 0.5 * state.width, here.point, here)
    return replace(state, evaluation=there, steps=state.steps + 1)


def _errors(objective: Objective, here: Any) -> tuple[float, float]:
    """The parts of the gap due to an unsolved stage and to its smoothing, at balanced residuals.

    Early on, where bounds are clipped at the loss's infimum, the second is not positive.
    """
    _, bias = objective.unpack(here.point)
    _, excess = objective.unpack(here.gradient)
    own = max(here.surrogate - here.surrogate_bound - float(excess @ bias), 0.0)
    return own, here.value - objective.free_bound(here) - own


def _factor(state: PathFollowingState) -> float:
    """The next factor of the width: smaller if few steps were needed to correct the last prediction."""
    if state.steps <= 1:
        return max(0.3 * state.factor, MIN_FACTOR)
    return max(state.factor, FIRST_FACTOR) if state.steps <= 6 else min(1.5 * state.factor, MAX_FACTOR)


def _follow(run: Run, state: PathFollowingState, factor: float, anchor: Anchor) -> PathFollowingState:
    """Start the next stage at the predicted point."""
    width = factor * anchor.width
    return _enter(run, replace(state, factor=factor, anchor=anchor), width, anchor.predict(width), state.evaluation)


def _enter(run: Run, state: PathFollowingState, width: float, point: Float, here: Any) -> PathFollowingState:
    """Start a stage of another width; at the end of the last one if the prediction is worse."""
    if width < LAST_WIDTH:
        return replace(state, stuck=True)
    objective = run.objective.smoothed(width)
    there = run.evaluate(point, objective)
    if point is not here.point and not there.surrogate <= here.value:
        there = run.evaluate(here.point, objective)
    return PathFollowingState(width, objective, there, factor=state.factor, anchor=state.anchor, widest=state.widest)
