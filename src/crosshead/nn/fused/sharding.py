"""Where the functions for sharded weights are registered, those whose classes are spread over processes.

`crosshead.nn.parallel` registers them when it is imported: it builds on this package, which must not import it.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from crosshead.nn.backends.projections import Projection
from crosshead.nn.fused.inputs import Rows, RowWeights
from crosshead.nn.row_losses import RowLoss, Targets

F = TypeVar("F")


class ShardedLoss(Protocol):
    """`crosshead.nn.fused.reduced_loss.reduced_loss` for sharded weights."""

    def __call__(
        self,
        loss: RowLoss,
        projection: Projection,
        rows: Rows,
        targets: Targets,
        row_weights: RowWeights,
        *,
        reduction: str,
        all_ignored: str,
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the further outputs of the rows (outputs − 1, N)."""
        ...


class ShardedBestClasses(Protocol):
    """`crosshead.nn.fused.prediction.best_classes` for sharded weights."""

    def __call__(
        self, projection: Projection, input: Tensor, weight: Tensor, bias: Tensor | None, k: int, softcap: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classes and scores (N, k), and the log-sum-exp of all scores (N,)."""
        ...


class ShardedFunctions:
    """The registered functions; None before `crosshead.nn.parallel` is imported."""

    def __init__(self) -> None:
        self._loss: ShardedLoss | None = None
        self._best_classes: ShardedBestClasses | None = None

    def register(self, loss: ShardedLoss, best_classes: ShardedBestClasses) -> None:
        """Use these functions from now on."""
        self._loss, self._best_classes = loss, best_classes

    @property
    def loss(self) -> ShardedLoss:
        """The registered loss; RuntimeError if there is none."""
        return _registered(self._loss)

    @property
    def best_classes(self) -> ShardedBestClasses:
        """The registered search for the best classes; RuntimeError if there is none."""
        return _registered(self._best_classes)


def _registered(function: F | None) -> F:
    if function is None:
        raise RuntimeError("the weight is a DTensor: import crosshead.nn.parallel, which needs torch.distributed")
    return function


SHARDED = ShardedFunctions()


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a `torch.distributed.tensor.DTensor`, of which this process holds a part."""
    return hasattr(tensor, "device_mesh")
