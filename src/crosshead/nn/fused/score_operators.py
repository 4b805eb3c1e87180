"""The operators for given scores: the loss and its gradient in one pass over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosshead.nn.backends import score_backend_for
from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.fused.operators import read_loss, refuse_second_derivatives, scaled_by
from crosshead.nn.row_losses import Targets


@torch.library.custom_op("crosshead::score_loss", mutates_args=())
def score_loss(
    recipe: str, scores: Tensor, targets: Sequence[Tensor | None], row_weight: Tensor, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Σᵢ row_weightᵢ ℓᵢ, and its gradient with respect to the scores (empty if not wanted)."""
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
    """The gradient with respect to the scores, from the upstream gradient of the rows' outputs (outputs, N)."""
    loss, where = read_loss(recipe), Targets(scores.shape[1], *targets)
    return score_backend_for(loss, scores, where).gradient(loss, scores, where, state, upstream)


@score_loss_gradient.register_fake
def _(recipe: str, scores: Tensor, targets: Sequence[Tensor | None], state: Tensor, upstream: Tensor) -> Tensor:
    return _fake_gradient(scores)


def _fake_gradient(scores: Tensor) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)


# Gradients


def _keep_score_reduced(ctx: Any, inputs: Any, output: Any) -> None:
    recipe, scores, targets, row_weight, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(scores, row_weight, *targets)
    ctx.recipe, ctx.gradient = recipe, output[1]


def _score_reduced_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> Any:
    refuse_second_derivatives()
    if upstream is None:
        return (None,) * 5
    if ctx.gradient is None:
        scores, row_weight, *targets = ctx.saved_tensors
        _, state = score_loss_rows(ctx.recipe, scores, targets)
        gradient = score_loss_gradient(ctx.recipe, scores, targets, state, (row_weight * upstream)[None])
    else:
        gradient, ctx.gradient = ctx.gradient, None
        gradient = scaled_by(gradient, upstream)
    return None, gradient, None, None, None


def _keep_score_rows(ctx: Any, inputs: Any, output: Any) -> None:
    recipe, scores, targets = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(scores, output[1], *targets)
    ctx.recipe = recipe


def _score_rows_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> Any:
    refuse_second_derivatives()
    if upstream is None:
        return (None,) * 3
    scores, state, *targets = ctx.saved_tensors
    return None, score_loss_gradient(ctx.recipe, scores, targets, state, upstream), None


score_loss.register_autograd(_score_reduced_backward, setup_context=_keep_score_reduced)
score_loss_rows.register_autograd(_score_rows_backward, setup_context=_keep_score_rows)
