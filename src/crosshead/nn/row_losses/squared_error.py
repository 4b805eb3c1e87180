"""Squared error of a row of scores, over tiles of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from crosshead.nn.row_losses.protocol import Merge, Targets, Tile, one_hot


@final
@dataclass(frozen=True)
class SquaredError:
    """ℓ = Σ_c w_c·(z_c − t_c)²; t are numbers or the one-hot row of the row's class, w are class weights.

    The state is the sum.
    """

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key; no parameters."""
        return "squared_error", ()

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
        square = self._error(scores, tile).square_()
        weight = tile.class_weight(square)
        return (square.sum(dim=1) if weight is None else square @ weight)[None]

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss, (1, N)."""
        return state

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """2g·w_c·(z_c − t_c), (N, T)."""
        gradient = self._error(scores, tile).mul_(2 * upstream[0][:, None])
        weight = tile.class_weight(gradient)
        return gradient if weight is None else gradient.mul_(weight)

    def _error(self, scores: Tensor, tile: Tile) -> Tensor:
        return scores - (one_hot(scores, tile) if tile.has_index else tile.dense(scores))
