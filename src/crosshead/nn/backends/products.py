"""Matrix products in the accumulation type: float64 for float64, and float32 for float32, bfloat16 and float16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """The function with autocast off: it chooses types itself, and its sums must keep their precision."""

    @wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **kwargs)

    return plain


def accumulation_type(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for all other types.

    >>> accumulation_type(torch.bfloat16)
    torch.float32
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def working(tensor: Tensor) -> Tensor:
    """The tensor in its accumulation type; the tensor itself if it has that type."""
    return tensor.to(accumulation_type(tensor.dtype))


def times(left: Tensor, right: Tensor) -> Tensor:
    """The product left @ right, in the accumulation type.

    CUDA multiplies 2-byte types directly and accumulates in float32. With a bfloat16 operand a float32 operand (a
    gradient of scores) is rounded to bfloat16, which has the range of float32; it is never rounded to float16, in which
    it would underflow. In all other cases the operands are converted to the accumulation type first.
    """
    if left.is_cuda and torch.bfloat16 in (left.dtype, right.dtype):
        return torch.mm(left.to(torch.bfloat16), right.to(torch.bfloat16), out_dtype=torch.float32)
    if left.is_cuda and left.dtype == right.dtype == torch.float16:
        return torch.mm(left, right, out_dtype=torch.float32)
    return working(left) @ working(right)


def transposed_times(left: Tensor, right: Tensor) -> Tensor:
    """The product leftᵀ @ right, in the accumulation type."""
    return times(left.t(), right)
