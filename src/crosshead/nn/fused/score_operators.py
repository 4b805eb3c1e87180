"""The operators for scores that are given: a loss and its gradient in one pass over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosshead.nn.backends import score_backend_for
from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.fused.operators import read_loss
from crosshead.nn.row_losses import Targets


@torch.library.custom_op("crosshead::score_loss", mutates_args=())
def score_loss(
    recipe: str, scores: Tensor, targets: Sequence[Tensor | None], row_weight: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Σᵢ row_weightᵢ ℓᵢ, and its gradient with respect to the scores (where wanted, else empty)."""
    loss, where = read_loss(recipe), Targets(scores.shape[1], *targets)
    backend = score_backend_for(loss, scores, where)
    if wanted:
        state, gradient = backend.states_and_gradient(loss, scores, where, row_weight[None])
    else:
        state, gradient = backend.states(loss, scores, where), scores.new_empty(0)
    rows = loss.value(state, where, None)[0]
    return torch.where(row_weight == 0, 0, rows * row_weight).sum(), gradient


@score_loss.register_fake
def _(
    recipe: str, scores: Tensor, targets: Sequence[Tensor | None], row_weight: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    total = scores.new_empty((), dtype=accumulation_type(scores.dtype))
    return total, _fake_gradient(scores) if wanted else scores.new_empty(0)


@torch.library.custom_op("crosshead::score_loss_rows", mutates_args=())
def score_loss_rows(recipe: str, scores: Tensor, targets: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """The outputs of each row (outputs, N), and the state (fields, N) that the gradient needs."""
    loss, where = read_loss(recipe), Targets(scores.shape[1], *targets)
    state = score_backend_for(loss, scores, where).states(loss, scores, where)
    return loss.value(state, where, None).clone(), state


@score_loss_rows.register_fake
def _(recipe: str, scores: Tensor, targets: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    loss, dtype = read_loss(recipe), accumulation_type(scores.dtype)
    outputs = scores.new_empty((loss.outputs, scores.shape[0]), dtype=dtype)
    return outputs, scores.new_empty((len(loss.fields), scores.shape[0]), dtype=dtype)


@torch.library.custom_op("crosshead::score_loss_gradient", mutates_args=())
def score_loss_gradient(
    recipe: str, scores: Tensor, targets: Sequence[Tensor | None], state: Tensor, upstream: Tensor
) -> Tensor:
    """The gradient with respect to the scores from those of the rows' outputs (outputs, N)."""
    loss, where = read_loss(recipe), Targets(scores.shape[1], *targets)
    return score_backend_for(loss, scores, where).gradient(loss, scores, where, state, upstream)


@score_loss_gradient.register_fake
def _(recipe: str, scores: Tensor, targets: Sequence[Tensor | None], state: Tensor, upstream: Tensor) -> Tensor:
    return _fake_gradient(scores)


def _fake_gradient(scores: Tensor) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)
