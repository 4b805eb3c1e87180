"""The primal-dual interior-point method for losses of violations with an elastic net, where a Hessian is cheap.

The loss and the L1 part are maxima over groups, ω max_k m_k = min ω ξ subject to u_k = ξ − m_k ≥ 0, whose duals ω r_k
sum to ω. Newton's method on

    Σ ω A*r + α(1 − ρ)W = 0,    Σ_k r_k = 1,    u_k = ξ − m_k,    u_k r_k = τ

with τ → 0 (Mehrotra, SIAM Journal on Optimization 2, 1992) takes one or two dozen factorisations for any data; r is a
dual point at every step. Products ω u·r are compared with τ for rows of any weight: with a barrier that is weighted as
the loss, rows of tiny weight would allow short steps only. For squared violations, min ω ξ² subject to u = ξ − m ≥ 0,
the dual of a slack is 2ω ξ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
from scipy.linalg import LinAlgError

from crosshead.curvature.program_face import optimum_on_face, zero_weights
from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float

BOUNDARY = 0.995  # share of the distance to the boundary that a step may take
SPARSE_GAP = 10.0  # times tol: from there on, weights that are certainly zero are set to zero
AIM = 0.05  # of tol: a smaller gap of the method's own would only lose digits of the duals' sums
SHORT = 0.1  # a shorter step is of less use than one towards equal products
MIN_STEP, MAX_SHORT = 1e-4, 6  # limit of steps in a row that are shorter or at a gap of AIM
MIN_WIDTH, MAX_WIDTH = 1e-12, 1.0  # of the smoothed loss with which a point is evaluated
MIN_PRODUCT = 1e-150  # of τ: less is below rounding, and its quotients overflow
MAX_ITERATIONS = 200
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Maxima:
    """Groups of slacks u (…, k) with duals r that sum to one in each group, and the scale of their products.

    ``scale`` is a number, or an array with one number per row, (n, 1, 1).
    """

    slack: Float
    dual: Float
    scale: Any

    @property
    def ratios(self) -> Float:
        """r/u."""
        return self.dual / self.slack

    @property
    def centrality(self) -> Float:
        """The products u·r on the scale of τ."""
        return np.asarray(self.slack * self.dual / self.scale)

    @property
    def residual(self) -> Float:
        """The duals of all members but the zero that each group begins with, (…, members)."""
        return np.asarray(self.dual[..., 1:])

    def grouped(self, values: Float) -> Float:
        """Values for the members of each group, (…, members), with a zero before them."""
        return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)

    def eliminated(self, aim: Float) -> Float:
        """The change e/u − d Σ(e/u)/Σd of the duals towards products u·r + e at fixed m_k."""
        share = aim / self.slack
        ratios = self.ratios
        return np.asarray(share - ratios * (share.sum(axis=-1) / ratios.sum(axis=-1))[..., None])

    def steps(self, aim: Float, moved: Float) -> tuple[Float, Float]:
        """Δu and Δr for products u·r + e if the m_k change by ``moved``."""
        ratios = self.ratios
        raised = ((aim / self.slack).sum(axis=-1) + (ratios * moved).sum(axis=-1)) / ratios.sum(axis=-1)
        slack = raised[..., None] - moved
        return slack, (aim - self.dual * slack) / self.slack

    def after(self, slack: Float, dual: Float) -> Maxima:
        """The groups after a step; the sums of the duals are kept at one."""
        dual = self.dual + dual
        return replace(self, slack=self.slack + slack, dual=dual / dual.sum(axis=-1)[..., None])


@dataclass(frozen=True)
class Squares:
    """Slacks u = ξ − m of squared violations, each a group by itself, with their duals r = 2ξ, (…, 1)."""

    slack: Float
    dual: Float
    scale: Any

    @property
    def ratios(self) -> Float:
        """The curvature of ξ², and r/u."""
        return np.concatenate([np.full_like(self.slack, 2.0), self.dual / self.slack], axis=-1)

    @property
    def centrality(self) -> Float:
        """The products u·r on the scale of τ."""
        return np.asarray(self.slack * self.dual / self.scale)

    @property
    def residual(self) -> Float:
        """The duals, (…, 1)."""
        return self.dual

    def grouped(self, values: Float) -> Float:
        """Values for the members, unchanged."""
        return values

    def eliminated(self, aim: Float) -> Float:
        """The change of the duals towards products u·r + e at fixed m."""
        return np.asarray(aim / (self.slack + self.dual / 2))

    def steps(self, aim: Float, moved: Float) -> tuple[Float, Float]:
        """Δu and Δr for products u·r + e if the m change by ``moved``."""
        dual = (self.dual * moved + aim) / (self.slack + self.dual / 2)
        return np.asarray(dual / 2 - moved), np.asarray(dual)

    def after(self, slack: Float, dual: Float) -> Squares:
        """The groups after a step."""
        return replace(self, slack=self.slack + slack, dual=self.dual + dual)


def centred_squares(values: Float, width: float, scale: Any) -> Squares:
    """The groups over squared violations of ``values`` (…, 1) with u·r = width · scale throughout."""
    product = np.broadcast_to(width * scale, values.shape)
    root = np.sqrt(values**2 + 2 * product)
    # r²/2 − m r = τ; in both cases without cancellation.
    dual = np.where(values > 0, values + root, 2 * product / (root - np.minimum(values, 0)))
    return Squares(product / dual, dual, scale)


def centred(values: Float, width: float, scale: Any) -> Maxima:
    """The groups over maxima of ``values`` (…, k) with u·r = width · scale throughout."""
    product = np.broadcast_to(width * scale, (*values.shape[:-1], 1))
    xi = values.max(axis=-1, keepdims=True) + product
    for _ in range(30):  # Σ product/(ξ − m_k) = 1 is convex and falling: Newton's method converges from below
        inverse = product / (xi - values)
        xi = xi + (inverse.sum(axis=-1, keepdims=True) - 1) / (inverse**2).sum(axis=-1, keepdims=True) * product
    slack = xi - values
    dual = product / slack
    return Maxima(slack, dual / dual.sum(axis=-1)[..., None], scale)


@dataclass(frozen=True)
class InteriorState:
    """The state: parameters θ, the groups of the loss and of the L1 part, and the number of short steps."""

    program: Any
    theta: Float
    loss: Maxima | Squares
    weights: Maxima
    short: int = 0
    iteration: int = 0
    stuck: bool = False

    @property
    def width(self) -> float:
        """τ, the mean of the products on their common scale."""
        total = float(self.loss.centrality.sum() + self.weights.centrality.sum())
        return total / max(1, self.loss.slack.size + self.weights.slack.size)

    @property
    def inside(self) -> bool:
        """Whether all slacks and duals are positive; rounding may make this impossible."""
        groups = (self.loss.slack, self.loss.dual, self.weights.slack, self.weights.dual)
        finite = all(np.isfinite(each).all() for each in (self.theta, *groups))
        return bool(finite and all((each > 0).all() for each in groups))

    @property
    def gap(self) -> float:
        """Σ ω u·r: the duality gap, without what is not yet stationary."""
        rows = (self.loss.slack * self.loss.dual).sum(axis=(1, 2))
        return float(
            self.program.row_weight @ rows + self.program.l1_weight * (self.weights.slack * self.weights.dual).sum()
        )


@final
@dataclass(frozen=True)
class InteriorPoint:
    """Minimise an objective that has a program (`Objective.dual.program`)."""

    title: ClassVar[str] = "interior point"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a loss of violations"})

    def start(self, run: Run, point: Float) -> InteriorState:
        """Start at the method's own point, W = 0; a start near the boundary would take more steps."""
        program = run.objective.dual.program
        run.evaluate(point, run.objective.smoothed(MAX_WIDTH))
        if not run.exact:
            run.go_exact()
        theta = np.zeros((len(program.classes), program.features.shape[1]))
        pieces = program.pieces
        values = _in_groups(program, program.violations(theta))
        scale = 1.0 / (len(values) * program.row_weight[:, None, None])
        width = pieces.margin**2 if pieces.squared else pieces.margin
        zero = np.zeros((*values.shape[:-1], 1))
        loss: Maxima | Squares
        if pieces.squared:
            loss = centred_squares(values, width, scale)
        else:
            loss = centred(np.concatenate([zero, values], axis=-1), width, scale)
        # The same contribution to the gap as all rows together.
        signs = _both_signs(program, theta)
        weights = centred(signs, width, 1.0 / (max(program.l1_weight, TINY) * max(1, theta[:, :-1].size)))
        return InteriorState(program, theta, loss, weights)

    def step(self, run: Run, state: InteriorState) -> InteriorState:
        """Take a predictor-corrector step with one factorisation, and run a pass at the new point."""
        if not (state.width > MIN_PRODUCT and state.gap > 0):
            return replace(state, stuck=True)
        try:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # overflow ends the method
                after = _step(state, AIM * 0.1**state.short * run.tol * abs(run.best.value))
        except LinAlgError:
            return replace(state, stuck=True)
        run.factorisations += 1
        if not after.inside:
            return replace(state, stuck=True)
        if after.iteration >= MAX_ITERATIONS or after.short >= MAX_SHORT:
            after = replace(after, stuck=True)
        _certify(run, after)
        return after

    def stuck(self, state: InteriorState) -> bool:
        """Whether rounding prevents further progress."""
        return state.stuck


