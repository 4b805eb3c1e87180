"""Binary cross-entropy of a row, one binary problem a class, over tiles of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crosshead.nn.row_losses.protocol import Merge, Targets, Tile, one_hot

LINEAR_FROM = 40.0
"""From here on log(1 + exp z) equals z in float64 too; PyTorch's default of 20 is too small for that."""


@final
@dataclass(frozen=True)
class Binary:
    """ℓ = Σ_c w_c·( (1 − t_c)·log(1 + exp z_c) + v_c·t_c·log(1 + exp −z_c) ), in nats.

    t are probabilities in [0, 1], or 1 for the row's own class and 0 for all others (one against the rest); w are class
    weights and v is ``positive_weight``. The state is the sum.
    """

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key; no parameters."""
        return "binary", ()

    @property
    def fields(self) -> tuple[Merge, ...]:
        """The loss."""
        return (Merge.SUM,)

    @property
    def outputs(self) -> int:
        """The loss."""
        return 1

    @property
    def needs_target_score(self) -> bool:
        """Never: every class has a term of its own."""
        return False

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """The sum over the tile, (1, N)."""
        negative, positive = self._weighted_targets(scores, tile)
        loss = softplus(scores, 1, LINEAR_FROM).mul_(negative).add_(softplus(-scores, 1, LINEAR_FROM).mul_(positive))
        return _weighted(loss, tile).sum(dim=1)[None]

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss, (1, N)."""
        return state

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """g·w_c·( (1 − t_c)·σ(z_c) − v_c·t_c·σ(−z_c) ), (N, T): without cancellation."""
        negative, positive = self._weighted_targets(scores, tile)
        gradient = torch.sigmoid(scores).mul_(negative).sub_(torch.sigmoid(-scores).mul_(positive))
        return _weighted(gradient, tile).mul_(upstream[0][:, None])

    def _weighted_targets(self, scores: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """1 − t and v·t, each (N, T)."""
        target = one_hot(scores, tile) if tile.has_index else tile.dense(scores)
        weight = tile.positive_weight(scores)
        return 1 - target, target if weight is None else target * weight


def _weighted(terms: Tensor, tile: Tile) -> Tensor:
    weight = tile.class_weight(terms)
    return terms if weight is None else terms.mul_(weight)
