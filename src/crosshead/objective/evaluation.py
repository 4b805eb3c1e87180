"""What one pass tells a solver."""

from __future__ import annotations

from dataclasses import dataclass

from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class Evaluation:
    """What one pass tells at a point.

    * ``value``: F, with the loss as it is; ``bound``: no F is below it (−inf where alpha = 0)
    * ``surrogate``, ``surrogate_bound``: the same for the smoothed loss (equal where nothing is smoothed)
    * ``gradient``: of the surrogate without the L1 part, as a flat vector like ``point``
    * ``free_value``: the dual value as it would be were the residuals' sums already zero, before the penalty's part
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
