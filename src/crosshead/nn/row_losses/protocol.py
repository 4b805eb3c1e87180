"""What one row of scores costs, taken in over tiles of classes.

A row loss never sees all scores of a row at once. It condenses a tile of classes to a *state*, a few numbers a row;
states of different tiles merge by fixed rules, field by field, and so do states of different shards of the classes.
From the merged state it gives the loss, and, tile by tile again, the gradient with respect to the scores. Nothing
outside a row loss asks which loss it is.
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
    """A sum of terms which all carry the factor exp(−m), m being the field before it, of rule MAX."""
    FIRST_AT_MAX = "first_at_max"
    """The class that attains the field before it, of rule MAX; of several the one with the smallest number."""


def merged(fields: tuple[Merge, ...], first: Tensor, second: Tensor) -> Tensor:
    """The state of two tiles (or shards) together, from that of each, all (fields, N)."""
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
    """The state of no classes at all, which merges with any other as if it were not there, (fields, N)."""
    start = {Merge.SUM: 0.0, Merge.MAX: -torch.inf, Merge.SUM_AT_MAX: 0.0, Merge.FIRST_AT_MAX: torch.inf}
    out = like.new_empty((len(fields), rows))
    for row, rule in enumerate(fields):
        out[row] = start[rule]
    return out


def finite_shift(largest: Tensor) -> Tensor:
    """What to subtract before exp: the largest score, 0 where all scores of a row are −inf."""
    return torch.where(largest == -torch.inf, torch.zeros_like(largest), largest)


@dataclass(frozen=True)
class Targets:
    """What the rows should have been, and the weights that belong to them.

    * ``index`` (N,), the class of each row in the numbering of all classes; a number of no class of a shard (−1, or a
      class of another shard) matches no column. None where ``dense`` is given.
    * ``dense`` (N, classes here), probabilities, yes-or-no answers or any numbers.
    * ``classes``, how many there are in all shards together.
    * ``class_weight``, ``positive_weight`` (classes here,).
    * ``parameters`` (k, N), what a loss wants to know of each row (a margin of its own, say).
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
    """The classes ``first`` … ``first + size − 1`` (in the numbering of all classes), and the rows' targets there.

    ``offset`` is the number of the first class of this shard: ``targets.dense`` and the class weights begin there.
    """

    targets: Targets
    first: int
    size: int
    offset: int = 0
    target_score: Tensor | None = None

    @property
    def has_index(self) -> bool:
        """Whether each row has one class, rather than a row of numbers."""
        return self.targets.index is not None

    @cached_property
    def inside(self) -> Tensor:
        """Whether the row's class is one of the tile, (N,)."""
        assert self.targets.index is not None
        return (self.targets.index >= self.first) & (self.targets.index < self.first + self.size)

    @cached_property
    def column(self) -> Tensor:
        """The column of the row's class, or any valid one where it is not `inside`, (N, 1)."""
        assert self.targets.index is not None
        return (self.targets.index - self.first).clamp(0, self.size - 1)[:, None]

    def at_target(self, scores: Tensor) -> Tensor:
        """The column of each row's class, 0 where it is not in the tile, (N,)."""
        return torch.where(self.inside, scores.gather(1, self.column)[:, 0], 0)

    def add_at_target(self, scores: Tensor, amount: Tensor) -> None:
        """Add ``amount`` (N,) in place, in the column of each row's class where the tile has it."""
        scores.scatter_add_(1, self.column, torch.where(self.inside, amount, 0)[:, None])

    def set_at_target(self, scores: Tensor, value: Tensor) -> None:
        """Set ``value`` (N,) in place, in the column of each row's class where the tile has it."""
        own = scores.gather(1, self.column)
        scores.scatter_(1, self.column, torch.where(self.inside[:, None], value[:, None], own))

    def dense(self, like: Tensor) -> Tensor:
        """The targets' columns of this tile, (N, T), in the type of ``like``."""
        assert self.targets.dense is not None
        start = self.first - self.offset
        return self.targets.dense[:, start : start + self.size].to(like.dtype)

    def class_weight(self, like: Tensor) -> Tensor | None:
        """The weights of this tile's classes, (T,)."""
        return self._slice(self.targets.class_weight, like)

    def positive_weight(self, like: Tensor) -> Tensor | None:
        """The weights of yes-answers of this tile's classes, (T,)."""
        return self._slice(self.targets.positive_weight, like)

    def _slice(self, vector: Tensor | None, like: Tensor) -> Tensor | None:
        start = self.first - self.offset
        return None if vector is None else vector[start : start + self.size].to(like.dtype)


def one_hot(scores: Tensor, tile: Tile) -> Tensor:
    """1 in the column of each row's class and 0 elsewhere, (N, T)."""
    row = torch.zeros_like(scores)
    tile.add_at_target(row, torch.ones_like(scores[:, 0]))
    return row


def known(target_score: Tensor | None) -> Tensor:
    """The target score, which a backend owes to a loss that `needs_target_score`."""
    if target_score is None:
        raise ValueError("this row loss needs the target scores: compute them first, with target_scores")
    return target_score


class RowLoss(Protocol):
    """The protocol of a loss ℓ(z, y) of one row, over tiles of scores (N, T).

    Scores, states and gradients are float32, or float64 where the scores are. A row loss is a frozen dataclass whose
    fields are numbers: ``kernel`` names it and gives them, `build` makes it again from that.
    """

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key, which is also the native kernel's name, and the loss's parameters."""
        ...

    @property
    def fields(self) -> tuple[Merge, ...]:
        """How each field of the state merges."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers a row has: 1, the loss; further ones are by-products such as the log-sum-exp."""
        ...

    @property
    def needs_target_score(self) -> bool:
        """Whether the score of each row's class must be known before the first tile."""
        ...

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """The state of this tile's classes alone, (fields, N)."""
        ...

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss of each row, and its by-products, from the state of all classes, (outputs, N)."""
        ...

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """Σ_o upstream_o · ∂output_o/∂z of a tile, (N, T), from the state of all classes; ``upstream`` (outputs, N).

        May overwrite ``scores``. The column of the row's class has the gradient through its target score too.
        """
        ...


@runtime_checkable
class Charged(Protocol):
    """A softmax loss that replaces the score of the row's own class by another: a margin.

    It is the softmax loss of ``scale`` times the scores, but for the own class's.
    """

    @property
    def scale(self) -> float:
        """What multiplies all scores."""
        ...

    @property
    def label_smoothing(self) -> float:
        """As in `Softmax`."""
        ...

    def charged(self, own: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """From the own class's score (N,): the one that stands for it, before scaling too, and its derivative."""
        ...
