"""The primal-dual interior-point method for losses of violations with an elastic net, where a Hessian is cheap.

The loss and the L1 part are maxima over groups, ω max_k m_k = min ω ξ subject to u_k = ξ − m_k ≥ 0, whose duals ω r_k
sum to ω. Newton's method on

    Σ ω A*r + α(1 − ρ)W = 0,    Σ_k r_k = 1,    u_k = ξ − m_k,    u_k r_k = τ

with τ driven to zero (Mehrotra, SIAM Journal on Optimization 2, 1992) takes one or two dozen factorisations whatever
the data; r is a dual point at every step. On the scale of τ a product is ω u·r, whatever the row weighs: with a barrier
that weighs rows as the loss does, those of next to no weight would allow short steps only. Of squared violations,
min ω ξ² subject to u = ξ − m ≥ 0, the dual of a slack is 2ω ξ.
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

BOUNDARY = 0.995  # the share of the way to the boundary that a step may take
SPARSE_GAP = 10.0  # times tol: from there on, weights that are certainly zero are set to zero
AIM = 0.05  # of tol: a smaller gap of the method's own would only cost digits of the duals' sums
SHORT = 0.1  # a step that leads no further is of less use than one towards equal products
LEAST_STEP, MOST_SHORT = 1e-4, 6  # so many steps in turn that are shorter, or at a gap of AIM, get nowhere
LEAST_WIDTH, MOST_WIDTH = 1e-12, 1.0  # of the smoothed loss that a point is evaluated with
LEAST_PRODUCT = 1e-150  # of τ: less is far below every rounding, and its quotients overflow
MOST_ITERATIONS = 200
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Maxima:
    """Groups of slacks u (…, k) with their duals r, whose sum over a group is one, and the scale of their products.

    ``scale`` is a number, or an array that has one for each row, (n, 1, 1).
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
        """u·r on the scale of τ."""
        return np.asarray(self.slack * self.dual / self.scale)

    @property
    def residual(self) -> Float:
        """The duals of all but the zero that each group begins with, (…, members)."""
        return np.asarray(self.dual[..., 1:])

    def grouped(self, values: Float) -> Float:
        """A row's values for its members, (…, members), with that of zero before them."""
        return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)

    def eliminated(self, aim: Float) -> Float:
        """e/u − d Σ(e/u)/Σd: how far the duals move towards products u·r + e were the m_k to stay."""
        share = aim / self.slack
        ratios = self.ratios
        return np.asarray(share - ratios * (share.sum(axis=-1) / ratios.sum(axis=-1))[..., None])

    def steps(self, aim: Float, moved: Float) -> tuple[Float, Float]:
        """Δu and Δr for products u·r + e where the m_k move by ``moved``."""
        ratios = self.ratios
        raised = ((aim / self.slack).sum(axis=-1) + (ratios * moved).sum(axis=-1)) / ratios.sum(axis=-1)
        slack = raised[..., None] - moved
        return slack, (aim - self.dual * slack) / self.slack

    def after(self, slack: Float, dual: Float) -> Maxima:
        """The groups after a step; the duals' sums are kept at one."""
        dual = self.dual + dual
        return replace(self, slack=self.slack + slack, dual=dual / dual.sum(axis=-1)[..., None])


@dataclass(frozen=True)
class Squares:
    """Slacks u = ξ − m of squared violations, each a group of its own, with their duals r = 2ξ, (…, 1)."""

    slack: Float
    dual: Float
    scale: Any

    @property
    def ratios(self) -> Float:
        """The curvature of ξ², and r/u."""
        return np.concatenate([np.full_like(self.slack, 2.0), self.dual / self.slack], axis=-1)

    @property
    def centrality(self) -> Float:
        """u·r on the scale of τ."""
        return np.asarray(self.slack * self.dual / self.scale)

    @property
    def residual(self) -> Float:
        """The duals, (…, 1)."""
        return self.dual

    def grouped(self, values: Float) -> Float:
        """Values for the members, as they are."""
        return values

    def eliminated(self, aim: Float) -> Float:
        """How far the duals move towards products u·r + e were the m to stay."""
        return np.asarray(aim / (self.slack + self.dual / 2))

    def steps(self, aim: Float, moved: Float) -> tuple[Float, Float]:
        """Δu and Δr for products u·r + e where the m move by ``moved``."""
        dual = (self.dual * moved + aim) / (self.slack + self.dual / 2)
        return np.asarray(dual / 2 - moved), np.asarray(dual)

    def after(self, slack: Float, dual: Float) -> Squares:
        """The groups after a step."""
        return replace(self, slack=self.slack + slack, dual=self.dual + dual)


def centred_squares(values: Float, width: float, scale: Any) -> Squares:
    """The groups over squared violations of ``values`` (…, 1) with u·r = width · scale throughout."""
    product = np.broadcast_to(width * scale, values.shape)
    root = np.sqrt(values**2 + 2 * product)
    # r²/2 − m r = τ; either way without cancellation.
    dual = np.where(values > 0, values + root, 2 * product / (root - np.minimum(values, 0)))
    return Squares(product / dual, dual, scale)


def centred(values: Float, width: float, scale: Any) -> Maxima:
    """The groups over maxima of ``values`` (…, k) with u·r = width · scale throughout."""
    product = np.broadcast_to(width * scale, (*values.shape[:-1], 1))
    xi = values.max(axis=-1, keepdims=True) + product
    for _ in range(30):  # Σ product/(ξ − m_k) = 1 is convex and falling, and Newton's method nears it from below
        inverse = product / (xi - values)
        xi = xi + (inverse.sum(axis=-1, keepdims=True) - 1) / (inverse**2).sum(axis=-1, keepdims=True) * product
    slack = xi - values
    dual = product / slack
    return Maxima(slack, dual / dual.sum(axis=-1)[..., None], scale)


