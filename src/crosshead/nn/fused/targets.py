"""Targets and weights, as a person gives them, to what a row loss sees and what each row counts in the result."""

from __future__ import annotations

from torch import Tensor

from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.fused.inputs import Rows, ScoreRows, class_vector, dense_target, index_target, is_dense
from crosshead.nn.fused.reduction import Share, share_of_rows
from crosshead.nn.row_losses import Targets


def softmax_targets(
    rows: Rows | ScoreRows,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Targets, Share]:
    """Class numbers or probabilities, with class weights inside the loss where they weigh single classes."""
    weight = class_vector("weight", weight, rows.classes)
    if _is_dense(rows, target):
        dense = dense_target(target, rows.classes, ignore_index)
        return Targets(rows.classes, dense=dense, class_weight=weight), share_of_rows(_ones(rows), reduction)
    if weight is None or label_smoothing == 0:  # a weight is then a factor of the whole row
        return index_targets(rows, target, weight, ignore_index, reduction)
    index = index_target(target, rows.leading, rows.classes, ignore_index)
    counted = _counted(rows, index)
    denominator = (counted * weight.to(counted.dtype)[index.clamp_min(0)]).sum()
    return Targets(rows.classes, index, class_weight=weight), share_of_rows(counted, reduction, denominator)


def index_targets(
    rows: Rows | ScoreRows,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int | None,
    reduction: str,
    *,
    each: float = 1.0,
    weighted_mean: bool = True,
) -> tuple[Targets, Share]:
    """Class numbers, with class weights as factors of whole rows, and ``each`` a factor of all.

    A mean is divided by the sum of the weights, or, without ``weighted_mean``, by the number of rows.
    """
    index = index_target(target, rows.leading, rows.classes, ignore_index)
    weight = class_vector("weight", weight, rows.classes)
    number = _counted(rows, index)
    counted = number if weight is None else number * weight.to(number.dtype)[index.clamp_min(0)]
    denominator = (counted if weighted_mean else number).sum()
    if each != 1.0:
        counted = counted * each
    return Targets(rows.classes, index), share_of_rows(counted, reduction, denominator)


def element_targets(
    rows: Rows,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    *,
    weighted_mean: bool,
) -> tuple[Targets, Share]:
    """Class numbers or a number for each class, where every score has its own term of the loss."""
    dense = index = None
    if _is_dense(rows, target):
        dense, counted = dense_target(target, rows.classes, ignore_index), _ones(rows)
    else:
        index = index_target(target, rows.leading, rows.classes, ignore_index)
        counted = _counted(rows, index)
    class_weight, row_weight = _class_or_row_weight(rows, weight)
    targets = Targets(
        rows.classes,
        index,
        dense,
        class_weight,
        class_vector("pos_weight", pos_weight, rows.classes),
    )
    weighted = counted if row_weight is None else counted * row_weight.to(counted.dtype)
    number = counted.sum()
    if reduction == "mean":
        each = rows.classes if class_weight is None or not weighted_mean else class_weight.to(counted.dtype).sum()
        number = (weighted.sum() if weighted_mean else number) * each
    return targets, share_of_rows(weighted, "mean" if reduction == "batchmean" else reduction, number)


def _class_or_row_weight(rows: Rows, weight: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if weight is None or weight.shape == (rows.classes,):
        return class_vector("weight", weight, rows.classes), None
    if tuple(weight.shape) == (*rows.leading, 1):
        return None, class_vector("weight", weight.reshape(-1), rows.input.shape[0])
    raise ValueError(
        f"weight must have shape ({rows.classes},), one number a class, or {(*rows.leading, 1)}, one a row, not "
        f"{tuple(weight.shape)}"
    )


def _is_dense(rows: Rows | ScoreRows, target: Tensor) -> bool:
    return target.is_floating_point() and is_dense(target, rows.leading, rows.classes)


def _ones(rows: Rows | ScoreRows) -> Tensor:
    return rows.input.new_ones(rows.input.shape[0], dtype=accumulation_type(rows.input.dtype), requires_grad=False)


def _counted(rows: Rows | ScoreRows, index: Tensor) -> Tensor:
    """1 for rows that count, 0 for ignored ones, (N,)."""
    return (index >= 0).to(accumulation_type(rows.input.dtype))
