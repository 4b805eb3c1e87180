"""Proximal quasi-Newton steps that find the support, and Newton steps on it, for objectives with an L1 part."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from crosshead.solvers.initial_curvature import FEW_ROWS, MANY_AFTER, MANY_ROWS, Renewal
from crosshead.solvers.line_search import NOISE_DOUBLE, NOISE_SINGLE
from crosshead.solvers.loop import Run
from crosshead.solvers.protocol import Float, Objective
from crosshead.solvers import proximal
from crosshead.solvers.proximal import backtrack, Frame, FramedPairs, _direction, REBUILD_AFTER

import os, time
MEMORY = int(os.environ.get("MEM", 30))
FORCING, MOST_PRODUCTS = float(os.environ.get("FORCING", 0.1)), int(os.environ.get("MOSTP", 40))
GAMMA = float(os.environ.get("GAMMA", 1.0))
FIRST = int(os.environ.get("FIRST", 4))
LEAVE = float(os.environ.get("LEAVE", 1e9))
NEAR = float(os.environ.get("NEAR", 0.8))
NOISY = int(os.environ.get("NOISY", 3))
LEAST_CURVATURE = 1e-12
STAT = {"prod": 0, "prox": 0, "newton": 0, "fail": 0, "tcd": 0.0, "tcg": 0.0, "tlook": 0.0, "looks": 0, "outward": 0, "tform": 0.0}


class CompactModel:
    """B₀ − Q K Qᵀ: the drawn rows' Hessian B₀, corrected by the last steps."""

    def __init__(self, objective: Objective, base: Any) -> None:
        self.objective, self.base = objective, base
        self.pairs: deque[tuple[Float, Float, Float]] = deque(maxlen=MEMORY)
        self.support = base.on_support()
        self._low_rank = self._scaled = np.zeros((objective.size, 0))

    def add(self, step: Float, change: Float) -> None:
        STAT["prod"] += 1
        self.pairs.append((step, change, self.base.multiply(step)))

    def prepare(self, free, near) -> None:
        t = time.perf_counter()
        self.support.restrict(self.objective.unpack(free)[0], self.objective.unpack(near)[0])
        STAT["tform"] += time.perf_counter() - t
        self.free = free
        if not self.pairs:
            return
        S, Y, moved = (np.array(columns).T for columns in zip(*self.pairs, strict=True))
        products = S.T @ Y
        lower = np.tril(products, -1)
        middle = np.block([[S.T @ moved, lower], [lower.T, -np.diag(np.diag(products))]])
        Q = np.hstack([moved, Y])
        norms = np.sqrt(np.maximum(np.abs(np.diag(middle)), 1e-300))
        K = np.linalg.pinv(middle / np.outer(norms, norms), rcond=1e-10, hermitian=True) / np.outer(norms, norms)
        Q[~free] = 0.0
        self._low_rank = np.ascontiguousarray(Q)
        self._scaled = np.ascontiguousarray(Q @ K)

    def multiply(self, direction: Float) -> Float:
        STAT["prod"] += 1
        product = np.where(self.free, self.base.multiply(direction), 0.0)
        if self._low_rank.shape[1]:
            product -= self._scaled @ (direction @ self._low_rank)
        return product

    def precondition(self, vector: Float) -> Float:
        return self.objective.pack(*self.support.apply(*self.objective.unpack(vector)))


def cg(matrix, right, forcing, most):
    from crosshead.solvers.conjugate_gradients import conjugate_gradients
    return conjugate_gradients(matrix, right, forcing, most)