@dataclass(frozen=True)
class InteriorState:
    """Where the method is: parameters θ, the groups of the loss and those of the L1 part, and how short steps were."""

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
        """Whether all slacks and duals are positive numbers: rounding may have left no way to stay there."""
        groups = (self.loss.slack, self.loss.dual, self.weights.slack, self.weights.dual)
        finite = all(np.isfinite(each).all() for each in (self.theta, *groups))
        return bool(finite and all((each > 0).all() for each in groups))

    @property
    def gap(self) -> float:
        """Σ ω u·r, the duality gap but for what is not yet stationary."""
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
        """The method's own start, weights of zero: from a point at the boundary the way inside is longer."""
        program = run.objective.dual.program
        run.evaluate(point, run.objective.smoothed(MOST_WIDTH))
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
        # As large a part of the gap as all rows together.
        signs = _both_signs(program, theta)
        weights = centred(signs, width, 1.0 / (max(program.l1_weight, TINY) * max(1, theta[:, :-1].size)))
        return InteriorState(program, theta, loss, weights)

    def step(self, run: Run, state: InteriorState) -> InteriorState:
        """A predictor and a corrector by one factorisation, and a pass at the new point."""
        if not (state.width > LEAST_PRODUCT and state.gap > 0):
            return replace(state, stuck=True)
        try:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # where this happens, it is the end
                after = _step(state, AIM * 0.1**state.short * run.tol * abs(run.best.value))
        except LinAlgError:
            return replace(state, stuck=True)
        run.factorisations += 1
        if not after.inside:
            return replace(state, stuck=True)
        if after.iteration >= MOST_ITERATIONS or after.short >= MOST_SHORT:
            after = replace(after, stuck=True)
        _certify(run, after)
        return after

    def stuck(self, state: InteriorState) -> bool:
        """Whether rounding leaves no way forward."""
        return state.stuck


def _step(state: InteriorState, least: float) -> InteriorState:
    """One predictor-corrector step towards a gap that is not below ``least``."""
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
        """The products to aim at, less what they are, and less how they bend along a step."""
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
    # As far as the step could be taken: of a short one the products bend less.
    share = primal * dual
    bend = (share * of_loss[0] * of_loss[1], share * of_weights[0] * of_weights[1])
    step, of_loss, of_weights = towards(aimed(target, bend))
    primal, dual = _lengths(state, of_loss, of_weights, BOUNDARY)
    if min(primal, dual) < SHORT:  # first back to where all products are alike, from where longer steps are possible
        step, of_loss, of_weights = towards(aimed(width, straight))
        primal, dual = _lengths(state, of_loss, of_weights, BOUNDARY)
    return replace(
        state,
        theta=state.theta + primal * step,
        loss=loss.after(primal * of_loss[0], dual * of_loss[1]),
        weights=weights.after(primal * of_weights[0], dual * of_weights[1]),
        short=state.short + 1 if min(primal, dual) < LEAST_STEP or state.gap <= 2 * least else 0,
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
    """How far the slacks and the duals may go; equally far where the L2 part or squares tie them together."""
    primal = min(_length(state.loss.slack, of_loss[0]), _length(state.weights.slack, of_weights[0]))
    dual = min(_length(state.loss.dual, of_loss[1]), _length(state.weights.dual, of_weights[1]))
    if state.program.l2_weight > 0 or isinstance(state.loss, Squares):
        primal = dual = min(primal, dual)
    return min(1.0, share * primal), min(1.0, share * dual)


def _length(values: Float, step: Float) -> float:
    falling = step < 0
    return float((values[falling] / -step[falling]).min(initial=np.inf))


def _certify(run: Run, state: InteriorState) -> None:
    """A pass at the method's point, whose bound is the better one of the pass's own and that of the duals."""
    program, objective, theta = state.program, run.objective, state.theta
    if state.gap <= SPARSE_GAP * run.tol * abs(run.best.value):
        theta = theta.copy()
        theta[:, :-1][zero_weights(program, state.weights.slack, state.weights.dual)] = 0.0
    smoothed = objective.smoothed(float(np.clip(state.width, LEAST_WIDTH, MOST_WIDTH)))
    evaluation = run.evaluate(objective.pack(*program.leave(theta)), smoothed)
    residual = state.loss.residual.reshape(len(state.loss.dual), -1)
    run.record(objective.certified_by(evaluation, program.dual_point(residual)))
    if state.short and isinstance(state.loss, Maxima) and run.gap > run.tol:
        _certify_face(run, state)


def _certify_face(run: Run, state: InteriorState) -> None:
    """A pass at the optimum on the face that the method has come to: its own duals end with their rounding."""
    program, loss, weights = state.program, state.loss, state.weights
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # where this happens, it is none
        found = optimum_on_face(program, loss.slack, loss.dual, weights.slack, weights.dual, state.theta)
    if found is None:
        return
    theta, residual = found
    smoothed = run.objective.smoothed(LEAST_WIDTH)
    evaluation = run.evaluate(run.objective.pack(*program.leave(theta)), smoothed)
    run.record(run.objective.certified_by(evaluation, program.dual_point(residual)))


def _in_groups(program: Any, violations: Float) -> Float:
    """Violations (n, K − 1) in their groups, (n, G, members)."""
    return violations.reshape(len(violations), *program.group_shape)


def _both_signs(program: Any, theta: Float) -> Float:
    """(w, −w) of every weight that an L1 part charges for, (K, D, 2), else (K, 0, 2)."""
    weight = theta[:, :-1] if program.l1_weight > 0 else theta[:, :0]
    return np.stack([weight, -weight], axis=-1)
