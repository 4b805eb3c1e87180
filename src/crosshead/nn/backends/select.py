"""Which engine computes a problem: kernels for its device where they can, the tiling in torch operations elsewhere.

An engine is a module with the four functions of `crosshead.nn.backends.tiles`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

from torch import Tensor

from crosshead.nn.backends import native_scores, native_tiles, tiles
from crosshead.nn.backends import scores as given
from crosshead.nn.backends.tiles import Gradients, Problem
from crosshead.nn.fused.projections import Projection
from crosshead.nn.row_losses.protocol import RowLoss, Targets


class Engine(Protocol):
    """The four functions of an engine; see `crosshead.nn.backends.tiles`."""

    def target_scores(self, projection: Projection, problem: Problem) -> Tensor:
        """The score of each row for its own class."""
        ...

    def states(self, loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> Tensor:
        """The state of each row over the classes here."""
        ...

    def gradients(
        self,
        loss: RowLoss,
        projection: Projection,
        problem: Problem,
        target_score: Tensor | None,
        state: Tensor,
        upstream: Tensor,
        wanted: Sequence[bool],
    ) -> Gradients:
        """The gradients, scores computed again."""
        ...

    def states_and_gradients(
        self,
        loss: RowLoss,
        projection: Projection,
        problem: Problem,
        target_score: Tensor | None,
        upstream: Tensor,
        wanted: Sequence[bool],
    ) -> tuple[Tensor, Gradients]:
        """Both at once."""
        ...


def engine_for(loss: RowLoss, projection: Projection, problem: Problem) -> Engine:
    """The engine for this loss, projection and problem."""
    if problem.input.is_cuda and has_triton():
        from crosshead.nn.backends import triton_tiles

        if triton_tiles.supports(loss, projection, problem):
            return triton_tiles
    return native_tiles if native_tiles.supports(loss, projection, problem) else tiles


@lru_cache(maxsize=1)
def has_triton() -> bool:
    """Whether Triton, which comes with PyTorch's builds for CUDA, is there, and CROSSHEAD_TRITON=0 is not set."""
    return os.environ.get("CROSSHEAD_TRITON") != "0" and find_spec("triton") is not None


class ScoreEngine(Protocol):
    """The three functions of an engine for given scores; see `crosshead.nn.backends.scores`."""

    def states(self, loss: RowLoss, scores: Tensor, targets: Targets) -> Tensor:
        """The state of each row."""
        ...

    def gradient(self, loss: RowLoss, scores: Tensor, targets: Targets, state: Tensor, upstream: Tensor) -> Tensor:
        """The gradient with respect to the scores."""
        ...

    def states_and_gradient(
        self, loss: RowLoss, scores: Tensor, targets: Targets, upstream: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both, in one pass."""
        ...


def score_engine_for(loss: RowLoss, scores: Tensor, targets: Targets) -> ScoreEngine:
    """The engine for this loss on these scores."""
    return native_scores if native_scores.supports(loss, scores, targets) else given
