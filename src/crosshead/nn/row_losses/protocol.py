"""The protocol of a row loss: the loss of one row of scores, computed over tiles of classes.

A row loss never sees all scores of a row at once. It reduces a tile of classes to a *state*, a few numbers a row. The
states of tiles merge by fixed rules, field by field, and so do those of shards of the classes. From the merged state
it computes the loss, and, tile by tile again, the gradient with respect to the scores. No code outside a row loss asks
which loss it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Merge(Enum):
    """How one field of a state merges across tiles and shards."""

    SUM = "sum"
    MAX = "max"
    SUM_AT_MAX = "sum_at_max"
    """A sum of terms with the factor exp(−m); m is the field before it, whose rule is MAX."""
    FIRST_AT_MAX = "first_at_max"
    """The class that attains the field before it, whose rule is MAX; of several the one with the smallest number."""


def merged(fields: tuple[Merge, ...], first: Tensor, second: Tensor) -> Tensor:
    """The state of two tiles (or shards) together, from the state of each, all (fields, N)."""
    out = torch.empty_like(first)
    for row, rule in enumerate(fields):
        a, b = first[row], second[row]
        if rule is Merge.SUM:
            torch.add(a, b, out=out[row])
        elif rule is Merge.MAX:
            torch.maximum(a, b, out=out[row])
        elif rule is Merge.SUM_AT_MAX:
            shift = finite_shift(out[row - 1])
            out[row] = a * torch.exp(first[row - 1] - shift) + b * torch.exp(second[row - 1] - shift)
        else:
            top, other = first[row - 1], second[row - 1]
            out[row] = torch.where(top == other, torch.minimum(a, b), torch.where(top > other, a, b))
    return out


def empty_state(fields: tuple[Merge, ...], like: Tensor, rows: int) -> Tensor:
    """The state of no classes, (fields, N): merged with any other state it gives that other state."""
    start = {Merge.SUM: 0.0, Merge.MAX: -torch.inf, Merge.SUM_AT_MAX: 0.0, Merge.FIRST_AT_MAX: torch.inf}
    out = like.new_empty((len(fields), rows))
    for row, rule in enumerate(fields):
        out[row] = start[rule]
    return out


def finite_shift(largest: Tensor) -> Tensor:
    """What to subtract before exp: the largest score, or 0 if all scores of a row are −inf."""
    return torch.where(largest == -torch.inf, torch.zeros_like(largest), largest)


@dataclass(frozen=True)
class Targets:
    """The targets of the rows, and the class weights.

    * ``classes``: the number of classes of all shards together
    * ``index`` (N,): the class of each row, in the numbering of all classes; −1 (ignored) and classes of other shards
      match no column; None if ``dense`` is given
    * ``dense`` (N, local classes): probabilities, binary targets or any numbers
    * ``class_weight``, ``positive_weight`` (local classes,)
    * ``parameters`` (k, N): parameters of each row, for instance its own margin
    """

    classes: int
    index: Tensor | None = None
    dense: Tensor | None = None
    class_weight: Tensor | None = None
    positive_weight: Tensor | None = None
    parameters: Tensor | None = None

    def rows(self, start: int, stop: int) -> Targets:
        """The same for the rows start ≤ i < stop."""
        return replace(
            self,
            index=None if self.index is None else self.index[start:stop],
            dense=None if self.dense is None else self.dense[start:stop],
            parameters=None if self.parameters is None else self.parameters[:, start:stop],
        )


@dataclass(frozen=True)
class Tile:
    """The classes ``first`` … ``first + size − 1``, in the numbering of all classes, and the targets for them.

    ``offset`` is the number of the first class of this shard, with which ``targets.dense`` and class weights begin.
    ``target_score`` (N,) is the score of each row for its own class, if the loss needs it.
    """

    targets: Targets
    first: int
    size: int
    offset: int = 0
    target_score: Tensor | None = None

    @property
    def has_index(self) -> bool:
        """Whether the target of each row is one class, rather than a number for each class."""
        return self.targets.index is not None

    @cached_property
    def inside(self) -> Tensor:
        """Whether the row's class is in the tile, (N,)."""
        assert self.targets.index is not None
        return (self.targets.index >= self.first) & (self.targets.index < self.first + self.size)

    @cached_property
    def column(self) -> Tensor:
        """The column of the row's class in the tile, or any valid column if it is not `inside`, (N, 1)."""
        assert self.targets.index is not None
        return (self.targets.index - self.first).clamp(0, self.size - 1)[:, None]

    def at_target(self, scores: Tensor) -> Tensor:
        """The score of each row's class, or 0 if that class is not in the tile, (N,)."""
        return torch.where(self.inside, scores.gather(1, self.column)[:, 0], 0)

    def add_at_target(self, scores: Tensor, amount: Tensor) -> None:
        """Add ``amount`` (N,) in place, in the column of each row's class if it is in the tile."""
        scores.scatter_add_(1, self.column, torch.where(self.inside, amount, 0)[:, None])

    def set_at_target(self, scores: Tensor, value: Tensor) -> None:
        """Set ``value`` (N,) in place, in the column of each row's class if it is in the tile."""
        own = scores.gather(1, self.column)
        scores.scatter_(1, self.column, torch.where(self.inside[:, None], value[:, None], own))

    def dense(self, like: Tensor) -> Tensor:
        """The dense targets of this tile, (N, T), in the type of ``like``."""
        assert self.targets.dense is not None
        start = self.first - self.offset
        return self.targets.dense[:, start : start + self.size].to(like.dtype)

    def class_weight(self, like: Tensor) -> Tensor | None:
        """The weights of this tile's classes, (T,)."""
        return self._slice(self.targets.class_weight, like)

    def positive_weight(self, like: Tensor) -> Tensor | None:
        """The weights of positive targets of this tile's classes, (T,)."""
        return self._slice(self.targets.positive_weight, like)

    def _slice(self, vector: Tensor | None, like: Tensor) -> Tensor | None:
        start = self.first - self.offset
        return None if vector is None else vector[start : start + self.size].to(like.dtype)


