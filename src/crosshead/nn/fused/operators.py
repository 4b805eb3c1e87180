"""The operators that PyTorch sees: a linear layer and its loss as one, with fake implementations and gradients.

For `torch.compile` each operator is one opaque node, so the graph does not break; a backend computes it. ``recipe``
names the loss and the projection; ``targets`` are index, dense, class_weight, positive_weight and row parameters, each
a tensor or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosshead.nn import row_losses
from crosshead.nn.backends import Backend, backend_for, projections
from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.backends.projections import Projection
from crosshead.nn.backends.protocol import Gradients, Problem
from crosshead.nn.row_losses import RowLoss, Targets


def recipe_of(loss: RowLoss, projection: Projection | None = None) -> str:
    """The loss and the projection (None for given scores) as a string, which an operator can take.

    Numbers are written exactly, in ``hex``: the one exact format that torch.compile can trace if they vary.

    >>> recipe_of(row_losses.WestonWatkins(0.75, 2), projections.Linear())
    'hinge 0x1.8000000000000p-1 0x1.0000000000000p+1|linear'
    """
    parts = [loss.kernel] if projection is None else [loss.kernel, projection.key]
    return "|".join(" ".join([name, *[float(number).hex() for number in numbers]]) for name, numbers in parts)


@lru_cache(maxsize=256)
def read_loss(recipe: str) -> RowLoss:
    """The loss of a recipe."""
    name, *numbers = recipe.split("|")[0].split()
    return row_losses.build(name, [float.fromhex(number) for number in numbers])


@lru_cache(maxsize=256)
def read_projection(recipe: str) -> Projection:
    """The projection of a recipe."""
    name, *numbers = recipe.split("|")[1].split()
    return projections.build(name, [float.fromhex(number) for number in numbers])


class _Call(NamedTuple):
    """An operator's arguments as loss, projection and problem, and the backend that computes it."""

    loss: RowLoss
    projection: Projection
    problem: Problem
    backend: Backend

    def target_score(self) -> Tensor | None:
        """The score of each row for its own class, (N,), or None if the loss does not need it."""
        return self.backend.target_scores(self.projection, self.problem) if self.loss.needs_target_score else None


def _call_of(recipe: str, input: Tensor, weight: Tensor, bias: Tensor | None, targets: Sequence[Any]) -> _Call:
    loss, projection = read_loss(recipe), read_projection(recipe)
    problem = Problem(input, weight, bias, Targets(len(weight) // projection.rows_per_class, *targets))
    return _Call(loss, projection, problem, backend_for(loss, projection, problem))


@torch.library.custom_op("crosshead::linear_loss", mutates_args=())
def linear_loss(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
    row_weight: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σᵢ row_weightᵢ ℓᵢ, and its gradients with respect to input, weight and bias (empty if not wanted).

    Gradients are computed together with the loss, because later the scores would have to be computed again.
    """
    call = _call_of(recipe, input, weight, bias, targets)
    loss, projection, problem, backend = call
    own = call.target_score()
    gradients = Gradients(None, None, None)
    if any(wanted):
        state, gradients = backend.states_and_gradients(loss, projection, problem, own, row_weight[None], wanted)
    else:
        state = backend.states(loss, projection, problem, own)
    rows = loss.value(state, problem.targets, own)[0]
    total = torch.where(row_weight == 0, 0, rows * row_weight).sum()
    return total, *_filled(gradients, input)


@linear_loss.register_fake
def _(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
    row_weight: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    total = input.new_empty((), dtype=accumulation_type(input.dtype))
    return total, *_fake_gradients(input, weight, bias, wanted)


@torch.library.custom_op("crosshead::linear_loss_rows", mutates_args=())
def linear_loss_rows(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of each row (outputs, N), the state (fields, N) and target scores (N,) that the gradient needs."""
    call = _call_of(recipe, input, weight, bias, targets)
    loss, projection, problem, backend = call
    own = call.target_score()
    state = backend.states(loss, projection, problem, own)
    outputs = loss.value(state, problem.targets, own).clone()  # an operator must not return views of its other results
    return outputs, state, state.new_empty(0) if own is None else own


@linear_loss_rows.register_fake
def _(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    loss = read_loss(recipe)
    rows, dtype = input.shape[0], accumulation_type(input.dtype)
    outputs = input.new_empty((loss.outputs, rows), dtype=dtype)
    state = input.new_empty((len(loss.fields), rows), dtype=dtype)
    return outputs, state, input.new_empty(rows if loss.needs_target_score else 0, dtype=dtype)


@torch.library.custom_op("crosshead::linear_loss_gradients", mutates_args=())
def linear_loss_gradients(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
    target_score: Tensor | None,
    state: Tensor,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients from the upstream gradient of the rows' outputs (outputs, N); recomputes the scores."""
    loss, projection, problem, backend = _call_of(recipe, input, weight, bias, targets)
    own = target_score if loss.needs_target_score else None
    return _filled(backend.gradients(loss, projection, problem, own, state, upstream, wanted), input)


@linear_loss_gradients.register_fake
def _(
    recipe: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor | None],
    target_score: Tensor | None,
    state: Tensor,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_gradients(input, weight, bias, wanted)


def _filled(gradients: Gradients, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with empty tensors instead of None, which an operator cannot return."""
    input, weight, bias = (like.new_empty(0) if g is None else g for g in gradients)
    return input, weight, bias


def _fake_gradients(
    input: Tensor, weight: Tensor, bias: Tensor | None, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = (
        torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if want and tensor is not None
        else input.new_empty(0)
        for tensor, want in zip((input, weight, bias), wanted, strict=True)
    )
    return a, b, c


# Gradients


def _keep_reduced(ctx: Any, inputs: Any, output: Any) -> None:
    recipe, input, weight, bias, targets, row_weight, wanted = inputs
    ctx.set_materialize_grads(False)  # else PyTorch allocates zeros as large as W for the gradients' gradients
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(input, weight, bias, row_weight, *targets)
    ctx.recipe, ctx.wanted = recipe, wanted
    ctx.gradients = output[1:]


def _reduced_backward(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> Any:
    refuse_second_derivatives()
    if upstream is None:
        return (None,) * 7
    if ctx.gradients is None:
        gradients = _recomputed(ctx, upstream)
    else:
        gradients, ctx.gradients = ctx.gradients, None  # used once, because they are scaled in place
        gradients = [scaled_by(gradient, upstream) for gradient in gradients]
    return None, *_wanted_only(gradients, ctx.wanted), None, None, None


def _recomputed(ctx: Any, upstream: Tensor) -> Any:
    """The gradients computed again, for a second backward through the same graph."""
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
    return None, *_wanted_only(gradients, wanted), None


def _wanted_only(gradients: Any, wanted: Any) -> list[Tensor | None]:
    return [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]


def scaled_by(gradient: Tensor, upstream: Tensor) -> Tensor:
    """The gradient times the upstream gradient: in place, to save a copy as large as W, but not while tracing."""
    factor = upstream.to(gradient.dtype)
    return gradient.mul_(factor) if type(gradient) is Tensor else gradient * factor


def refuse_second_derivatives() -> None:
    """NotImplementedError in a backward pass that is itself recorded for differentiation."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "crosshead's fused losses have first derivatives only: for create_graph=True or a Hessian, use "
            "torch.nn.functional on the scores, F.linear(input, weight, bias)"
        )


linear_loss.register_autograd(_reduced_backward, setup_context=_keep_reduced)
linear_loss_rows.register_autograd(_rows_backward, setup_context=_keep_rows)
