"""Weston–Watkins hinge of a row, and its square, over tiles of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from crosshead.nn.row_losses.protocol import Merge, Targets, Tile, required


@final
@dataclass(frozen=True)
class WestonWatkins:
    """ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)^p with Δ = ``margin`` and p = ``power``, 1 or 2.

    The state is the sum of the losses and the sum of their slopes; the gradient of the row's own class is minus that
    sum. At a kink the slope is 0.

    Source: Weston and Watkins, ESANN 1999.
    """

    margin: float = 1.0
    power: float = 1.0

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key, margin and power."""
        return "hinge", (self.margin, self.power)

    @property
    def fields(self) -> tuple[Merge, ...]:
        """Loss and slope."""
        return Merge.SUM, Merge.SUM

    @property
    def outputs(self) -> int:
        """The loss."""
        return 1

    @property
    def needs_target_score(self) -> bool:
        """Always: every class is compared with it."""
        return True

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """Σ losses and Σ slopes over the tile's wrong classes, (2, N)."""
        violation = self._violation(scores, tile)
        if self.power == 1:
            return torch.stack([violation.sum(dim=1), (violation > 0).sum(dim=1, dtype=violation.dtype)])
        return torch.stack([violation.square().sum(dim=1), 2 * violation.sum(dim=1)])

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss, (1, N)."""
        return state[:1]

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """g·∂ max(0, m_j)^p for wrong classes, minus their sum for the row's own, (N, T)."""
        violation = self._violation(scores, tile)
        slope = (violation > 0).to(violation.dtype) if self.power == 1 else violation.mul_(2)
        slope *= upstream[0][:, None]
        tile.add_at_target(slope, -state[1] * upstream[0])
        return slope

    def _violation(self, scores: Tensor, tile: Tile) -> Tensor:
        """max(0, z_j − z_y + Δ), and 0 for the row's own class, (N, T)."""
        violation = (scores + (self.margin - required(tile.target_score))[:, None]).clamp_min_(0)
        tile.set_at_target(violation, torch.zeros_like(violation[:, 0]))
        return violation
