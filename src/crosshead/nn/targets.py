"""Checks of targets, and what they say of the rows."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -1
"""The class number that stands for an ignored row from here on: it matches no class."""


@torch.library.custom_op("crosshead::checked_index", mutates_args=())
def checked_index(target: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """Class numbers with `IGNORED` in place of ``ignore_index``, once they are known to be in range, (N,).

    Raises IndexError for a number outside 0 … classes − 1. On a GPU, where looking would halt the queue, the device
    asserts it in its own time.
    """
    ignored = torch.zeros_like(target, dtype=torch.bool) if ignore_index is None else target == ignore_index
    wrong = ((target < 0) | (target >= classes)) & ~ignored
    if target.device.type == "cpu":
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