def one_hot(scores: Tensor, tile: Tile) -> Tensor:
    """1 in the column of each row's class and 0 elsewhere, (N, T)."""
    row = torch.zeros_like(scores)
    tile.add_at_target(row, torch.ones_like(scores[:, 0]))
    return row


def required(target_score: Tensor | None) -> Tensor:
    """The target score; ValueError if there is none, though the loss `needs_target_score`."""
    if target_score is None:
        raise ValueError("this row loss needs the target scores: compute them first, with target_scores")
    return target_score


class RowLoss(Protocol):
    """The protocol of a loss ℓ(z, y) of one row, over tiles of scores (N, T).

    Scores, states and gradients are float32, or float64 if the scores are. A row loss is a frozen dataclass whose
    fields are numbers: ``kernel`` is its name with these numbers, from which `build` makes it again.
    """

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The key in the registry, and the parameters."""
        ...

    @property
    def fields(self) -> tuple[Merge, ...]:
        """How each field of the state merges."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers a row gives: the loss, and possibly further ones such as the log-sum-exp."""
        ...

    @property
    def needs_target_score(self) -> bool:
        """Whether the score of each row's class must be known before the first tile."""
        ...

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """The state of this tile's classes, (fields, N)."""
        ...

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss of each row and any further outputs, from the state of all classes, (outputs, N)."""
        ...

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """Σ_o upstream_o · ∂output_o/∂z of a tile, (N, T), from the state of all classes; ``upstream`` (outputs, N).

        May overwrite ``scores``. The column of the row's class includes the gradient through the target score.
        """
        ...


@runtime_checkable
class MarginLoss(Protocol):
    """The protocol of a softmax loss with a margin, which changes the score of the row's own class.

    It is the softmax loss of ``scale`` times the scores, in which the own class has its score with the margin.
    """

    @property
    def scale(self) -> float:
        """The factor of all scores."""
        ...

    @property
    def label_smoothing(self) -> float:
        """As in `Softmax`."""
        ...

    def with_margin(self, own: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The score of the own class (N,) with its margin, before scaling, and the derivative with respect to it."""
        ...
