"""From the arguments of a fused function to what the operators take, checked on the way.

* `as_rows`, `as_score_rows`: features or scores of any leading shape as rows, converted under autocast
* `softmax_targets`, `index_targets`, `element_targets`: the targets of a row loss, and the weight of each row
* `row_weights_for`: what a row's loss is multiplied by in a sum or a mean
* `check_reduction`, `class_vector`, `number_between`, …: checks of options
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from crosshead.nn.backends.products import accumulation_type
from crosshead.nn.row_losses import Targets

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
REDUCTIONS = ("none", "mean", "sum")
ELEMENT_REDUCTIONS = ("mean", "sum", "batchmean", "rows")
ALL_IGNORED = ("nan", "zero")

IGNORED = -1
"""The class number of an ignored row, once targets are checked; it matches no class."""


# Features and scores


@dataclass(frozen=True)
class Rows:
    """Features as rows (N, D), weight (C, D), bias (C,) or None, and the leading shape of the features.

    ``result`` is the type of the result. If a class has several rows of W, they follow one another and ``weight`` is
    (C × rows per class, D).
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    leading: torch.Size
    result: torch.dtype
    rows_per_class: int = 1

    @property
    def classes(self) -> int:
        """C."""
        return self.weight.shape[0] // self.rows_per_class

    @property
    def wanted(self) -> list[bool]:
        """Whether input, weight and bias need gradients."""
        if not torch.is_grad_enabled():
            return [False, False, False]
        bias = self.bias is not None and self.bias.requires_grad
        return [self.input.requires_grad, self.weight.requires_grad, bias]


@dataclass(frozen=True)
class ScoreRows:
    """Scores as rows (N, C), the leading shape of the scores, and the type of the result."""

    scores: Tensor
    leading: torch.Size
    result: torch.dtype

    @property
    def input(self) -> Tensor:
        """The scores."""
        return self.scores

    @property
    def classes(self) -> int:
        """C."""
        return self.scores.shape[1]


