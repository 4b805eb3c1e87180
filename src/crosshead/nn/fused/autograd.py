"""How gradients flow through the operators, and what they refuse: second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosshead.nn.fused.operators import linear_loss, linear_loss_gradients, linear_loss_rows
from crosshead.nn.fused.score_operators import score_loss, score_loss_gradient, score_loss_rows


def _keep_reduced(ctx: Any, inputs: Any, output: Any) -> None:
    recipe, input, weight, bias, targets, row_weight, wanted = inputs
    ctx.set_materialize_grads(False)  # else zeros of the size of W stand for the gradients of the gradients
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(input, weight, bias, row_weight, *targets)
    ctx.recipe, ctx.wanted = recipe, wanted
    ctx.gradients = output[1:]


def _reduced_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> Any:
    refuse_second_derivatives()
    if upstream is None:
        return (None,) * 7
    if ctx.gradients is None:
        gradients = _again(ctx, upstream)
    else:
        gradients, ctx.gradients = ctx.gradients, None  # handed out once
        gradients = [_scaled(gradient, upstream) for gradient in gradients]
    return None, *_where_wanted(gradients, ctx.wanted), None, None, None


def _again(ctx: Any, upstream: Tensor) -> Any:
    """The gradients for a second backward through the same graph, from the beginning."""
    input, weight, bias, row_weight, *targets = ctx.saved_tensors
    _, state, own = linear_loss_rows(ctx.recipe, input, weight, bias, targets)
    rows = (row_weight * upstream)[None]
    return linear_loss_gradients(ctx.recipe, input, weight, bias, targets, own, state, rows, ctx.wanted)


def _keep_rows(ctx: Any, inputs: Any, output: Any) -> None:
    recipe, input, weight, bias, targets = inputs
    _, state, target_score = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(state, target_score)
    ctx.save_for_backward(input, weight, bias, state, target_score, *targets)
    ctx.recipe = recipe


def _rows_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> Any:
    refuse_second_derivatives()
    if upstream is None:
        return (None,) * 5
    input, weight, bias, state, target_score, *targets = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[1:4])
    gradients = linear_loss_gradients(ctx.recipe, input, weight, bias, targets, target_score, state, upstream, wanted)
    return None, *_where_wanted(gradients, wanted), None


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
        gradient = _scaled(gradient, upstream)
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


def _scaled(gradient: Tensor, upstream: Tensor) -> Tensor:
    """In place, for a second copy of W's gradient is a lot; but not where a compiler only traces what happens."""
    factor = upstream.to(gradient.dtype)
    return gradient.mul_(factor) if type(gradient) is Tensor else gradient * factor


def _where_wanted(gradients: Any, wanted: Any) -> list[Tensor | None]:
    return [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]


def refuse_second_derivatives() -> None:
    """NotImplementedError in a backward pass that is recorded itself."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "crosshead's fused losses have first derivatives only: for create_graph=True or a Hessian, use "
            "torch.nn.functional on the scores, F.linear(input, weight, bias)"
        )


linear_loss.register_autograd(_reduced_backward, setup_context=_keep_reduced)
linear_loss_rows.register_autograd(_rows_backward, setup_context=_keep_rows)
score_loss.register_autograd(_score_reduced_backward, setup_context=_keep_score_reduced)
score_loss_rows.register_autograd(_score_rows_backward, setup_context=_keep_score_rows)
