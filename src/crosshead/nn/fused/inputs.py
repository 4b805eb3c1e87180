"""What the fused functions are called with, checked and brought into the one shape that the operators take.

Features of any leading shape become rows (N, D); under autocast they and the weights take its type, as in F.linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosshead.nn.targets import checked_index

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a `torch.distributed.tensor.DTensor`, of which this process holds a part."""
    return hasattr(tensor, "device_mesh")


def data_device(device: torch.device | str | None) -> torch.device | str | None:
    """Where a head's data goes: not to "meta", from which parameters return by a new start, but data never."""
    return None if device is not None and torch.device(device).type == "meta" else device


@dataclass(frozen=True)
class Rows:
    """Features as rows (N, D), weight (C, D), bias (C,) or None, and the leading shape that the rows had.

    Where a class has several rows of W, one after the other, ``weight`` is (C × rows per class, D).
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
        """Whether input, weight and bias want gradients."""
        if not torch.is_grad_enabled():
            return [False, False, False]
        bias = self.bias is not None and self.bias.requires_grad
        return [self.input.requires_grad, self.weight.requires_grad, bias]


@dataclass(frozen=True)
class ScoreRows:
    """Scores as rows (N, C), and the leading shape that the rows had."""

    scores: Tensor
    leading: torch.Size
    result: torch.dtype

    @property
    def input(self) -> Tensor:
        """The scores themselves."""
        return self.scores

    @property
    def classes(self) -> int:
        """C."""
        return self.scores.shape[1]


def as_score_rows(scores: Tensor) -> ScoreRows:
    """Scores of any leading shape (…, C) as rows; ValueError or TypeError where they are none."""
    _refuse_transforms()
    if scores.dim() == 0 or scores.shape[-1] == 0:
        raise ValueError(f"input must have shape (..., classes) with at least one class, not {tuple(scores.shape)}")
    if scores.dtype not in FLOATING:
        raise TypeError(f"input must be float64, float32, bfloat16 or float16, not {scores.dtype}")
    result = scores.dtype
    if torch.is_autocast_enabled(scores.device.type) and scores.dtype != torch.float64:
        result = torch.float32
    return ScoreRows(scores.reshape(-1, scores.shape[-1]), scores.shape[:-1], result)


def as_rows(input: Tensor, weight: Tensor, bias: Tensor | None) -> Rows:
    """The arguments of a linear layer as rows; ValueError or TypeError where they do not fit together."""
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


def index_target(target: Tensor, leading: Sequence[int], classes: int, ignore_index: int | None) -> Tensor:
    """Class numbers of any leading shape as (N,), ignored ones marked; ValueError, TypeError, IndexError otherwise."""
    if target.shape != torch.Size(leading):
        raise ValueError(
            f"target must have shape {tuple(leading)} (class numbers) or {(*leading, classes)} (a number for each "
            f"class), not {tuple(target.shape)}"
        )
    if target.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        raise TypeError(f"target of class numbers must be of an integer type such as int64, not {target.dtype}")
    index: Tensor = checked_index(target.reshape(-1).to(torch.int64), classes, ignore_index)
    return index


def dense_target(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """A floating number for each row and class as (N, C); ValueError for options that it cannot have."""
    if ignore_index >= 0:
        raise ValueError(f"ignore_index={ignore_index} needs a target of class numbers, not of a number for each class")
    if target.requires_grad:
        raise ValueError("target requires grad, but the fused losses have no gradient for it: use target.detach()")
    return target.reshape(-1, classes)


def is_dense(target: Tensor, leading: Sequence[int], classes: int) -> bool:
    """Whether target has a number for each row and class, by its shape."""
    return tuple(target.shape) == (*leading, classes)


def class_vector(name: str, vector: Tensor | None, classes: int) -> Tensor | None:
    """A number for each class, (C,); ValueError for another shape, or where it wants a gradient."""
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


def _refuse_transforms() -> None:
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "crosshead's fused losses do not work under torch.func (vmap, grad, jvp, ...): for vmap, stack the inputs "
            "as rows and take reduction='none'; for gradients, use torch.autograd.grad or backward()"
        )