def _step(state: InteriorState, least: float) -> InteriorState:
    """Take a predictor-corrector step towards a gap of at least ``least``."""
    program, loss, weights = state.program, state.loss, state.weights
    diagonal = np.zeros_like(state.theta)
    ratios = weights.ratios
    pair = 4 / (1 / ratios).sum(axis=-1)  # of max(w, −w)
    diagonal[:, :-1] = program.l2_weight
    diagonal[:, : pair.shape[1]] += program.l1_weight * pair
    solve = program.solver(loss.ratios, diagonal)
    error = _stationarity(state, loss.residual, weights.dual)
    error[:, :-1] += program.l2_weight * state.theta[:, :-1]

    def towards(aims: tuple[Float, Float]) -> tuple[Float, tuple[Float, Float], tuple[Float, Float]]:
        eliminated = replace(loss, dual=loss.eliminated(aims[0])).residual
        step = solve(-(error + _stationarity(state, eliminated, weights.eliminated(aims[1]))))
        moved = loss.grouped(_in_groups(program, program.moved(step)))
        return step, loss.steps(aims[0], moved), weights.steps(aims[1], _both_signs(program, step))

    def aimed(width: float, bend: tuple[Float, Float]) -> tuple[Float, Float]:
        """The target of the products minus their values and their second-order change along the step."""
        return (
            width * loss.scale - loss.slack * loss.dual - bend[0],
            width * weights.scale - weights.slack * weights.dual - bend[1],
        )

    straight = (np.zeros_like(loss.slack), np.zeros_like(weights.slack))
    step, of_loss, of_weights = towards(aimed(0.0, straight))
    primal, dual = _lengths(state, of_loss, of_weights, 1.0)
    predicted = replace(
        state,
        loss=replace(loss, slack=loss.slack + primal * of_loss[0], dual=loss.dual + dual * of_loss[1]),
        weights=replace(
            weights, slack=weights.slack + primal * of_weights[0], dual=weights.dual + dual * of_weights[1]
        ),
    )
    width = state.width
    target = max(width * min(1.0, max(predicted.width, 0.0) / width) ** 3, width * min(1.0, least / state.gap))
    # Scaled to the length of the step: along a short one the second-order change is smaller.
    share = primal * dual
    bend = (share * of_loss[0] * of_loss[1], share * of_weights[0] * of_weights[1])
    step, of_loss, of_weights = towards(aimed(target, bend))
    primal, dual = _lengths(state, of_loss, of_weights, BOUNDARY)
    if min(primal, dual) < SHORT:  # centre first: longer steps are possible from there
        step, of_loss, of_weights = towards(aimed(width, straight))
        primal, dual = _lengths(state, of_loss, of_weights, BOUNDARY)
    return replace(
        state,
        theta=state.theta + primal * step,
        loss=loss.after(primal * of_loss[0], dual * of_loss[1]),
        weights=weights.after(primal * of_weights[0], dual * of_weights[1]),
        short=state.short + 1 if min(primal, dual) < MIN_STEP or state.gap <= 2 * least else 0,
        iteration=state.iteration + 1,
    )


