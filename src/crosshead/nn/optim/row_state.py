"""The state of an optimizer for some rows of a parameter, in memory that grows with their number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GROWTH = 1.25
"""Factor by which the capacity for rows grows, so that adding rows step by step copies each only a few times."""


class RowState:
    """The state of some rows of a parameter (C, D): a tensor (rows, D) for each of ``names``, and step counts.

    ``limit`` is the most rows that are stored: beyond it the rows updated longest ago are dropped. None stores all rows
    that were ever updated. The rows of one step are always stored until the next.
    """

    def __init__(self, like: Tensor, names: Sequence[str], limit: int | None) -> None:
        self.names, self.limit = tuple(names), limit
        self.rows = torch.empty(0, dtype=torch.long, device=like.device)
        self.slots = torch.empty_like(self.rows)  # the position of the state of each of `rows`, which are sorted
        self.used = torch.empty_like(self.rows)  # the time of the last step of the row in each slot
        self.steps = torch.empty_like(self.rows)  # the number of steps of the row in each slot
        self.clock = 0
        self.numbers = {name: like.new_empty((0, *like.shape[1:])) for name in self.names}

    def touch(self, rows: Tensor) -> Tensor:
        """Count a step of these rows (S,), distinct and sorted; returns their slots. New rows start with zeros."""
        self.clock += 1
        known = torch.isin(rows, self.rows, assume_unique=True)
        self._drop(rows, len(rows) - int(known.sum()))
        self._add(rows[~known])
        slots = self.slots[torch.searchsorted(self.rows, rows)]
        self.used[slots] = self.clock
        self.steps[slots] += 1
        return slots

    def _drop(self, rows: Tensor, coming: int) -> None:
        """Drop the rows updated longest ago, as many as the limit requires."""
        if self.limit is None:
            return
        surplus = len(self.rows) + coming - max(self.limit, len(rows))
        if surplus <= 0:
            return
        old = torch.nonzero(~torch.isin(self.rows, rows, assume_unique=True))[:, 0]
        oldest = torch.argsort(self.used[self.slots[old]], stable=True)[:surplus]
        keep = torch.ones_like(self.rows, dtype=torch.bool)
        keep[old[oldest]] = False
        self.rows, self.slots = self.rows[keep], self.slots[keep]

    def _add(self, rows: Tensor) -> None:
        """Give slots to new rows: first those of dropped rows, then new ones."""
        if len(rows) == 0:
            return
        free = torch.ones(len(self.used), dtype=torch.bool, device=rows.device)
        free[self.slots] = False
        slots = torch.nonzero(free)[:, 0]
        if len(slots) < len(rows):
            before = len(self.used)
            self._grow(before + len(rows) - len(slots))
            slots = torch.cat([slots, torch.arange(before, len(self.used), device=rows.device)])
        slots = slots[: len(rows)]
        self.steps[slots] = 0
        for numbers in self.numbers.values():
            numbers[slots] = 0
        order = torch.argsort(torch.cat([self.rows, rows]))
        self.rows, self.slots = torch.cat([self.rows, rows])[order], torch.cat([self.slots, slots])[order]

    def _grow(self, needed: int) -> None:
        room = needed if self.limit is not None else max(needed, int(GROWTH * len(self.used)))
        self.used, self.steps = (_longer(part, room) for part in (self.used, self.steps))
        self.numbers = {name: _longer(part, room) for name, part in self.numbers.items()}

    def __len__(self) -> int:
        """The number of stored rows."""
        return len(self.rows)

    def numel(self) -> int:
        """The number of floating-point numbers, including unused capacity."""
        return sum(part.numel() for part in self.numbers.values())

    def to_dict(self) -> dict[str, Tensor]:
        """The stored rows and their state, in the order of the rows, as tensors."""
        plain = {"rows": self.rows, "used": self.used[self.slots], "steps": self.steps[self.slots]}
        return plain | {name: numbers[self.slots] for name, numbers in self.numbers.items()}

    def load(self, found: dict[str, Tensor]) -> None:
        """Load what `to_dict` gave; ValueError if that is the state of another optimizer."""
        expected = {"rows", "used", "steps", *self.names}
        if set(found) != expected:
            raise ValueError(f"this state holds {', '.join(sorted(found))}, and not {', '.join(sorted(expected))}")
        device = self.rows.device
        self.rows, self.used, self.steps = (found[name].to(device).clone() for name in ("rows", "used", "steps"))
        self.slots = torch.arange(len(self.rows), device=device)
        self.clock = int(self.used.max()) if len(self.used) else 0
        self.numbers = {name: found[name].to(part).clone() for name, part in self.numbers.items()}


def _longer(tensor: Tensor, length: int) -> Tensor:
    more = tensor.new_empty((length - len(tensor), *tensor.shape[1:]))
    return torch.cat([tensor, more])
