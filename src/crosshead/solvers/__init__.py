"""Minimise an objective. Solvers know its protocol, and nothing of features, classes or engines."""

from __future__ import annotations

from crosshead.engines.blas import one_blas_thread
from crosshead.solvers.continuation import Carried
from crosshead.solvers.fit_memory import fit_memory
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.plan import choose
from crosshead.solvers.protocol import Callback, Float, Objective, Progress, Result, relative_gap

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
    carried: Carried | None = None,
) -> Result:
    """Minimise an objective to a certified relative duality gap of ``tol``.

    The method follows from what the objective says of itself: `crosshead.solvers.plan` has the table.
    ``max_time`` is in seconds; ``callback`` gets a `Progress` after each iteration and stops the fit by returning
    something true; ``after`` is a result that this run takes further; ``carried`` is what the fits of a path leave for
    each other.
    """
    # The passes have threads of their own; BLAS on several more would wait for each other busily on the same
    # processors, and make the result depend on their number.
    with one_blas_thread(), fit_memory():
        return minimise_with(
            choose(objective.facts, carried),
            objective,
            start,
            tol=tol,
            max_iter=max_iter,
            max_time=max_time,
            callback=callback,
            after=after,
        )
