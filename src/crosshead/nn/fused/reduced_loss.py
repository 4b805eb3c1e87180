"""A row loss behind a projection, reduced: what every fused function comes down to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import crosshead.nn.fused.autograd  # noqa: F401  (gives the operators their gradients)
from crosshead.nn.backends.projections import Projection
from crosshead.nn.fused.inputs import Rows, ScoreRows, is_sharded
from crosshead.nn.fused.operators import linear_loss, linear_loss_rows, recipe_of
from crosshead.nn.fused.reduction import Share, settle
from crosshead.nn.fused.score_operators import score_loss, score_loss_rows
from crosshead.nn.row_losses import RowLoss, Targets

SEPARATE = ("none", "rows")
"""Reductions that leave one number a row."""


def reduced_loss(
    loss: RowLoss,
    projection: Projection,
    rows: Rows,
    targets: Targets,
    share: Share,
    *,
    reduction: str,
    all_ignored: str = "nan",
) -> tuple[Tensor, Tensor]:
    """The loss, and the by-products of the rows (outputs − 1, N); ``share`` says what each row counts.

    One number without by-products computes gradients on the way; everything else computes the scores again for them.
    """
    if is_sharded(rows.weight):
        from crosshead.nn.parallel.loss import sharded_loss

        return sharded_loss(loss, projection, rows, targets, share, reduction=reduction, all_ignored=all_ignored)
    recipe = recipe_of(loss, projection)
    parts = _parts(targets)
    row_weight = share.row_weight
    if reduction in SEPARATE or loss.outputs > 1 or not _keeps_small_gradients(rows.input):
        outputs, _, _ = linear_loss_rows(recipe, rows.input, rows.weight, rows.bias, parts)
        return finished(outputs, rows, share, reduction, all_ignored)
    total, *_ = linear_loss(recipe, rows.input, rows.weight, rows.bias, parts, row_weight, rows.wanted)
    return settle(total, share, all_ignored).to(rows.result), row_weight.new_empty((0, len(row_weight)))


def reduced_score_loss(
    loss: RowLoss, rows: ScoreRows, targets: Targets, share: Share, *, reduction: str, all_ignored: str = "nan"
) -> tuple[Tensor, Tensor]:
    """The same for scores that are given."""
    recipe = recipe_of(loss)
    parts = _parts(targets)
    row_weight = share.row_weight
    if reduction in SEPARATE or loss.outputs > 1 or not _keeps_small_gradients(rows.scores):
        outputs, _ = score_loss_rows(recipe, rows.scores, parts)
        return finished(outputs, rows, share, reduction, all_ignored)
    wanted = rows.scores.requires_grad and torch.is_grad_enabled()
    total, _ = score_loss(recipe, rows.scores, parts, row_weight, wanted)
    return settle(total, share, all_ignored).to(rows.result), row_weight.new_empty((0, len(row_weight)))


def finished(
    outputs: Tensor,
    rows: Rows | ScoreRows,
    share: Share,
    reduction: str,
    all_ignored: str,
    total: Callable[[Tensor], Tensor] = torch.sum,
) -> tuple[Tensor, Tensor]:
    """The loss and the by-products from the outputs of the rows (outputs, N); ``total`` adds up rows."""
    row_weight = share.row_weight
    weighted = torch.where(row_weight == 0, 0, outputs[0] * row_weight)
    if reduction in SEPARATE:
        return weighted.reshape(rows.leading).to(rows.result), outputs[1:]
    return settle(total(weighted), share, all_ignored).to(rows.result), outputs[1:]


def _parts(targets: Targets) -> list[Tensor | None]:
    return [targets.index, targets.dense, targets.class_weight, targets.positive_weight, targets.parameters]


def _keeps_small_gradients(tensor: Tensor) -> bool:
    """Whether gradients of a mean may wait, unscaled, in this type: in float16 they would underflow first."""
    return tensor.dtype != torch.float16
