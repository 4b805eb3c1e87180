"""What processes tell one another: rows of unequal batches, sums, and parts for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes of a group, of which this one is number ``rank`` of ``size``. Every method is a collective."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def each(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, by rank; all have the same shape."""
        tensor = tensor.contiguous()
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor, group=self.group)
        return found

    def numbers(self, own: Sequence[int], device: torch.device) -> list[list[int]]:
        """Whole numbers of every process, by rank."""
        return [part.tolist() for part in self.each(torch.tensor(own, dtype=torch.int64, device=device))]

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over processes, a new tensor, the same everywhere to the last bit."""
        found = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found, group=self.group)
        return found

    def rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes one after the other, (Σ counts, …), from this one's (counts[rank], …)."""
        found = self.each(_padded(tensor, max(counts)))
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    def own_rows_of_total(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of this process, (counts[rank], …), of the sum over processes of tensors (Σ counts, …)."""
        most = max(counts)
        parts = [_padded(part, most) for part in torch.split(tensor, list(counts))]
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts, group=self.group)
        return own[: counts[self.rank]]

    def exchange(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """What every process has for this one, of these shapes by rank; ``parts`` is what this one has for each."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        lengths = [torch.Size(shape).numel() for shape in shapes]
        received = sent.new_empty(sum(lengths))
        dist.all_to_all_single(received, sent, lengths, [part.numel() for part in parts], group=self.group)
        return [part.view(*shape) for part, shape in zip(torch.split(received, lengths), shapes, strict=True)]


def starts(counts: Sequence[int]) -> list[int]:
    """Where the part of each begins, and last where all end.

    >>> starts([3, 0, 2])
    [0, 3, 3, 5]
    """
    return [0, *accumulate(counts)]


def _padded(tensor: Tensor, rows: int) -> Tensor:
    if len(tensor) == rows:
        return tensor.contiguous()
    return torch.cat([tensor, tensor.new_zeros((rows - len(tensor), *tensor.shape[1:]))])
