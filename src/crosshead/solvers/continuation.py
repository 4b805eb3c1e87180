"""Continuation along a path: what a fit has learnt of the curvature is carried, exactly, to the next alpha.

With F_α(w) = L(w) + α(1 − ρ)/2·‖W‖² + αρ‖W‖₁, the gradient of the smooth part changed by y along a step s. For
another alpha it would have changed by

    y′ = y + (α′ − α)(1 − ρ)·s    on W, and by y on b,

so the pairs (s, y) of a quasi-Newton method remain exact for the next problem. Its first step is then already the
tangent of the path w(α), and far more pairs are worth keeping than a single fit collects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crosshead.solvers.initial_curvature import FIRST_SHARE
from crosshead.solvers.protocol import Float, Objective

RENEWAL_FACTOR = 8.0  # factor by which alpha may fall before the curvature is estimated again
SETTLED_RENEWALS, SETTLED_SHARE = 3, 0.001  # the state of a fit that has estimated its curvature so often

Pair = tuple[Float, Float]


@dataclass
class Carried:
    """What a fit carries over to the next alpha: quasi-Newton pairs, and the last estimate of the curvature.

    ``blocks_failed`` says that steps with blocks of the Hessian were too long. ``estimates`` has the estimates of the
    curvature so far, by alpha; fits over the same rows with other weights may share it, as it affects speed only.
    """

    estimates: dict[float, Any] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    blocks_failed: bool = False
    l2_weight: float = 0.0
    alpha: float = np.inf
    built: float = np.inf
    metric: Any = None
    metric_alpha: float = np.inf

    def prepare(self, objective: Objective, estimate: Callable[[float], Any]) -> tuple[Any, bool]:
        """Correct the pairs; return the curvature estimate, and whether alpha changed too much for it to remain useful.

        ``estimate(share)`` estimates the curvature, mixed with a share of that at zero scores.
        """
        alpha, l2_weight = objective.alpha, objective.l2_weight
        if self.pairs:
            weight, bias = objective.unpack(np.zeros_like(self.pairs[0][0]))
            shrink = objective.pack(np.full_like(weight, l2_weight - self.l2_weight), bias)
            self.pairs = [(step, change + shrink * step) for step, change in self.pairs]
        leap = alpha * RENEWAL_FACTOR < self.alpha
        if alpha * RENEWAL_FACTOR < self.built:
            self.built = alpha
            if alpha not in self.estimates:
                self.estimates[alpha] = estimate(SETTLED_SHARE if self.pairs else FIRST_SHARE)
        self.alpha, self.l2_weight = alpha, l2_weight
        return self.estimates[self.built], leap


def extrapolate(points: list[Float], logs: list[float], log: float, *, keep_signs: int = 0) -> Float:
    """Extrapolate the last two points linearly to log α, (P,); with one point, return it.

    Of the first ``keep_signs`` entries, those that would change their sign become zero, and zeros remain zero.
    """
    if len(points) < 2 or not np.isfinite([log, *logs[-2:]]).all() or logs[-1] == logs[-2]:
        return points[-1]
    share = min((log - logs[-1]) / (logs[-1] - logs[-2]), 2.0)
    there = points[-1] + share * (points[-1] - points[-2])
    signed = there[:keep_signs]
    signed[np.sign(signed) != np.sign(points[-1][:keep_signs])] = 0.0
    return np.asarray(there)
