"""Losses of scores, each with gradient, conjugate and curvature.

`LOSSES` maps a name to its class; `get_loss` creates one by name. The same quantities as plain functions are in
`crosshead.losses.functions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType

from crosshead.losses.binary import Binary
from crosshead.losses.crammer_singer import CrammerSinger
from crosshead.losses.hinge import Hinge, SquaredHinge
from crosshead.losses.protocol import Curvature, DualPoint, Loss, Moments
from crosshead.losses.softmax import Softmax
from crosshead.losses.squared_error import SquaredError

LOSSES: Mapping[str, Callable[..., Loss]] = MappingProxyType(
    {
        "softmax": Softmax,
        "binary": Binary,
        "hinge": Hinge,
        "squared_hinge": SquaredHinge,
        "crammer_singer": CrammerSinger,
        "squared_error": SquaredError,
    }
)


def get_loss(name: str, **parameters: float) -> Loss:
    """Create a loss by name, with the given parameters.

    Parameters
    ----------
    name : str
        A key of `LOSSES`: "softmax", "binary", "hinge", "squared_hinge", "crammer_singer" or "squared_error".
    **parameters : float
        Parameters of the loss, such as ``margin`` of the hinges; others have their defaults.

    Raises
    ------
    ValueError
        For an unknown name, a parameter that the loss does not have, or a value out of range.

    Examples
    --------
    >>> get_loss("hinge", margin=2.0)
    Hinge(margin=2.0, smoothing=0.0)
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; choose one of {', '.join(LOSSES)}")
    known = list(signature(LOSSES[name]).parameters)
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        takes = ", ".join(known) or "no parameters"
        raise ValueError(f"loss {name!r} has no parameter {unknown[0]!r}; it takes {takes}")
    return LOSSES[name](**parameters)


def as_loss(loss: str | Loss) -> Loss:
    """Return a loss object as it is, or create the loss of a name; ValueError for anything else.

    Examples
    --------
    >>> as_loss("hinge") == as_loss(Hinge())
    True
    """
    if isinstance(loss, str):
        return get_loss(loss)
    if isinstance(loss, type) or not hasattr(loss, "has_probabilities"):
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, or a loss object such as Softmax(), not {loss!r}")
    return loss


__all__ = [
    "LOSSES",
    "Binary",
    "CrammerSinger",
    "Curvature",
    "DualPoint",
    "Hinge",
    "Loss",
    "Moments",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "as_loss",
    "get_loss",
]
