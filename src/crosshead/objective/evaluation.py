"""The result of one pass at a point."""

from __future__ import annotations

from dataclasses import dataclass

from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class Evaluation:
    """The result of one pass at a point, as `Objective.evaluate` returns it.

    * ``value``: F with the unsmoothed loss; ``bound``: a lower bound of the minimum of F (−inf if alpha = 0)
    * ``surrogate``, ``surrogate_bound``: the same for the smoothed loss (equal without smoothing)
    * ``gradient``: of the surrogate without the L1 part, as a flat vector like ``point``
    * ``free_value``: the dual value if the sums of the residuals were zero, without the penalty's part
    * ``exact``: computed in float64 throughout; ``coarse``: on rounded features, at a point on their grid

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.engines import TrainingData, make_engine
    >>> from crosshead.losses import Softmax
    >>> from crosshead.objective import Objective
    >>> from crosshead.penalties import ElasticNet
    >>> data = TrainingData(np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 1], dtype=np.int32), 2)
    >>> objective = Objective(make_engine("reference", data), Softmax(), ElasticNet(0.1))
    >>> evaluation = objective.evaluate(np.zeros(objective.size))
    >>> evaluation.exact, evaluation.gradient.shape
    (True, (4,))
    """

    point: Float
    value: float
    bound: float
    surrogate: float
    surrogate_bound: float
    gradient: Float
    free_value: float
    exact: bool
    coarse: bool = False
