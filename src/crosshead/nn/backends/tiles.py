"""Loss and gradients of a linear layer over tiles of classes and rows, in torch operations, on any device.

The reference implementation of `crosshead.nn.backends.protocol.Backend`. No more than `TILE_SCORES` scores exist at a
time, or `STORED_SCORES` where keeping the scores of a block of rows saves computing them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from crosshead.nn.backends.products import accumulation_type, without_autocast, working
from crosshead.nn.backends.projections import Projection, TileGradients
from crosshead.nn.backends.protocol import Gradients, Problem
from crosshead.nn.row_losses.protocol import RowLoss, Tile, empty_state, merged

TILE_SCORES = 1 << 21
"""Scores in a tile: 8 MB of float32, of which a few copies exist at a time."""
STORED_SCORES = 5 << 21
"""Scores of a block of rows that are kept from the loss to the gradient: 42 MB of float32."""
LEAST_STORED_ROWS = 64
"""With fewer rows in a block, products are so inefficient that computing the scores again is cheaper."""
LEAST_TILE_CLASSES = 512
"""A block has so few rows that its tiles have at least this many classes."""


@without_autocast
def target_scores(projection: Projection, problem: Problem) -> Tensor:
    """The score of each row for its own class, 0 if that is not a local class, (N,)."""
    index = problem.targets.index
    assert index is not None
    classes = len(problem.weight) // projection.rows_per_class
    local = index - problem.first_class
    if classes == 0:
        return working(problem.input).new_zeros(len(problem.input))
    inside = (local >= 0) & (local < classes)
    local = local.clamp(0, classes - 1)
    rows = problem.weight.view(classes, projection.rows_per_class, -1)[local]
    bias = None if problem.bias is None else problem.bias[local]
    return torch.where(inside, projection.paired_scores(problem.input, rows, bias), 0)


@without_autocast
def states(loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> Tensor:
    """The state of each row over the local classes, (fields, N)."""
    parts = [
        _block_state(loss, projection, block, _part(target_score, start, stop))
        for start, stop, block in row_blocks(problem)
    ]
    return torch.cat(parts, dim=1) if parts else empty_state(loss.fields, working(problem.input), 0)


@without_autocast
def gradients(
    loss: RowLoss,
    projection: Projection,
    problem: Problem,
    target_score: Tensor | None,
    state: Tensor,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> Gradients:
    """Σ upstream · ∂outputs with respect to input, weight and bias (``wanted``: which); recomputes the scores.

    ``state`` (fields, N) is the state over all classes of all shards; ``upstream`` (outputs, N).
    """
    blocks = list(row_blocks(problem))
    total = _Total(projection, problem, wanted, whole=len(blocks) == 1)
    for start, stop, block in blocks:
        own = _part(target_score, start, stop)
        for tile, first, last in class_tiles(projection, block, own):
            scores, saved = tile_scores(projection, block, first, last)
            slope = loss.score_gradient(scores, state[:, start:stop], tile, upstream[:, start:stop])
            total.add(slope, saved, start, stop, first, last)
    return total.gradients()


@without_autocast
def states_and_gradients(
    loss: RowLoss,
    projection: Projection,
    problem: Problem,
    target_score: Tensor | None,
    upstream: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Gradients]:
    """`states` and `gradients` for a problem with all classes; scores that can be kept are computed once."""
    rows, classes = len(problem.input), len(problem.weight) // projection.rows_per_class
    fit = STORED_SCORES // max(1, classes * projection.rows_per_class)
    if fit < min(rows, LEAST_STORED_ROWS) or rows == 0:
        state = states(loss, projection, problem, target_score)
        return state, gradients(loss, projection, problem, target_score, state, upstream, wanted)
    total = _Total(projection, problem, wanted, whole=fit >= rows)
    parts = []
    for start in range(0, rows, fit):
        stop = min(start + fit, rows)
        block, own = problem.rows(start, stop), _part(target_score, start, stop)
        kept = []
        state = empty_state(loss.fields, working(problem.input), stop - start)
        for tile, first, last in class_tiles(projection, block, own):
            scores, saved = tile_scores(projection, block, first, last)
            state = merged(loss.fields, state, loss.tile_state(scores, tile))
            kept.append((tile, first, last, scores, saved))
        for tile, first, last, scores, saved in kept:
            slope = loss.score_gradient(scores, state, tile, upstream[:, start:stop])
            total.add(slope, saved, start, stop, first, last)
        parts.append(state)
    return torch.cat(parts, dim=1), total.gradients()


class _Total:
    """Sums of the tiles' gradients, in float32 or float64.

    If all rows are in one block (``whole``), the gradient of each row of W is one summand and is kept in W's own type.
    """

    def __init__(self, projection: Projection, problem: Problem, wanted: Sequence[bool], *, whole: bool) -> None:
        self.projection, self.problem = projection, problem
        self.wanted = wanted
        input, weight, bias = problem.input, problem.weight, problem.bias
        long = accumulation_type(input.dtype)
        once = input.dtype if whole else long
        self.input = torch.zeros_like(input, dtype=long) if wanted[0] else None
        self.weight = torch.zeros_like(weight, dtype=once) if wanted[1] else None
        self.bias = torch.zeros_like(bias, dtype=once) if wanted[2] and bias is not None else None

    def add(self, slope: Tensor, saved: Tensor | None, start: int, stop: int, first: int, last: int) -> None:
        """Add the gradients of the tile with rows start … stop − 1 and local classes first … last − 1."""
        each = self.projection.rows_per_class
        weight = self.problem.weight[first * each : last * each]
        part: TileGradients = self.projection.gradients(
            slope, self.problem.input[start:stop], weight, saved, self.wanted
        )
        if self.input is not None and part.input is not None:
            self.input[start:stop] += part.input
        if self.weight is not None and part.weight is not None:
            self.weight[first * each : last * each] += part.weight
        if self.bias is not None and part.bias is not None:
            self.bias[first:last] += part.bias

    def gradients(self) -> Gradients:
        """The sums, rounded once to the types of input, weight and bias."""
        dtype = self.problem.input.dtype
        input, weight, bias = (None if g is None else g.to(dtype) for g in (self.input, self.weight, self.bias))
        return Gradients(input, weight, bias)


def _block_state(loss: RowLoss, projection: Projection, block: Problem, target_score: Tensor | None) -> Tensor:
    state = empty_state(loss.fields, working(block.input), len(block.input))
    for tile, first, last in class_tiles(projection, block, target_score):
        scores, _ = tile_scores(projection, block, first, last)
        state = merged(loss.fields, state, loss.tile_state(scores, tile))
    return state


def tile_scores(projection: Projection, problem: Problem, first: int, last: int) -> tuple[Tensor, Tensor | None]:
    """The scores of the local classes first … last − 1, and what the projection saves for the gradient."""
    each = projection.rows_per_class
    bias = None if problem.bias is None else problem.bias[first:last]
    return projection.scores(problem.input, problem.weight[first * each : last * each], bias)


def row_blocks(problem: Problem) -> Iterator[tuple[int, int, Problem]]:
    """Blocks of rows so small that a tile of `LEAST_TILE_CLASSES` classes has no more than `TILE_SCORES`."""
    rows = len(problem.input)
    step = max(1, TILE_SCORES // LEAST_TILE_CLASSES)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield start, stop, problem.rows(start, stop)


def class_tiles(projection: Projection, block: Problem, target_score: Tensor | None) -> Iterator[tuple[Tile, int, int]]:
    """Tiles of a block of rows, each with its first local class, and one past its last."""
    each = projection.rows_per_class
    classes = len(block.weight) // each
    # A block of few rows gets no more classes: the gradient of the rows of W, classes × D, is a temporary too.
    step = max(1, TILE_SCORES // (max(LEAST_TILE_CLASSES, len(block.input)) * each))
    for first in range(0, classes, step):
        last = min(first + step, classes)
        number = block.first_class + first
        yield Tile(block.targets, number, last - first, block.first_class, target_score), first, last


def _part(vector: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if vector is None else vector[start:stop]
