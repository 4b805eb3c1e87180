"""From losses of rows to one number: what each row counts, and what the sum is divided by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")
ELEMENT_REDUCTIONS = ("mean", "sum", "batchmean", "rows")
ALL_IGNORED = ("nan", "zero")


class Share(NamedTuple):
    """``row_weight`` (N,): what each row's loss is multiplied by, 0 where it is ignored.

    ``denominator``: what the sum was divided by, already in ``row_weight``; None where it is no mean. ``counted`` (N,):
    what each row counts before that division.
    """

    row_weight: Tensor
    denominator: Tensor | None
    counted: Tensor


def check_reduction(reduction: str, all_ignored: str = "nan") -> None:
    """ValueError for a reduction or an all_ignored that there is not."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
    if all_ignored not in ALL_IGNORED:
        raise ValueError(f"all_ignored must be 'nan' or 'zero', not {all_ignored!r}")


def check_element_reduction(reduction: str, all_ignored: str) -> None:
    """ValueError for a reduction that a loss of rows × classes terms does not have."""
    if reduction == "none":
        raise ValueError(
            "reduction='none' would hold rows × classes losses, which this function exists to avoid: use 'rows' for "
            "their sums over classes"
        )
    if reduction not in ELEMENT_REDUCTIONS:
        raise ValueError(f"reduction must be 'mean', 'sum', 'batchmean' or 'rows', not {reduction!r}")
    check_reduction("mean", all_ignored)


def share_of_rows(counted: Tensor, reduction: str, denominator: Tensor | None = None) -> Share:
    """The share of each row in the result, from what it counts for (N,), 0 where it is ignored.

    ``denominator`` replaces Σ counted as what a mean divides by.
    """
    if reduction != "mean":
        return Share(counted, None, counted)
    total = counted.sum() if denominator is None else denominator
    # An ignored row must not get 0/0: its gradient is zero whatever the others are.
    return Share(torch.where(counted == 0, 0, counted / total), total, counted)


def settle(total: Tensor, share: Share, all_ignored: str) -> Tensor:
    """The reduced loss; where a mean has nothing to divide by, NaN as PyTorch has it, or zero."""
    if share.denominator is None or all_ignored == "zero":
        return total
    return torch.where(share.denominator == 0, torch.nan, total)
