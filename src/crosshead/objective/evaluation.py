"""The result of one pass at a point."""

from __future__ import annotations

from dataclasses import dataclass

from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class Evaluation:
    """The result of one pass at a point; `Objective.evaluate` returns it and has an example.

    * ``value``: F with the unsmoothed loss; ``bound``: a lower bound of the minimum of F (−inf if alpha = 0)
    * ``surrogate``, ``surrogate_bound``: the same for the smoothed loss (equal without smoothing)
    * ``gradient``: of the surrogate without the L1 part, as a flat vector like ``point``
    * ``free_value``: the dual value if the sums of the residuals were zero, without the penalty's part
    * ``exact``: computed in float64 throughout; ``coarse``: on rounded features, at a point on their grid
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
