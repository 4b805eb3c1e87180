"""A row loss behind a projection, reduced: what every fused function comes down to."""

from __future__ import annotations

import torch
from torch import Tensor

import crosshead.nn.autograd  # noqa: F401  (gives the operators their gradients)
from crosshead.nn.arguments import Rows
from crosshead.nn.operators import linear_loss, linear_loss_rows, recipe_of
from crosshead.nn.projections import Projection
from crosshead.nn.reduction import Share, settle
from crosshead.nn.row_losses import RowLoss, Targets


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
    recipe = recipe_of(loss, projection)
    parts = [targets.index, targets.dense, targets.class_weight, targets.positive_weight, targets.parameters]
    row_weight = share.row_weight
    if reduction != "none" and loss.outputs == 1:
        total, *_ = linear_loss(recipe, rows.input, rows.weight, rows.bias, parts, row_weight, rows.wanted)
        return settle(total, share, all_ignored).to(rows.result), row_weight.new_empty((0, len(row_weight)))
    outputs, _, _ = linear_loss_rows(recipe, rows.input, rows.weight, rows.bias, parts)
    weighted = torch.where(row_weight == 0, 0, outputs[0] * row_weight)
    if reduction == "none":
        return weighted.reshape(rows.leading).to(rows.result), outputs[1:]
    return settle(weighted.sum(), share, all_ignored).to(rows.result), outputs[1:]
