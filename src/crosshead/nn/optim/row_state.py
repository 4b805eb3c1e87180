"""What an optimizer remembers of rows, for as many rows as are remembered and no more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GROWTH = 1.25  # of the room for rows, so that adding rows one step after the other copies each a few times only


class RowState:
    """Numbers of some rows of a parameter (C, D): ``names`` are kept as (rows, D) each, and how often a row had a step.

    ``limit`` bounds the rows that are remembered; beyond it those whose last step is longest ago are forgotten. None
    remembers all rows that ever had a step. The rows of one step are always remembered until the next.
    """

    def __init__(self, like: Tensor, names: Sequence[str], limit: int | None) -> None:
        self.names, self.limit = tuple(names), limit
        self.rows = torch.empty(0, dtype=torch.long, device=like.device)
        self.slots = torch.empty_like(self.rows)  # where the numbers of each of `rows`, which are sorted, lie
        self.used = torch.empty_like(self.rows)  # when the row of each slot had its last step
        self.steps = torch.empty_like(self.rows)  # how many steps the row of each slot has had
        self.clock = 0
        self.numbers = {name: like.new_empty((0, *like.shape[1:])) for name in self.names}

    def touch(self, rows: Tensor) -> Tensor:
        """The slots of these rows (S,), distinct and sorted, whose steps are counted; new rows begin with zeros."""
        self.clock += 1
        known = torch.isin(rows, self.rows, assume_unique=True)
        self._forget(rows, len(rows) - int(known.sum()))
        self._add(rows[~known])
        slots = self.slots[torch.searchsorted(self.rows, rows)]
        self.used[slots] = self.clock
        self.steps[slots] += 1
        return slots

    def _forget(self, rows: Tensor, coming: int) -> None:
        """Forget the rows whose last step is longest ago, as many as there is no room for."""
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
        """Give slots to new rows: those of forgotten rows, then new ones."""
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
        """How many rows are remembered."""
        return len(self.rows)

    def numel(self) -> int:
        """Floating-point numbers that are held, room for further rows included."""
        return sum(part.numel() for part in self.numbers.values())

    def to_dict(self) -> dict[str, Tensor]:
        """The rows that are remembered, in their order, as tensors."""
        plain = {"rows": self.rows, "used": self.used[self.slots], "steps": self.steps[self.slots]}
        return plain | {name: numbers[self.slots] for name, numbers in self.numbers.items()}

    def load(self, found: dict[str, Tensor]) -> None:
        """Take over what `to_dict` gave; ValueError where it is of another kind."""
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
