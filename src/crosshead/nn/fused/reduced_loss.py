"""A row loss of projected features, or of given scores, reduced over rows: every fused function ends here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crosshead.nn.backends.projections import Projection
from crosshead.nn.fused.inputs import Rows, RowWeights, ScoreRows
from crosshead.nn.fused.operators import linear_loss, linear_loss_rows, recipe_of
from crosshead.nn.fused.score_operators import score_loss, score_loss_rows
from crosshead.nn.fused.sharding import SHARDED, is_sharded
from crosshead.nn.row_losses import RowLoss, Targets

NOT_REDUCED = ("none", "rows")
"""Reductions that leave one number a row."""


def reduced_loss(
    loss: RowLoss,
    projection: Projection,
    rows: Rows,
    targets: Targets,
    row_weights: RowWeights,
    *,
    reduction: str,
    all_ignored: str = "nan",
) -> tuple[Tensor, Tensor]:
    """The loss, and the further outputs of the rows (outputs − 1, N).

    A sum or mean without further outputs computes the gradients together with the loss. Everything else computes the
    scores again for the gradients.
    """
    if is_sharded(rows.weight):
        return SHARDED.loss(loss, projection, rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored)
    recipe = recipe_of(loss, projection)
    parts = _tensors_of(targets)
    weight = row_weights.weight
    if reduction in NOT_REDUCED or loss.outputs > 1 or _gradients_may_underflow(rows.input):
        outputs, _, _ = linear_loss_rows(recipe, rows.input, rows.weight, rows.bias, parts)
        return reduce_rows(outputs, rows, row_weights, reduction, all_ignored)
    total, *_ = linear_loss(recipe, rows.input, rows.weight, rows.bias, parts, weight, rows.wanted)
    return _reduced(total, row_weights, all_ignored).to(rows.result), weight.new_empty((0, len(weight)))


def reduced_score_loss(
    loss: RowLoss,
    rows: ScoreRows,
    targets: Targets,
    row_weights: RowWeights,
    *,
    reduction: str,
    all_ignored: str = "nan",
) -> tuple[Tensor, Tensor]:
    """As `reduced_loss`, of given scores."""
    recipe = recipe_of(loss)
    parts = _tensors_of(targets)
    weight = row_weights.weight
    if reduction in NOT_REDUCED or loss.outputs > 1 or _gradients_may_underflow(rows.scores):
        outputs, _ = score_loss_rows(recipe, rows.scores, parts)
        return reduce_rows(outputs, rows, row_weights, reduction, all_ignored)
    wanted = rows.scores.requires_grad and torch.is_grad_enabled()
    total, _ = score_loss(recipe, rows.scores, parts, weight, wanted)
    return _reduced(total, row_weights, all_ignored).to(rows.result), weight.new_empty((0, len(weight)))


def reduce_rows(
    outputs: Tensor,
    rows: Rows | ScoreRows,
    row_weights: RowWeights,
    reduction: str,
    all_ignored: str,
    total: Callable[[Tensor], Tensor] = torch.sum,
) -> tuple[Tensor, Tensor]:
    """The loss and the further outputs, from the outputs of the rows (outputs, N); ``total`` sums over rows."""
    weight = row_weights.weight
    weighted = torch.where(weight == 0, 0, outputs[0] * weight)
    if reduction in NOT_REDUCED:
        return weighted.reshape(rows.leading).to(rows.result), outputs[1:]
    return _reduced(total(weighted), row_weights, all_ignored).to(rows.result), outputs[1:]


def _reduced(total: Tensor, row_weights: RowWeights, all_ignored: str) -> Tensor:
    """The total; the mean of no rows is NaN, as in PyTorch, or zero if ``all_ignored`` says so."""
    if row_weights.denominator is None or all_ignored == "zero":
        return total
    return torch.where(row_weights.denominator == 0, torch.nan, total)


def _tensors_of(targets: Targets) -> list[Tensor | None]:
    return [targets.index, targets.dense, targets.class_weight, targets.positive_weight, targets.parameters]


def _gradients_may_underflow(tensor: Tensor) -> bool:
    """Whether the gradients of a mean are too small for this type until they are scaled by the upstream gradient."""
    return tensor.dtype == torch.float16
