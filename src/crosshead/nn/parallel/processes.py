"""Collective operations: rows of batches of different sizes, sums, and parts for each process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes of a group: this one is ``rank`` of ``size``. Every method is a collective operation."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, by rank; all have the same shape."""
        tensor = tensor.contiguous()
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor, group=self.group)
        return found

    def gather_integers(self, own: Sequence[int], device: torch.device) -> list[list[int]]:
        """The integers of every process, by rank."""
        return [part.tolist() for part in self.all_gather(torch.tensor(own, dtype=torch.int64, device=device))]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over processes, a new tensor, with the same bits on each."""
        found = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found, group=self.group)
        return found

    def gather_rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, one after the other, (Σ counts, …), from those of this one, (counts[rank], …)."""
        found = self.all_gather(_padded(tensor, max(counts)))
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    def reduce_scatter_rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of this process, (counts[rank], …), in the sum over processes of tensors (Σ counts, …)."""
        most = max(counts)
        parts = [_padded(part, most) for part in torch.split(tensor, list(counts))]
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts, group=self.group)
        return own[: counts[self.rank]]

    def all_to_all(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """The tensors that all processes send to this one, with these shapes; it sends ``parts[r]`` to rank r."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        lengths = [torch.Size(shape).numel() for shape in shapes]
        received = sent.new_empty(sum(lengths))
        dist.all_to_all_single(received, sent, lengths, [part.numel() for part in parts], group=self.group)
        return [part.view(*shape) for part, shape in zip(torch.split(received, lengths), shapes, strict=True)]


def starts(counts: Sequence[int]) -> list[int]:
    """Where the part of each process begins, and at the end the sum of all counts.

    >>> starts([3, 0, 2])
    [0, 3, 3, 5]
    """
    return [0, *accumulate(counts)]


def _padded(tensor: Tensor, rows: int) -> Tensor:
    if len(tensor) == rows:
        return tensor.contiguous()
    return torch.cat([tensor, tensor.new_zeros((rows - len(tensor), *tensor.shape[1:]))])
