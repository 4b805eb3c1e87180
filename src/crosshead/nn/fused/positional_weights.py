"""Weights with dimensions between classes and features: a linear layer and a loss at each of their positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crosshead.nn.backends.products import accumulation_type

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None, str], tuple[Tensor, Tensor | None]]
"""``loss(input, linear_weight, target, linear_bias, reduction)`` of one position: value and log-sum-exp or None."""


def loss_at_every_position(
    loss: Loss,
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    all_ignored: str,
) -> tuple[Tensor, Tensor | None]:
    """The loss over all positions of ``linear_weight`` (C, d₁, …, d_K, D), and the log-sum-exps (…, d₁, …) or None.

    ``target`` is class numbers (…, d₁, …, d_K) or probabilities (…, C, d₁, …, d_K), ``linear_bias`` (C, d₁, …, d_K).
    Each position has its own layer and is computed separately; a mean has one denominator.
    """
    classes, positions = linear_weight.shape[0], linear_weight.shape[1:-1]
    leading = input.shape[:-1]
    if positions.numel() == 0:
        raise ValueError(f"linear_weight has no positions: its shape is {tuple(linear_weight.shape)}")
    dense = target.is_floating_point()
    expected = (*leading, classes, *positions) if dense else (*leading, *positions)
    if tuple(target.shape) != expected:
        raise ValueError(
            f"target must have shape {expected}, for linear_weight {tuple(linear_weight.shape)}, not "
            f"{tuple(target.shape)}"
        )
    if linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]:
        raise ValueError(
            f"linear_bias must have shape {tuple(linear_weight.shape[:-1])}, not {tuple(linear_bias.shape)}"
        )
    count = positions.numel()
    weights = linear_weight.reshape(classes, count, -1).unbind(1)
    targets = target.reshape(*expected[: len(expected) - len(positions)], count).unbind(-1)
    biases = [None] * count if linear_bias is None else linear_bias.reshape(classes, count).unbind(1)
    parts = [
        loss(input, one, own, bias, "sum" if reduction == "mean" else reduction)
        for one, own, bias in zip(weights, targets, biases, strict=True)
    ]
    values = torch.stack([value for value, _ in parts], dim=-1)
    lse = [found for _, found in parts if found is not None]
    all_lse = torch.stack(lse, dim=-1).reshape(*leading, *positions) if lse else None
    if reduction == "none":
        return values.reshape(*leading, *positions), all_lse
    total = values.sum()
    if reduction == "mean":
        number = _denominator(target, weight, ignore_index, leading.numel() * count, values)
        empty = torch.nan if all_ignored == "nan" else 0.0
        total = torch.where(number == 0, empty, total / torch.where(number == 0, 1, number).to(total.dtype))
    return total, all_lse


def _denominator(target: Tensor, weight: Tensor | None, ignore_index: int, count: int, like: Tensor) -> Tensor:
    dtype = accumulation_type(like.dtype)
    if target.is_floating_point():
        return torch.full((), float(count), dtype=dtype, device=like.device)
    kept = (target != ignore_index).to(dtype)
    if weight is not None:
        kept = kept * weight.to(dtype)[torch.where(target == ignore_index, 0, target)]
    return kept.sum()