def as_rows(input: Tensor, weight: Tensor, bias: Tensor | None) -> Rows:
    """The arguments of a linear layer as rows.

    Under autocast all three get its type, as in `torch.nn.functional.linear`. Raises ValueError or TypeError if they do
    not fit together.
    """
    _refuse_transforms()
    if weight.dim() != 2:
        raise ValueError(f"linear_weight must have 2 dimensions (classes, in_features), not {weight.dim()}")
    if input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"input must have shape (..., {weight.shape[1]}), the last dimension of linear_weight "
            f"{tuple(weight.shape)}, not {tuple(input.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear_bias must have shape ({weight.shape[0]},), not {tuple(bias.shape)}")
    if weight.shape[0] == 0:
        raise ValueError("linear_weight has no classes: its first dimension is 0")
    result = input.dtype
    device = input.device.type
    if torch.is_autocast_enabled(device) and input.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        result = torch.float32
        input, weight = input.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    for name, tensor in (("linear_weight", weight), ("linear_bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype:
            raise TypeError(f"{name} is {tensor.dtype} but input is {input.dtype}: convert one of them")
        if tensor is not None and tensor.device != input.device:
            raise ValueError(f"{name} is on {tensor.device} but input is on {input.device}: move one of them")
    if input.dtype not in FLOATING:
        raise TypeError(f"input must be float64, float32, bfloat16 or float16, not {input.dtype}")
    return Rows(input.reshape(-1, input.shape[-1]), weight, bias, input.shape[:-1], result)


def as_score_rows(scores: Tensor) -> ScoreRows:
    """Scores of any leading shape (…, C) as rows; ValueError or TypeError for another shape or type."""
    _refuse_transforms()
    if scores.dim() == 0 or scores.shape[-1] == 0:
        raise ValueError(f"input must have shape (..., classes) with at least one class, not {tuple(scores.shape)}")
    if scores.dtype not in FLOATING:
        raise TypeError(f"input must be float64, float32, bfloat16 or float16, not {scores.dtype}")
    result = scores.dtype
    if torch.is_autocast_enabled(scores.device.type) and scores.dtype != torch.float64:
        result = torch.float32
    return ScoreRows(scores.reshape(-1, scores.shape[-1]), scores.shape[:-1], result)


def _refuse_transforms() -> None:
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "crosshead's fused losses do not work under torch.func (vmap, grad, jvp, ...): for vmap, stack the inputs "
            "as rows and take reduction='none'; for gradients, use torch.autograd.grad or backward()"
        )


# Targets


class RowWeights(NamedTuple):
    """What the loss of each row is multiplied by: ``weight`` (N,), 0 for ignored rows.

    A mean is a sum with weights that are divided already. ``denominator`` is what they were divided by, None for other
    reductions; ``undivided`` (N,) are the weights before.
    """

    weight: Tensor
    denominator: Tensor | None
    undivided: Tensor


def row_weights_for(undivided: Tensor, reduction: str, denominator: Tensor | None = None) -> RowWeights:
    """The weight of each row from ``undivided`` (N,), which is 0 for ignored rows.

    A mean divides by ``denominator``, or by Σ undivided if there is none.
    """
    if reduction != "mean":
        return RowWeights(undivided, None, undivided)
    total = undivided.sum() if denominator is None else denominator
    # Not 0/0 for an ignored row: its gradient is zero, whatever the other rows are.
    return RowWeights(torch.where(undivided == 0, 0, undivided / total), total, undivided)


def softmax_targets(
    rows: Rows | ScoreRows,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Targets, RowWeights]:
    """Class numbers or probabilities; class weights enter the loss if they weight single classes, else the rows."""
    weight = class_vector("weight", weight, rows.classes)
    if _is_dense(rows, target):
        dense = dense_target(target, rows.classes, ignore_index)
        return Targets(rows.classes, dense=dense, class_weight=weight), row_weights_for(_ones(rows), reduction)
    if weight is None or label_smoothing == 0:  # then a weight is a factor of the whole row
        return index_targets(rows, target, weight, ignore_index, reduction)
    index = index_target(target, rows.leading, rows.classes, ignore_index)
    counted = _counted(rows, index)
    denominator = (counted * weight.to(counted.dtype)[index.clamp_min(0)]).sum()
    return Targets(rows.classes, index, class_weight=weight), row_weights_for(counted, reduction, denominator)


def index_targets(
    rows: Rows | ScoreRows,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int | None,
    reduction: str,
    *,
    factor: float = 1.0,
    weighted_mean: bool = True,
) -> tuple[Targets, RowWeights]:
    """Class numbers, with class weights as factors of whole rows; ``factor`` multiplies all rows.

    A mean is divided by the sum of the class weights, or, without ``weighted_mean``, by the number of rows.
    """
    index = index_target(target, rows.leading, rows.classes, ignore_index)
    weight = class_vector("weight", weight, rows.classes)
    number = _counted(rows, index)
    weighted = number if weight is None else number * weight.to(number.dtype)[index.clamp_min(0)]
    denominator = (weighted if weighted_mean else number).sum()
    if factor != 1.0:
        weighted = weighted * factor
    return Targets(rows.classes, index), row_weights_for(weighted, reduction, denominator)


def element_targets(
    rows: Rows,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    *,
    weighted_mean: bool,
) -> tuple[Targets, RowWeights]:
    """Class numbers or a number for each class, for losses in which every score has its own term."""
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
    return targets, row_weights_for(weighted, "mean" if reduction == "batchmean" else reduction, number)


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
    return target.is_floating_point() and tuple(target.shape) == (*rows.leading, rows.classes)


def _ones(rows: Rows | ScoreRows) -> Tensor:
    return rows.input.new_ones(rows.input.shape[0], dtype=accumulation_type(rows.input.dtype), requires_grad=False)


def _counted(rows: Rows | ScoreRows, index: Tensor) -> Tensor:
    """1 for rows that count, 0 for ignored ones, (N,)."""
    return (index >= 0).to(accumulation_type(rows.input.dtype))


def index_target(target: Tensor, leading: Sequence[int], classes: int, ignore_index: int | None) -> Tensor:
    """Class numbers of any leading shape as (N,), with `IGNORED` for ``ignore_index``.

    Raises ValueError for another shape, TypeError for another type, IndexError for a number that is not a class.
    """
    if target.shape != torch.Size(leading):
        raise ValueError(
            f"target must have shape {tuple(leading)} (class numbers) or {(*leading, classes)} (a number for each "
            f"class), not {tuple(target.shape)}"
        )
    if target.dtype not in INTEGERS:
        raise TypeError(f"target of class numbers must be of an integer type such as int64, not {target.dtype}")
    index: Tensor = checked_index(target.reshape(-1).to(torch.int64), classes, ignore_index)
    return index


@torch.library.custom_op("crosshead::checked_index", mutates_args=())
def checked_index(target: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """Class numbers (N,) with `IGNORED` in place of ``ignore_index``.

    Raises IndexError for a number outside 0 … classes − 1. On a CUDA device the check is an assertion that runs there,
    because waiting for its result would stop the queue.
    """
    ignored = torch.zeros_like(target, dtype=torch.bool) if ignore_index is None else target == ignore_index
    wrong = ((target < 0) | (target >= classes)) & ~ignored
    if not target.is_cuda:
        if wrong.any():
            row = int(wrong.nonzero()[0, 0])
            other = "" if ignore_index is None else f", or ignore_index={ignore_index}"
            raise IndexError(
                f"target {int(target[row])} in row {row} is not a class: expected 0 to {classes - 1}{other}"
            )
    else:
        torch._assert_async(~wrong.any(), f"a target is not a class: expected 0 to {classes - 1}")
    return torch.where(ignored, IGNORED, target)


@checked_index.register_fake
def _(target: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    return torch.empty_like(target, dtype=torch.int64)


def dense_target(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """A number for each row and class as (N, C); ValueError for options that such targets do not have."""
    if ignore_index >= 0:
        raise ValueError(f"ignore_index={ignore_index} needs a target of class numbers, not of a number for each class")
    if target.requires_grad:
        raise ValueError("target requires grad, but the fused losses have no gradient for it: use target.detach()")
    return target.reshape(-1, classes)


# Options


def check_reduction(reduction: str, all_ignored: str = "nan") -> None:
    """ValueError for an unknown ``reduction`` or ``all_ignored``."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
    if all_ignored not in ALL_IGNORED:
        raise ValueError(f"all_ignored must be 'nan' or 'zero', not {all_ignored!r}")


def check_element_reduction(reduction: str, all_ignored: str) -> None:
    """As `check_reduction`, for a loss of rows × classes terms."""
    if reduction == "none":
        raise ValueError(
            "reduction='none' would hold rows × classes losses, which this function exists to avoid: use 'rows' for "
            "their sums over classes"
        )
    if reduction not in ELEMENT_REDUCTIONS:
        raise ValueError(f"reduction must be 'mean', 'sum', 'batchmean' or 'rows', not {reduction!r}")
    check_reduction("mean", all_ignored)


def class_vector(name: str, vector: Tensor | None, classes: int) -> Tensor | None:
    """A number for each class, (C,); ValueError for another shape, or if it requires a gradient."""
    if vector is None:
        return None
    if not isinstance(vector, Tensor):
        raise TypeError(f"{name} must be a tensor of {classes} numbers, not {type(vector).__name__}")
    if vector.shape != (classes,):
        raise ValueError(f"{name} must have shape ({classes},), one number a class, not {tuple(vector.shape)}")
    if vector.requires_grad:
        raise ValueError(f"{name} requires grad, but the fused losses have no gradient for it: use {name}.detach()")
    return vector


def number_between(name: str, value: float, least: float, most: float) -> float:
    """The value as a float; ValueError outside [least, most]."""
    if not least <= value <= most:
        between = f"between {least:g} and {most:g}" if most < float("inf") else f"at least {least:g}"
        raise ValueError(f"{name} must be {between}, not {value!r}")
    return float(value)


def positive_number(name: str, value: float) -> float:
    """The value as a float; ValueError unless it is positive and finite."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return float(value)
