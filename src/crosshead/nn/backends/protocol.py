"""What a backend computes: the states and gradients of a row loss, from features and W or from given scores.

A backend is a module with the functions of `Backend` or of `ScoreBackend`, and ``supports``, which says whether it can
compute a problem. The reference implementations, `crosshead.nn.backends.tiles` and `crosshead.nn.backends.scores`,
compute every problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from torch import Tensor

from crosshead.nn.backends.projections import Projection
from crosshead.nn.row_losses.protocol import RowLoss, Targets


@dataclass(frozen=True)
class Problem:
    """Features, the rows of W of the classes of this process, and the targets.

    ``input`` (N, D); ``weight`` (local classes × rows per class, D); ``bias`` (local classes,) or None; all of one type
    and on one device. ``first_class`` is the number of the first local class in the numbering of ``targets.index``.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Targets
    first_class: int = 0

    def rows(self, start: int, stop: int) -> Problem:
        """The same for the rows start ≤ i < stop."""
        return replace(self, input=self.input[start:stop], targets=self.targets.rows(start, stop))


class Gradients(NamedTuple):
    """Gradients of input (N, D), weight and bias, each in the type of that tensor; None if not wanted."""

    input: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


class Backend(Protocol):
    """The four functions for a linear layer and its loss.

    If the classes are spread over processes, the caller runs the functions one after the other and merges target scores
    (by sum) and states (by `crosshead.nn.row_losses.merged`) over processes in between.
    """

    def target_scores(self, projection: Projection, problem: Problem) -> Tensor:
        """The score of each row for its own class, 0 if that is not a local class, (N,)."""
        ...

    def states(self, loss: RowLoss, projection: Projection, problem: Problem, target_score: Tensor | None) -> Tensor:
        """The state of each row over the local classes, (fields, N)."""
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
        """Σ upstream · ∂outputs with respect to input, weight and bias (``wanted``: which); recomputes the scores.

        ``state`` (fields, N) is the state over all classes of all processes; ``upstream`` (outputs, N).
        """
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
        """`states` and `gradients` together, for a problem that has all classes."""
        ...


class ScoreBackend(Protocol):
    """The three functions for given scores (N, C)."""

    def states(self, loss: RowLoss, scores: Tensor, targets: Targets) -> Tensor:
        """The state of each row, (fields, N)."""
        ...

    def gradient(self, loss: RowLoss, scores: Tensor, targets: Targets, state: Tensor, upstream: Tensor) -> Tensor:
        """Σ upstream · ∂outputs/∂scores, (N, C), in the scores' type; ``upstream`` (outputs, N)."""
        ...

    def states_and_gradient(
        self, loss: RowLoss, scores: Tensor, targets: Targets, upstream: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both, in one pass over the scores."""
        ...
