"""Which native kernel computes a row loss, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crosshead.nn.row_losses import RowLoss
from crosshead.nn.row_losses.protocol import MarginLoss


@dataclass(frozen=True)
class Kernel:
    """The name and parameters of a native kernel; ``margin_loss`` computes the scores with a margin."""

    name: str
    margin: float = 1.0
    label_smoothing: float = 0.0
    softcap: float = 0.0
    z_loss: float = 0.0
    scale: float = 1.0
    margin_loss: MarginLoss | None = None


def _softmax(label_smoothing: float, softcap: float, z_loss: float, lse_output: float) -> Kernel:
    return Kernel("softmax", label_smoothing=label_smoothing, softcap=softcap, z_loss=z_loss)


def _hinge(margin: float, power: float) -> Kernel | None:
    names = {1.0: "hinge", 2.0: "squared_hinge"}
    return Kernel(names[power], margin=margin) if power in names else None


KERNELS: dict[str, Callable[..., Kernel | None]] = {
    "softmax": _softmax,
    "hinge": _hinge,
    "crammer_singer": lambda margin: Kernel("crammer_singer", margin=margin),
    "binary": lambda: Kernel("binary"),
    "squared_error": lambda: Kernel("squared_error"),
}


def kernel_of(loss: RowLoss) -> Kernel | None:
    """The native kernel of a row loss, or None.

    >>> from crosshead.nn.row_losses import WestonWatkins
    >>> kernel_of(WestonWatkins(0.5, 2.0)).name
    'squared_hinge'
    """
    if isinstance(loss, MarginLoss):
        return Kernel("softmax", label_smoothing=loss.label_smoothing, scale=loss.scale, margin_loss=loss)
    name, parameters = loss.kernel
    return KERNELS[name](*parameters) if name in KERNELS else None
