"""What the Triton kernels need of a loss and of each row besides the scores. This file does not need Triton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from crosshead.nn.row_losses import RowLoss, Targets
from crosshead.nn.row_losses.protocol import MarginLoss, finite_shift, required

Backward = Callable[[Tensor, Tensor, Tensor | None], list[Tensor]]


@dataclass(frozen=True)
class Kernel:
    """The name and parameters of a kernel, and the numbers of each row that it uses.

    ``backward`` takes the state of all classes, the upstream gradient (outputs, N) and the target scores (N,), and
    returns up to three numbers a row, which `crosshead.nn.backends.triton_losses.score_gradient` reads.
    """

    name: str
    backward: Backward
    label_smoothing: float = 0.0
    softcap: float = 0.0
    margin: float = 0.0
    margin_loss: MarginLoss | None = None

    @property
    def takes_dense_targets(self) -> bool:
        """Whether dense targets are supported."""
        return self.name in ("softmax", "binary", "squared_error") and self.margin_loss is None

    def own(self, loss: RowLoss, targets: Targets, target_score: Tensor | None) -> Tensor | None:
        """Numbers of each row's own class, (2, N): its score with the margin and the derivative, or Δ − z_y and 0."""
        if self.margin_loss is not None:
            score, slope = self.margin_loss.with_margin(required(target_score), targets)
            return torch.stack([score * self.margin_loss.scale, slope])
        if not loss.needs_target_score:
            return None
        lift = self.margin - required(target_score)
        return torch.stack([lift, torch.zeros_like(lift)])


def _softmax(label_smoothing: float, softcap: float, z_loss: float, lse_output: float) -> Kernel:
    def backward(state: Tensor, upstream: Tensor, _: Tensor | None) -> list[Tensor]:
        largest, power, _, mass = state.unbind()
        share = upstream[0] * mass
        if z_loss:
            share = share * (1 + 2 * z_loss * (largest + torch.log(power)))
        if lse_output:
            share = share + upstream[1]
        return [finite_shift(largest), share / power, upstream[0]]

    return Kernel("softmax", backward, label_smoothing, softcap)


def _hinge(margin: float, power: float) -> Kernel | None:
    def backward(state: Tensor, upstream: Tensor, _: Tensor | None) -> list[Tensor]:
        return [upstream[0], -state[1] * upstream[0]]

    names = {1.0: "hinge", 2.0: "squared_hinge"}
    return Kernel(names[power], backward, margin=margin) if power in names else None


def _crammer_singer(margin: float) -> Kernel:
    def backward(state: Tensor, upstream: Tensor, target_score: Tensor | None) -> list[Tensor]:
        violated = state[0] - required(target_score) + margin > 0
        return [state[1], torch.where(violated, upstream[0], 0)]

    return Kernel("crammer_singer", backward, margin=margin)


def _binary() -> Kernel:
    return Kernel("binary", lambda _, upstream, __: [upstream[0]])


def _squared_error() -> Kernel:
    return Kernel("squared_error", lambda _, upstream, __: [2 * upstream[0]])


KERNELS: dict[str, Callable[..., Kernel | None]] = {
    "softmax": _softmax,
    "hinge": _hinge,
    "crammer_singer": _crammer_singer,
    "binary": _binary,
    "squared_error": _squared_error,
}


def kernel_of(loss: RowLoss) -> Kernel | None:
    """The Triton kernel of a row loss, or None.

    >>> from crosshead.nn.row_losses import WestonWatkins
    >>> kernel_of(WestonWatkins(0.5, 2.0)).name
    'squared_hinge'
    """
    if isinstance(loss, MarginLoss):
        plain = _softmax(loss.label_smoothing, 0.0, 0.0, 0.0)
        return Kernel("softmax", plain.backward, loss.label_smoothing, margin_loss=loss)
    name, parameters = loss.kernel
    return KERNELS[name](*parameters) if name in KERNELS else None
