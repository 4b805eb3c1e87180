"""Loss and gradient of given scores, in blocks of rows that fit into the cache.

The reference implementation of `crosshead.nn.backends.protocol.ScoreBackend`, on any device, for row losses that do not
need the target score beforehand. A block has one tile, of all classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crosshead.nn.backends.products import without_autocast, working
from crosshead.nn.row_losses.protocol import RowLoss, Targets, Tile, empty_state

BLOCK_SCORES = 1 << 21
"""The most scores in a block."""


@without_autocast
def states(loss: RowLoss, scores: Tensor, targets: Targets) -> Tensor:
    """The state of each row of scores (N, C), (fields, N)."""
    state = empty_state(loss.fields, working(scores), len(scores))
    for start, stop in _blocks(scores):
        block = working(scores[start:stop])
        state[:, start:stop] = loss.tile_state(block, Tile(targets.rows(start, stop), 0, block.shape[1]))
    return state


@without_autocast
def gradient(loss: RowLoss, scores: Tensor, targets: Targets, state: Tensor, upstream: Tensor) -> Tensor:
    """Σ upstream · ∂outputs/∂scores, (N, C), in the scores' type."""
    out = torch.empty_like(scores, memory_format=torch.contiguous_format)
    for start, stop in _blocks(scores):
        block = working(scores[start:stop])
        tile = Tile(targets.rows(start, stop), 0, block.shape[1])
        out[start:stop] = loss.score_gradient(block.clone(), state[:, start:stop], tile, upstream[:, start:stop])
    return out


@without_autocast
def states_and_gradient(loss: RowLoss, scores: Tensor, targets: Targets, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Both, in one pass over the scores."""
    state = empty_state(loss.fields, working(scores), len(scores))
    out = torch.empty_like(scores, memory_format=torch.contiguous_format)
    for start, stop in _blocks(scores):
        block = working(scores[start:stop])
        tile = Tile(targets.rows(start, stop), 0, block.shape[1])
        part = loss.tile_state(block, tile)
        state[:, start:stop] = part
        out[start:stop] = loss.score_gradient(block.clone(), part, tile, upstream[:, start:stop])
    return state, out


def _blocks(scores: Tensor) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK_SCORES // max(1, scores.shape[1]))
    for start in range(0, len(scores), step):
        yield start, min(start + step, len(scores))
