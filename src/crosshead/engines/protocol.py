"""What every engine can do: one pass over the data, scores in row blocks, and Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.row_subset import ChosenRows
from crosshead.losses.protocol import Array, Float, Loss, PassLoss


@dataclass(frozen=True)
class PassSums:
    """The sums that one pass over all rows yields, at weights W (C, D) and bias b (C,).

    With row weights sᵢ and residuals rᵢ = ∂ℓᵢ/∂z at zᵢ = W xᵢ + b:

    * ``loss`` = Σ sᵢ ℓ(zᵢ, yᵢ), the unsmoothed loss
    * ``surrogate`` = the same of the smoothed loss whose gradient was taken (equal to ``loss`` if none)
    * ``dual`` = −Σ sᵢ ℓ*(rᵢ)
    * ``weight_gradient`` = Σ sᵢ rᵢ xᵢᵀ, shape (C, D)
    * ``bias_gradient`` = Σ sᵢ rᵢ, shape (C,)
    """

    loss: float
    surrogate: float
    dual: float
    weight_gradient: Float
    bias_gradient: Float

    @property
    def gradient(self) -> Float:
        """Both gradients as one vector, (C·D + C,): the memory itself where they lie in it side by side."""
        weight, bias = self.weight_gradient, self.bias_gradient
        whole = weight.base
        if whole is not None and whole is bias.base and whole.ndim == 1 and whole.size == weight.size + bias.size:
            return np.asarray(whole)
        return np.concatenate([weight.ravel(), bias])


@dataclass(frozen=True)
class ResidualMove:
    """How a pass moves ``residual`` r (N, C), in place, at scores zᵢ.

    rᵢ′ maximises −ℓ*(r′) + ⟨r′ − rᵢ, zᵢ⟩ − q/2·‖r′ − rᵢ‖² with q the ``curvature`` (`Loss.dual_step`). What is kept is
    rᵢ′, with an ``anchor`` r₀ (N, C) and a ``share`` λ it is λ(2rᵢ′ − rᵢ) + (1 − λ)r₀ᵢ.
    """

    residual: Float
    curvature: float
    anchor: Float | None = None
    share: float = 1.0


@dataclass(frozen=True)
class MovedSums:
    """The sums of a pass that moves residuals, with the r′ they move to (`Engine.move_residuals`) and row weights sᵢ.

    * ``dual`` = −Σ sᵢ ℓ*(rᵢ′), NaN where a score is no number
    * ``distance`` = Σ sᵢ ‖rᵢ′ − rᵢ‖², ``travelled`` = Σ sᵢ ‖rᵢ′ − r₀ᵢ‖² from the anchor (the same without one)
    * ``weight_gradient`` = Σ sᵢ rᵢ′ xᵢᵀ, shape (C, D); ``bias_gradient`` = Σ sᵢ rᵢ′, shape (C,)
    """

    dual: float
    distance: float
    travelled: float
    weight_gradient: Float
    bias_gradient: Float


class CoarsePasses(Protocol):
    """Passes whose numbers steer and certify nothing."""

    @property
    def resolution(self) -> float:
        """The relative difference of two values of F below which these passes may mislead."""
        ...

    def on_grid(self, weight: Float) -> Float:
        """The nearest weights at which a pass is evaluated exactly as given."""
        ...

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss) -> PassSums:
        """One pass at weights on the grid."""
        ...


class Engine(Protocol):
    """Computes sums over the rows of one `TrainingData`."""

    @property
    def data(self) -> TrainingData:
        """The rows the sums run over."""
        ...

    @property
    def name(self) -> str:
        """The engine's name and, where it has several, its instruction set."""
        ...

    @property
    def coarse(self) -> CoarsePasses | None:
        """Cheaper, more coarsely rounded passes over the same rows, if there are any."""
        ...

    def over(self, data: TrainingData) -> Engine:
        """The same engine over other rows, without coarse passes."""
        ...

    def steering_over(self, data: TrainingData) -> Engine:
        """The same engine over other rows, whose passes that need not be exact steer and certify nothing."""
        ...

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss, *, exact: bool = True) -> PassSums:
        """One pass over the data; ``exact`` computes in float64, otherwise in the features' own type."""
        ...

    def move_residuals(
        self, move: ResidualMove, weight: Float, bias: Float, loss: Loss, *, exact: bool = True
    ) -> MovedSums:
        """A pass that moves residuals at the scores of W (C, D) and b (C,), and sums up what they move to."""
        ...

    def scores(self, weight: Float, bias: Float, first: int, last: int, *, exact: bool = False) -> Array:
        """Scores of rows first … last − 1, (last − first, C); ``exact`` ones are computed in float64."""
        ...

    def sum_scores(self, scores: Array, bias: Float, loss: PassLoss) -> PassSums:
        """The sums at given X Wᵀ, the ``scores`` (N, C), + b, in the scores' type; the weights' gradient is left empty.

        It costs about a D-th of a pass.
        """
        ...

    def gram(self, features: Array | ChosenRows, row_weight: Float) -> Float:
        """Σ vᵢ xᵢ xᵢᵀ over the rows of dense ``features`` with weights v, (D, D)."""
        ...

    @property
    def ascends(self) -> bool:
        """Whether `ascend` is fast."""
        ...

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Sweeps of dual coordinate ascent over the rows, each in an order of its own, on one thread."""
        ...
