"""Quasi-Newton, until it shows that it will not do: then the path of the penalty, and residuals that certify its end.

A factorised Hessian costs as much as many passes, so that passes have to have been spent without the gap coming near.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import numpy as np

from crosshead.solvers.lbfgs import LBFGS, LBFGSState
from crosshead.solvers.loop import Run
from crosshead.solvers.penalty_path import PathState, PenaltyPath
from crosshead.solvers.primal_dual import PrimalDualNewton, PrimalDualState
from crosshead.solvers.protocol import Float

LEAST_PASSES, SETTLED_PASSES = 120, 60
SETTLED = 0.01  # of the gap: where half of the passes brought F no more, it is the bound that does not follow
TURN = 120.0  # times the last level of the path: from there on the residuals are led to its end by themselves
TURN_FACTOR = 30.0  # where that led nowhere, the next attempt is so much nearer the end
ATTEMPT = PrimalDualNewton(patience=1)
LONG_WAY = 2.0  # times the passes so far: further than that is too far
FAR, PATIENCE = 0.5, 10.0  # a gap that has hardly begun to close; else so many factorisations' worth of passes are made


class Seen(NamedTuple):
    """What a fit had come to after so many passes."""

    passes: int
    gap: float
    value: float = np.inf


@dataclass
class GuardedState:
    """The state of whichever method is at work, what was seen so far, and which ones have been tried.

    ``path`` is where the path was left for residuals of their own, ``turn`` the level, in those of its end, at which it
    next will be, ``returned`` whether quasi-Newton is back for good.
    """

    inner: LBFGSState | PathState | PrimalDualState
    seen: list[Seen] = field(default_factory=list)
    path: PathState | None = None
    turn: float = TURN
    returned: bool = False


@final
@dataclass(frozen=True)
class GuardedLBFGS:
    """`LBFGS`; where it gets nowhere `PenaltyPath`, and near that one's end `PrimalDualNewton`.

    Where the last is stuck the path goes on, and where that is stuck, `LBFGS` from the best point.
    """

    def start(self, run: Run, point: Float) -> GuardedState:
        """Evaluate the start."""
        return GuardedState(LBFGS().start(run, point))

    def step(self, run: Run, state: GuardedState) -> GuardedState:
        """One step of the method at work."""
        inner = state.inner
        if isinstance(inner, PrimalDualState):
            if inner.stuck and state.path is not None:
                return replace(state, inner=state.path, path=None)
            return replace(state, inner=ATTEMPT.step(run, inner))
        if isinstance(inner, PathState):
            return self._along_the_path(run, state, inner)
        state.seen.append(Seen(run.passes, run.gap, run.best.value))
        if not state.returned and hopeless(state.seen, run.tol, run.objective.row_duals.factor_passes):
            if not run.exact:
                run.go_exact()  # values of different levels are compared to less than single precision
            return replace(state, inner=PenaltyPath().start(run, np.zeros_like(run.best.point)))
        return replace(state, inner=LBFGS().step(run, inner))

    def _along_the_path(self, run: Run, state: GuardedState, path: PathState) -> GuardedState:
        if path.stuck:
            return replace(state, inner=LBFGS().start(run, run.best.point), returned=True)
        last = run.objective.levels.last
        if path.level <= state.turn * last:
            left = replace(path, factor=None)  # one at a time is in memory
            turn = path.level / last / TURN_FACTOR if path.level > last else 0.0
            return replace(state, inner=ATTEMPT.start(run, path.evaluation.point), path=left, turn=turn)
        return replace(state, inner=PenaltyPath().step(run, path))

    def stuck(self, state: GuardedState) -> bool:
        """Whether `LBFGS` is stuck."""
        return isinstance(state.inner, LBFGSState) and state.inner.stuck


def hopeless(seen: list[Seen], tol: float, factor_passes: float) -> bool:
    """Whether the gap, falling on as it did in the latter half of the passes, is too far from ``tol``.

    A gap that has begun to close often falls at once after a long rest. Where F has settled and the gap is wide open,
    half as many passes say it.

    >>> hopeless([Seen(50, 0.9), Seen(100, 0.9), Seen(200, 0.9)], 1e-4, 90.0)
    True
    >>> hopeless([Seen(30, 0.99, 0.2001), Seen(60, 0.98, 0.2)], 1e-4, 90.0)
    True
    >>> hopeless([Seen(50, 0.1), Seen(100, 0.1), Seen(200, 0.1)], 1e-4, 90.0)
    False
    >>> hopeless([Seen(50, 0.9), Seen(100, 0.9), Seen(200, 1e-3)], 1e-4, 90.0)
    False
    """
    now = seen[-1]
    passes, gap = now.passes, now.gap
    if not gap > tol or tol <= 0 or not np.isfinite(factor_passes):
        return False
    half = max((one for one in seen if 2 * one.passes <= passes), default=seen[0])
    early = passes >= max(SETTLED_PASSES, factor_passes / 2) and gap >= FAR and np.isfinite(half.value)
    if early and half.value - now.value <= SETTLED * gap * abs(now.value):
        return True
    if passes < max(LEAST_PASSES, factor_passes) or (gap < FAR and passes < PATIENCE * factor_passes):
        return False
    if half is now or not gap < half.gap:
        return True
    rate = np.log(half.gap / gap) / (passes - half.passes)
    return bool(np.log(gap / tol) / rate > LONG_WAY * passes)
