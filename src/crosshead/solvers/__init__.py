"""Minimise an objective. Solvers know its protocol, and nothing of features, classes or engines."""

from __future__ import annotations

from typing import Any

from crosshead.blas import one_blas_thread
from crosshead.fit_memory import fit_memory
from crosshead.solvers.dual_ascent import kinked
from crosshead.solvers.interior_point import sparse_and_kinked
from crosshead.solvers.loop import Method, minimise_with
from crosshead.solvers.newton import Newton
from crosshead.solvers.penalty_path import GuardedLBFGS
from crosshead.solvers.protocol import Callback, Float, Objective, Progress, Result, relative_gap
from crosshead.solvers.proximal_newton import ProximalNewton
from crosshead.solvers.smooth_ascent import SmoothAscent
from crosshead.solvers.sparse_newton import SparseNewton

__all__ = ["Callback", "Progress", "Result", "minimise", "relative_gap"]


def minimise(
    objective: Objective,
    start: Float,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    max_time: float | None = None,
    callback: Callback | None = None,
    after: Result | None = None,
) -> Result:
    """Minimise an objective to a certified relative duality gap of ``tol``.

    The method follows from what the objective says of itself: quasi-Newton where it is differentiable (Newton where it
    is small, or where quasi-Newton gets nowhere), proximal steps and Newton steps on the weights that are not zero with
    an L1 part (Newton over a working set where features are many); where the loss has kinks, dual
    coordinate ascent, an interior point, or continuation in a smoothing width. docs/solvers.md has the table.
    ``max_time`` is in seconds; ``callback`` gets a `Progress` after each iteration and stops the fit by returning
    something true; ``after`` is a result that this run takes further.
    """
    method: Method[Any]
    if objective.l1_weight > 0:
        method = _proximal(objective) if objective.smooth else sparse_and_kinked(objective)
    elif objective.smooth:
        method = _smooth(objective)
    else:
        method = kinked(objective)
    # The passes have threads of their own; BLAS on several more would wait for each other busily on the same
    # processors, and make the result depend on their number.
    with one_blas_thread(), fit_memory():
        return minimise_with(
            method, objective, start, tol=tol, max_iter=max_iter, max_time=max_time, callback=callback, after=after
        )


def _smooth(objective: Objective) -> Method[Any]:
    if objective.small:
        return Newton()
    return SmoothAscent(GuardedLBFGS()) if objective.dual.ascends else GuardedLBFGS()


def _proximal(objective: Objective) -> Method[Any]:
    return ProximalNewton() if objective.wide else SparseNewton()
