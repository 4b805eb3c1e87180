"""Tensors as the native kernels take them: NumPy views of the same memory, 2-byte floats as 16-bit integers."""

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
"""The kernels' names of the types."""

STATE_FIELDS = 4
"""The kernels' states have this many fields; a loss uses the first of them."""


def is_readable(tensor: Tensor | None) -> bool:
    """Whether the kernels can read this tensor without a copy: dense memory on the CPU. True for None."""
    if tensor is None:
        return True
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_neg()


def is_matrix(tensor: Tensor) -> bool:
    """Whether it is a matrix of at least one number, with contiguous rows and a type of the kernels."""
    return tensor.dim() == 2 and tensor.numel() > 0 and _dense_rows(tensor) and tensor.dtype in NUMBERS


def _dense_rows(tensor: Tensor) -> bool:
    return tensor.stride(1) == 1 or tensor.shape[1] == 1


def is_target_matrix(tensor: Tensor, like: Tensor) -> bool:
    """Whether the kernels can read these dense targets for numbers of this type without a copy."""
    return tensor.dtype == accumulation_type(like.dtype) and tensor.dim() == 2 and _dense_rows(tensor)


def view(tensor: Tensor | None) -> Any:
    """The tensor's memory as an array; 2-byte floats as 16-bit integers."""
    if tensor is None:
        return None
    plain = tensor.detach()
    return (plain.view(torch.int16) if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()


def vector(tensor: Tensor | None, dtype: torch.dtype) -> Any:
    """The vector in this type, contiguous, as an array."""
    return None if tensor is None else view(tensor.detach().to(dtype).contiguous())


def padded_state(state: Tensor) -> Tensor:
    """A loss's state (fields, N) in the kernels' shape, (4, N)."""
    out = state.new_zeros((STATE_FIELDS, state.shape[1]))
    out[: len(state)] = state
    return out
