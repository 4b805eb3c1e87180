"""Crammer–Singer hinge of a row, over tiles of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from crosshead.nn.row_losses.protocol import Merge, Targets, Tile, required


@final
@dataclass(frozen=True)
class CrammerSinger:
    """ℓ = max(0, max_{j≠y} z_j − z_y + Δ) with Δ = ``margin``: only the wrong class with the largest score counts.

    The state is the largest wrong score and its class; of several equal ones the first gets the gradient. Class numbers
    are stored as floats, exact up to 2²⁴ classes in float32.

    Source: Crammer and Singer, Journal of Machine Learning Research 2, 2001.
    """

    margin: float = 1.0

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key and the margin."""
        return "crammer_singer", (self.margin,)

    @property
    def fields(self) -> tuple[Merge, ...]:
        """The largest wrong score, and its class."""
        return Merge.MAX, Merge.FIRST_AT_MAX

    @property
    def outputs(self) -> int:
        """The loss."""
        return 1

    @property
    def needs_target_score(self) -> bool:
        """Always: the margin is measured from it."""
        return True

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """The largest wrong score of the tile and its class, (2, N)."""
        if scores.dtype == torch.float32 and tile.targets.classes > 1 << 24:
            raise ValueError(
                f"crammer_singer numbers classes in float32, exactly up to {1 << 24}, not {tile.targets.classes}: "
                "use float64 or another loss"
            )
        wrong = scores.clone()
        tile.set_at_target(wrong, torch.full_like(wrong[:, 0], -torch.inf))
        largest = wrong.amax(dim=1)
        number = torch.arange(tile.first, tile.first + tile.size, dtype=scores.dtype, device=scores.device)
        first = torch.where(wrong == largest[:, None], number, torch.inf).amin(dim=1)
        return torch.stack([largest, first])

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss, (1, N)."""
        return self._violation(state, target_score).clamp_min(0)[None]

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """If the margin is violated, g for the largest wrong score and −g for the row's own class, (N, T)."""
        violated = self._violation(state, tile.target_score) > 0
        amount = torch.where(violated, upstream[0], 0)
        gradient = torch.zeros_like(scores)
        column = state[1] - tile.first
        inside = violated & (column >= 0) & (column < tile.size)
        place = torch.where(inside, column, 0).to(torch.int64)[:, None]
        gradient.scatter_add_(1, place, torch.where(inside, amount, 0)[:, None])
        tile.add_at_target(gradient, -amount)
        return gradient

    def _violation(self, state: Tensor, target_score: Tensor | None) -> Tensor:
        return state[0] - required(target_score) + self.margin