@dataclass
class SparseState:
    evaluation: Any
    frame: Any = None
    framed: Any = None
    model: CompactModel | None = None
    pairs: deque[tuple[Float, Float]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    renewal: Renewal = field(default_factory=Renewal)
    iteration: int = 0
    newton_failed: bool = False
    first: bool = True
    noisy: int = 0
    stuck: bool = False


def look(objective: Objective, here: Any, iteration: int, share: float) -> Any:
    rows = int(os.environ.get("ROWS", 0)) or (MANY_ROWS if iteration > MANY_AFTER else FEW_ROWS)
    t = time.perf_counter()
    m = objective.model(here, rows=rows, share=share)
    STAT["tlook"] += time.perf_counter() - t
    STAT["looks"] += 1
    return m


def corrected(objective: Objective, base: Any, pairs: Iterable[tuple[Float, Float]]) -> CompactModel:
    model = CompactModel(objective, base)
    for step, change in pairs:
        model.add(step, change)
    return model


def violations(objective, here):
    w, b = objective.unpack(here.point)
    G, g = objective.unpack(here.gradient)
    l1 = objective.l1_weight
    inside = np.abs(G + l1 * np.sign(w))[w != 0].max(initial=0.0)
    outside = (np.abs(G)[w == 0] - l1).max(initial=0.0)
    return inside, outside


def energies(objective, here, model):
    w, b = objective.unpack(here.point)
    G, g = objective.unpack(here.gradient)
    l1 = objective.l1_weight
    if model is None: return 1.0, 0.0
    B = np.diag(model.base.metric.class_matrix)
    D = np.outer(B, model.base.metric.features.diagonal) + objective.penalty.l2_weight
    D += 1e-3 * D.mean()
    e = np.where(w != 0, G + l1 * np.sign(w), np.maximum(np.abs(G) - l1, 0)) ** 2 / D
    return float(e[w != 0].sum()), float(e[w == 0].sum())


@final
@dataclass(frozen=True)
class SparseNewton:
    def start(self, run: Run, point: Float) -> SparseState:
        return SparseState(run.evaluate(point))

    def step(self, run: Run, state: SparseState) -> SparseState:
        objective = run.objective
        here = run.current(state.evaluation)
        state = replace(state, evaluation=here)
        inside, outside = violations(objective, here)
        global LAST
        LAST = f"| in {inside / objective.l1_weight:.1e} out {outside / objective.l1_weight:.1e} nnz {np.count_nonzero(here.point)} " + "%.1e %.1e"%energies(objective, here, state.model)
        ein, eout = energies(objective, here, state.model)
        if state.iteration < FIRST or state.newton_failed or state.first or eout > GAMMA * ein:
            state.first = False
            return self._proximal(run, state)
        return self._newton(run, state)

    def _proximal(self, run, state):
        objective, here = run.objective, state.evaluation
        STAT["prox"] += 1
        t = time.perf_counter()
        if state.frame is None or state.iteration in REBUILD_AFTER:
            metric = objective.metric(here) if state.model is None else state.model.base.metric
            state.frame = Frame.of(metric, objective.l1_weight)
            state.framed = None
        if state.framed is None:
            state.framed = FramedPairs.of(state.frame, objective, list(state.pairs)[-proximal.MEMORY:])
        direction = _direction(objective, here, state.framed)
        STAT["tcd"] += time.perf_counter() - t
        there = backtrack(run, objective, here, direction)
        state = replace(state, iteration=state.iteration + 1, newton_failed=False)
        if there is None:
            return self._recover(run, state)
        self._learn(objective, state, here, there)
        return replace(state, evaluation=there)

    def _learn(self, objective, state, here, there):
        step, change = there.point - here.point, there.gradient - here.gradient
        if float(step @ change) > LEAST_CURVATURE * float(np.linalg.norm(step) * np.linalg.norm(change)):
            state.pairs.append((step, change))
            if state.model is not None:
                state.model.add(step, change)
            if state.framed is not None:
                state.framed.add(objective, step, change)

    def _newton(self, run, state):
        objective, here = run.objective, state.evaluation
        STAT["newton"] += 1
        t = time.perf_counter()
        if state.model is None or state.renewal.due():
            state.model = None
            state.model = corrected(objective, look(objective, here, state.iteration, state.renewal.share), state.pairs)
        model = state.model
        signs = np.sign(here.point)
        objective.unpack(signs)[1][:] = 0.0
        leaves = (signs == 0) & (np.abs(here.gradient) > LEAVE * objective.l1_weight)
        objective.unpack(leaves)[1][:] = False
        signs[leaves] = -np.sign(here.gradient[leaves])
        free = signs != 0
        objective.unpack(free)[1][:] = True
        model.prepare(free, np.abs(here.gradient) > NEAR * objective.l1_weight)
        slope = np.where(free, here.gradient + objective.l1_weight * signs, 0.0)
        direction = objective.without_shift(cg(model, -slope, FORCING, MOST_PRODUCTS))
        STAT["tcg"] += time.perf_counter() - t
        passes = run.passes
        there = self._search(run, objective, here, direction, signs)
        state.renewal.count(run.passes - passes)
        state = replace(state, iteration=state.iteration + 1)
        if there is None:
            STAT["fail"] += 1
            return replace(state, newton_failed=True)
        self._learn(objective, state, here, there)
        hidden = here.surrogate - there.surrogate < NOISE_SINGLE * abs(here.surrogate)
        if not run.exact and hidden and max(violations(objective, there)) > 0.5 * max(violations(objective, here)):
            state.noisy += 1
            if state.noisy >= NOISY:
                run.go_exact()
        return replace(state, evaluation=there)

    def _search(self, run, objective, here, direction, signs):
        length, l1 = 1.0, objective.l1_weight
        noise = (NOISE_DOUBLE if run.exact else NOISE_SINGLE) * abs(here.surrogate)
        for _ in range(3):
            place = here.point + length * direction
            cut = (signs != 0) & (np.sign(place) != signs) & (direction != 0)
            place[cut] = 0.0
            by = place - here.point
            promised = float(by @ (here.gradient + l1 * signs))
            STAT["outward"] += int((cut & (here.point == 0)).sum())
            if promised < 0:
                there = run.evaluate(place)
                slope = float(by @ (there.gradient + l1 * signs))
                if there.surrogate <= here.surrogate + 1e-4 * promised or (
                    there.surrogate <= here.surrogate + noise and slope <= -0.9 * promised
                ):
                    return there
            length /= 4
        return None

    def stuck(self, state: SparseState) -> bool:
        return state.stuck

    def _recover(self, run: Run, state: SparseState) -> SparseState:
        if run.coarse:
            run.refine()
            return state
        if state.pairs:
            state.pairs.clear()
            return replace(state, model=None, framed=None)
        if not run.exact:
            run.go_exact()
            return replace(state, evaluation=run.evaluate(state.evaluation.point))
        return replace(state, stuck=True)