def _stationarity(state: InteriorState, residual: Float, weights: Float) -> Float:
    """Σ ω A*r for duals of the loss and of the L1 part, (K, D + 1)."""
    out = state.program.collect(residual.reshape(len(residual), -1))
    out[:, : weights.shape[1]] += state.program.l1_weight * (weights[..., 0] - weights[..., 1])
    return np.asarray(out)


def _lengths(
    state: InteriorState, of_loss: tuple[Float, Float], of_weights: tuple[Float, Float], share: float
) -> tuple[float, float]:
    """The step lengths of slacks and duals; equal if an L2 part or squares couple them."""
    primal = min(_length(state.loss.slack, of_loss[0]), _length(state.weights.slack, of_weights[0]))
    dual = min(_length(state.loss.dual, of_loss[1]), _length(state.weights.dual, of_weights[1]))
    if state.program.l2_weight > 0 or isinstance(state.loss, Squares):
        primal = dual = min(primal, dual)
    return min(1.0, share * primal), min(1.0, share * dual)


def _length(values: Float, step: Float) -> float:
    falling = step < 0
    return float((values[falling] / -step[falling]).min(initial=np.inf))


def _certify(run: Run, state: InteriorState) -> None:
    """Run a pass at the method's point, with the better of its bound and that of the duals."""
    program, objective, theta = state.program, run.objective, state.theta
    if state.gap <= SPARSE_GAP * run.tol * abs(run.best.value):
        theta = theta.copy()
        theta[:, :-1][zero_weights(program, state.weights.slack, state.weights.dual)] = 0.0
    smoothed = objective.smoothed(float(np.clip(state.width, MIN_WIDTH, MAX_WIDTH)))
    evaluation = run.evaluate(objective.pack(*program.leave(theta)), smoothed)
    residual = state.loss.residual.reshape(len(state.loss.dual), -1)
    run.record(objective.certified_by(evaluation, program.dual_point(residual)))
    if state.short and isinstance(state.loss, Maxima) and run.gap > run.tol:
        _certify_face(run, state)


def _certify_face(run: Run, state: InteriorState) -> None:
    """Run a pass at the optimum on the current face: the method's own duals are limited by rounding."""
    program, loss, weights = state.program, state.loss, state.weights
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # overflow means that there is none
        found = optimum_on_face(program, loss.slack, loss.dual, weights.slack, weights.dual, state.theta)
    if found is None:
        return
    theta, residual = found
    smoothed = run.objective.smoothed(MIN_WIDTH)
    evaluation = run.evaluate(run.objective.pack(*program.leave(theta)), smoothed)
    run.record(run.objective.certified_by(evaluation, program.dual_point(residual)))


def _in_groups(program: Any, violations: Float) -> Float:
    """Arrange violations (n, K − 1) by groups, (n, G, members)."""
    return violations.reshape(len(violations), *program.group_shape)


def _both_signs(program: Any, theta: Float) -> Float:
    """(w, −w) of every weight with an L1 penalty, (K, D, 2), else (K, 0, 2)."""
    weight = theta[:, :-1] if program.l1_weight > 0 else theta[:, :0]
    return np.stack([weight, -weight], axis=-1)
