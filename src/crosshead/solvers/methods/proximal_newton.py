"""Proximal Newton over a working set, for L1 objectives with too many features for a model of all of them.

Every step minimises the second-order model of the smooth part plus the L1 norm (Lee, Sun and Saunders, SIAM Journal on
Optimization 24, 2014) over the non-zero weights and those closest to leaving zero (Johnson and Guestrin, ICML 2015;
Massias, Gramfort and Salmon, ICML 2018). Every pass computes the gradient of all weights, so a missing weight is added
by the next step, and the gap is that of the whole problem.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from crosshead.engines.row_descent import row_descent
from crosshead.objective.facts import Trait
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.proximal_steps import backtrack
from crosshead.solvers.protocol import Float, Objective

MIN_SET, GROWTH = 200, 1.0  # weights at zero in the set: at least that many, and that many per non-zero weight
NEAR = 0.7  # of αρ: weights at zero with a smaller gradient are left out
MODEL_TOLERANCE, MAX_SWEEPS = 1e-3, 1000
FIRST_SHARE, SHARE_FACTOR, MIN_SHARE = 0.1, 10.0, 1e-6


@dataclass(frozen=True)
class ProximalNewtonState:
    """The state: evaluation, and the share of the curvature at zero scores in the models."""

    evaluation: Any
    share: float = FIRST_SHARE
    stuck: bool = False


@final
@dataclass(frozen=True)
class ProximalNewton:
    """Minimise a smooth loss with an L1 part by proximal Newton steps over working sets."""

    title: ClassVar[str] = "proximal Newton over a working set"
    needs: ClassVar[frozenset[Trait]] = frozenset({"a smooth loss", "an L1 part"})

    def start(self, run: Run, point: Float) -> ProximalNewtonState:
        """Evaluate the start."""
        return ProximalNewtonState(run.begin(point))

    def step(self, run: Run, state: ProximalNewtonState) -> ProximalNewtonState:
        """Take one proximal Newton step."""
        here = run.current(state.evaluation)
        model = run.objective.active_model(here, working_set(run.objective, here), share=state.share)
        if model is None:
            return replace(state, stuck=True)
        passes = run.passes
        weight, _ = run.objective.unpack(here.point)
        found, sweeps = row_descent(model.rows, MODEL_TOLERANCE, MAX_SWEEPS, run.seconds_left)
        run.between += sweeps * len(found) / max(1, run.objective.size)  # for all columns it would be about a pass
        direction = run.objective.pack(*model.step(found, weight.shape))
        there = backtrack(run, run.objective, here, direction)
        if there is None:
            most = _most_share(run.objective)
            if run.recover():
                return replace(state, evaluation=here)
            # Next time, use a model that gives shorter steps.
            return replace(state, share=min(most, 100 * state.share), stuck=state.share >= most)
        easy = run.passes == passes + 1
        share = state.share / SHARE_FACTOR if easy else state.share * SHARE_FACTOR
        return replace(state, evaluation=there, share=float(np.clip(share, MIN_SHARE, _most_share(run.objective))))

    def stuck(self, state: ProximalNewtonState) -> bool:
        """Whether the last line search failed."""
        return state.stuck


def working_set(objective: Objective, here: Any) -> NDArray[np.int64]:
    """Flat positions in W of the non-zero weights, and of those at zero with the largest gradients."""
    weight = objective.unpack(here.point)[0].ravel()
    size = np.abs(objective.unpack(here.gradient)[0].ravel())
    support = np.flatnonzero(weight)
    outside = np.flatnonzero((weight == 0) & (size > NEAR * objective.l1_weight))
    most = MIN_SET + int(GROWTH * len(support))
    if len(outside) > most:
        outside = outside[np.argpartition(size[outside], len(outside) - most)[-most:]]
    return np.sort(np.concatenate([support, outside]))


def _most_share(objective: Objective) -> float:
    """The share at which the model bounds the curvature: for softmax C/2 times that at zero scores (Böhning)."""
    return max(1.0, objective.unpack(np.empty(objective.size))[1].size / 2)
