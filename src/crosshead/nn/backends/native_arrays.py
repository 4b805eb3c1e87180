"""Tensors as the native kernels take them: NumPy views of the same memory, short numbers as their bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crosshead.nn.backends.products import accumulation_type

NUMBERS = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
"""What the kernels call a type."""

STATE_FIELDS = 4
"""The kernels' states have as many fields; a loss uses the first of them."""


def in_reach(tensor: Tensor | None) -> bool:
    """Whether the kernels can read this tensor as it lies, or there is none: on the CPU, real memory."""
    if tensor is None:
        return True
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_neg()


def is_matrix(tensor: Tensor) -> bool:
    """Whether it is a matrix of at least one number, with rows that have no gaps and a type the kernels know."""
    return tensor.dim() == 2 and tensor.numel() > 0 and _dense_rows(tensor) and tensor.dtype in NUMBERS


def _dense_rows(tensor: Tensor) -> bool:
    return tensor.stride(1) == 1 or tensor.shape[1] == 1


def is_target_matrix(tensor: Tensor, like: Tensor) -> bool:
    """Whether the kernels can read dense targets beside numbers of this type: converting them would copy them all."""
    return tensor.dtype == accumulation_type(like.dtype) and tensor.dim() == 2 and _dense_rows(tensor)


def view(tensor: Tensor | None) -> Any:
    """The tensor's memory as an array; 2-byte numbers as 16-bit integers."""
    if tensor is None:
        return None
    plain = tensor.detach()
    return (plain.view(torch.int16) if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()


def vector(tensor: Tensor | None, dtype: torch.dtype) -> Any:
    """A contiguous vector in this type."""
    return None if tensor is None else view(tensor.detach().to(dtype).contiguous())


def padded_state(state: Tensor) -> Tensor:
    """A loss's state (fields, N) in the kernels' shape, (4, N)."""
    out = state.new_zeros((STATE_FIELDS, state.shape[1]))
    out[: len(state)] = state
    return out
