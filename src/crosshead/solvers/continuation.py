"""From one alpha to the next: what a fit has learnt of the curvature, kept exactly.

With F_α(w) = L(w) + α(1 − ρ)/2·‖W‖² + αρ‖W‖₁, the gradient of the smooth part changed by y along a step s. For
another alpha it would have changed by

    y′ = y + (α′ − α)(1 − ρ)·s    on W, and by y on b,

so the pairs (s, y) of a quasi-Newton method stay true pairs of the next problem. Its first step is then already the
tangent of the path w(α), and far more pairs are worth keeping than a single fit collects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crosshead.solvers.initial_curvature import FIRST_SHARE
from crosshead.solvers.protocol import Float, Objective

LOOK_FACTOR = 8.0  # by how much alpha may fall before the curvature is looked at again
SETTLED_LOOKS, SETTLED_SHARE = 3, 0.001  # as a fit that has renewed its curvature so often

Pair = tuple[Float, Float]


@dataclass
class Carried:
    """What one alpha leaves for the next: pairs, and the curvature known at the alpha that it was looked at.

    ``rough`` says that steps with blocks of the Hessian led too far. ``looks`` are those taken so far, by alpha. Runs
    over other weights of the same rows may share the dictionary: they only steer.
    """

    looks: dict[float, Any] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    rough: bool = False
    l2_weight: float = 0.0
    alpha: float = np.inf
    built: float = np.inf
    metric: Any = None
    metric_alpha: float = np.inf

    def prepare(self, objective: Objective, look: Callable[[float], Any]) -> tuple[Any, bool]:
        """Correct the pairs; return what is known of the curvature, and whether alpha leapt too far for it to last.

        ``look`` estimates the curvature with a share of the origin's.
        """
        alpha, l2_weight = objective.alpha, objective.l2_weight
        if self.pairs:
            weight, bias = objective.unpack(np.zeros_like(self.pairs[0][0]))
            shrink = objective.pack(np.full_like(weight, l2_weight - self.l2_weight), bias)
            self.pairs = [(step, change + shrink * step) for step, change in self.pairs]
        leap = alpha * LOOK_FACTOR < self.alpha
        if alpha * LOOK_FACTOR < self.built:
            self.built = alpha
            if alpha not in self.looks:
                self.looks[alpha] = look(SETTLED_SHARE if self.pairs else FIRST_SHARE)
        self.alpha, self.l2_weight = alpha, l2_weight
        return self.looks[self.built], leap


def extrapolate(points: list[Float], logs: list[float], log: float, *, keep_signs: int = 0) -> Float:
    """The point at log α on the line through the last two, (P,); the last one where there are no two.

    Of the first ``keep_signs`` entries those that would change their sign become zero, and zeros stay zeros.
    """
    if len(points) < 2 or not np.isfinite([log, *logs[-2:]]).all() or logs[-1] == logs[-2]:
        return points[-1]
    share = min((log - logs[-1]) / (logs[-1] - logs[-2]), 2.0)
    there = points[-1] + share * (points[-1] - points[-2])
    signed = there[:keep_signs]
    signed[np.sign(signed) != np.sign(points[-1][:keep_signs])] = 0.0
    return np.asarray(there)
