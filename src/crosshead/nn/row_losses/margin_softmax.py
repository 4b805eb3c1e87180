"""Softmax loss of a row of scaled cosines with a margin for the row's own class, over tiles of classes."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import final

from torch import Tensor

from crosshead.nn.row_losses.angular_margin import AngularMargin, MarginGradient
from crosshead.nn.row_losses.protocol import Merge, Targets, Tile
from crosshead.nn.row_losses.softmax import Softmax


@final
@dataclass(frozen=True)
class MarginSoftmax:
    """Softmax loss of s·cos θ_c for c ≠ y and s·ψ(cos θ_y), in nats.

    ψ is that of `AngularMargin` with m₁, m₂, m₃; s is ``scale``. The scores given to it are cosines. If rows have their
    own m₂ and m₃, these are ``Targets.parameters``, (2, N). ``easy_margin`` and ``insightface`` (the gradient of that
    name) are 0 or 1. Label smoothing, too, uses the score with the margin for the target's class.

    The state is that of `Softmax`.
    """

    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    scale: float = 64.0
    easy_margin: float = 0.0
    insightface: float = 0.0
    label_smoothing: float = 0.0

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key and the parameters, in the order of the fields."""
        return "margin_softmax", astuple(self)

    @property
    def fields(self) -> tuple[Merge, ...]:
        """Those of `Softmax`."""
        return self._softmax.fields

    @property
    def outputs(self) -> int:
        """The loss."""
        return 1

    @property
    def needs_target_score(self) -> bool:
        """Never: its tile has it."""
        return False

    @property
    def margin(self) -> AngularMargin:
        """ψ."""
        gradient: MarginGradient = "insightface" if self.insightface else "exact"
        return AngularMargin(self.m1, self.m2, self.m3, bool(self.easy_margin), gradient)

    @property
    def _softmax(self) -> Softmax:
        return Softmax(self.label_smoothing)

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """(max z, Σ exp(z − max z), Σ q w z, Σ q w) over the tile, (4, N); z are scaled scores with the margin."""
        return self._softmax.tile_state(self._scaled(scores, tile)[0], tile)

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss in nats, (1, N)."""
        return self._softmax.value(state, targets, target_score)

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """S times that of `Softmax`, (N, T), and in the target's column times ∂ψ/∂cos θ."""
        z, slope = self._scaled(scores, tile)
        gradient = self._softmax.score_gradient(z, state, tile, upstream * self.scale)
        tile.set_at_target(gradient, tile.at_target(gradient) * slope)
        return gradient

    def with_margin(self, own: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """ψ and ∂ψ/∂cos θ, (N,), from the cosine with the row's own class (N,)."""
        margins = targets.parameters
        m2, m3 = (None, None) if margins is None else margins.to(own.dtype).unbind()
        return self.margin.value_and_slope(own, m2, m3)

    def _scaled(self, cosines: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """s·cos θ with s·ψ in the target's column, a new tensor, and ∂ψ/∂cos θ (N,)."""
        value, slope = self.with_margin(tile.at_target(cosines), tile.targets)
        z = cosines * self.scale
        tile.set_at_target(z, value * self.scale)
        return z, slope
