"""Minimise an objective. Solvers depend on its protocol only, not on features, classes or engines."""

from __future__ import annotations

from crosshead.engines.threads import one_blas_thread
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

    Parameters
    ----------
    objective : Objective
        What to minimise. Its `facts` determine the method, by the table in `crosshead.solvers.plan`.
    start : ndarray (P,)
        Initial parameters.
    tol : float, default=1e-4
        Relative duality gap (F − D)/|F| at which the fit ends.
    max_iter : int, default=1000
        Maximum number of iterations.
    max_time : float or None, default=None
        Time limit in seconds.
    callback : callable or None, default=None
        Called with a `Progress` after each iteration; the fit ends if it returns a true value.
    after : Result or None, default=None
        A result that this run continues.
    carried : Carried or None, default=None
        What the fits of a path carry over from one to the next.

    Returns
    -------
    Result

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.engines import TrainingData, make_engine
    >>> from crosshead.losses import Softmax
    >>> from crosshead.objective import Objective
    >>> from crosshead.penalties import ElasticNet
    >>> data = TrainingData(np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 1], dtype=np.int32), 2)
    >>> objective = Objective(make_engine("auto", data), Softmax(), ElasticNet(0.1), fit_intercept=True)
    >>> result = minimise(objective, np.zeros(objective.size))
    >>> result.status, result.gap <= 1e-4
    ('converged', True)
    """
    # The passes have threads of their own. BLAS threads would compete with them for the same processors, and make the
    # result depend on their number.
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
