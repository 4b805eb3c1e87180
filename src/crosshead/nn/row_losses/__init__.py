"""Row losses: the loss of one row of scores, computed over tiles of classes; one file a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crosshead.nn.row_losses.binary import Binary
from crosshead.nn.row_losses.crammer_singer import CrammerSinger
from crosshead.nn.row_losses.hinge import WestonWatkins
from crosshead.nn.row_losses.margin_softmax import MarginSoftmax
from crosshead.nn.row_losses.protocol import Merge, RowLoss, Targets, Tile, empty_state, merged
from crosshead.nn.row_losses.softmax import Softmax
from crosshead.nn.row_losses.squared_error import SquaredError

ROW_LOSSES: dict[str, Callable[..., RowLoss]] = {
    "binary": Binary,
    "crammer_singer": CrammerSinger,
    "hinge": WestonWatkins,
    "margin_softmax": MarginSoftmax,
    "softmax": Softmax,
    "squared_error": SquaredError,
}


def build(name: str, parameters: Sequence[float]) -> RowLoss:
    """The row loss of this registry key with these parameters, in the order of `RowLoss.kernel`.

    >>> build("softmax", (0.1, 0.0, 0.0, 0.0))
    Softmax(label_smoothing=0.1, softcap=0.0, z_loss=0.0, lse_output=0.0)
    """
    return ROW_LOSSES[name](*parameters)


__all__ = [
    "ROW_LOSSES",
    "Binary",
    "CrammerSinger",
    "MarginSoftmax",
    "Merge",
    "RowLoss",
    "Softmax",
    "SquaredError",
    "Targets",
    "Tile",
    "WestonWatkins",
    "build",
    "empty_state",
    "merged",
]
