"""The best classes of each row, computed tile by tile: memory does not grow with rows × classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crosshead.nn.backends.products import working
from crosshead.nn.backends.projections import Projection
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.backends.tiles import class_tiles, row_blocks, tile_scores
from crosshead.nn.fused.sharding import SHARDED, is_sharded
from crosshead.nn.row_losses import Targets
from crosshead.nn.row_losses.protocol import finite_shift


class Prediction(NamedTuple):
    """The k best classes of each row, best first: ``classes``, ``scores`` and ``confidence``, each (..., k).

    ``confidence`` is the probability of the class if the loss has a probability model, else None: softmax over all
    classes, or for "binary" the sigmoid of the score.

    Examples
    --------
    >>> from crosshead.nn import ClassificationHead
    >>> head = ClassificationHead.from_linear(torch.nn.Linear(3, 3))
    >>> with torch.no_grad():
    ...     _ = head.weight.copy_(torch.eye(3)), head.bias.zero_()
    >>> best = head.predict(torch.tensor([[0.0, 2.0, 1.0]]), k=1)
    >>> best.classes.tolist(), best.scores.tolist(), round(best.confidence.item(), 3)
    ([[1]], [[2.0]], 0.665)
    """

    classes: Tensor
    scores: Tensor
    confidence: Tensor | None


class Best(NamedTuple):
    """``classes`` and ``scores`` (N, k), and the log-sum-exp of all scores (N,)."""

    classes: Tensor
    scores: Tensor
    lse: Tensor


@torch.no_grad()
def best_classes(
    projection: Projection, input: Tensor, weight: Tensor, bias: Tensor | None, k: int, softcap: float = 0.0
) -> Best:
    """The k classes with the highest scores for features (N, D), and log Σ exp of all scores.

    Of equal scores any may come first. With a ``softcap`` κ > 0 scores are κ·tanh(z/κ).
    """
    if is_sharded(weight):
        return Best(*SHARDED.best_classes(projection, input, weight, bias, k, softcap))
    classes = len(weight) // projection.rows_per_class
    problem = Problem(input, weight, bias, Targets(classes))
    parts = [_best_of_block(projection, block, min(k, classes), softcap) for _, _, block in row_blocks(problem)]
    if not parts:
        empty = working(input).new_empty((0, min(k, classes)))
        return Best(empty.to(torch.int64), empty, working(input).new_empty(0))
    return Best(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _best_of_block(projection: Projection, block: Problem, k: int, softcap: float) -> Best:
    input = working(block.input)
    rows = len(input)
    classes = torch.empty((rows, 0), dtype=torch.int64, device=input.device)
    scores = input.new_empty((rows, 0))
    largest, power = input.new_full((rows,), -torch.inf), input.new_zeros(rows)
    for _, first, last in class_tiles(projection, block, None):
        z, _ = tile_scores(projection, block, first, last)
        if softcap:
            z = torch.tanh(z / softcap) * softcap
        peak = torch.maximum(largest, z.amax(dim=1))
        shift = finite_shift(peak)
        power = power * torch.exp(largest - shift) + torch.exp(z - shift[:, None]).sum(dim=1)
        largest = peak
        top, place = z.topk(min(k, last - first), dim=1)
        scores, classes = torch.cat([scores, top], dim=1), torch.cat([classes, place + first], dim=1)
        scores, order = scores.topk(min(k, scores.shape[1]), dim=1)
        classes = classes.gather(1, order)
    return Best(classes, scores, largest + torch.log(power))
