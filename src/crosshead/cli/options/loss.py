"""The loss that a command's options name, with the parameters that they give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from crosshead.cli.errors import UsageError
from crosshead.losses import get_loss
from crosshead.losses.protocol import Loss

OF_SOLVERS = "smoothing"
"""It rounds off the kinks of hinges on the way to their optimum; what is trained is the loss itself."""


class NamesLoss(Protocol):
    """Options that name a loss."""

    @property
    def loss(self) -> str:
        """Its name."""
        ...

    @property
    def loss_parameter(self) -> Mapping[str, float] | None:
        """Its parameters by name."""
        ...


def chosen_loss(options: NamesLoss) -> Loss:
    """The loss; UsageError for a parameter or a value that it does not take."""
    parameters = options.loss_parameter or {}
    try:
        if OF_SOLVERS in parameters:
            raise ValueError(f"{OF_SOLVERS} is for solvers, and no part of the loss that is trained; leave it out")
        return get_loss(options.loss, **parameters)
    except ValueError as error:
        raise UsageError(f"--loss-parameter: {error}") from error
