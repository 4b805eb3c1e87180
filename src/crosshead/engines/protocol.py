"""The protocol of engines: one pass over the data, scores in row blocks, Gram matrices, coordinate ascent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crosshead.engines.data import TrainingData
from crosshead.engines.dual_ascent import Ascent
from crosshead.engines.row_subset import RowSubset
from crosshead.losses.protocol import Array, Float, Loss, PassLoss


@dataclass(frozen=True)
class PassSums:
    """The sums that one pass over all rows computes, at weights W (C, D) and bias b (C,).

    With row weights sᵢ and residuals rᵢ = ∂ℓᵢ/∂z at zᵢ = W xᵢ + b:

    * ``loss`` = Σ sᵢ ℓ(zᵢ, yᵢ), the unsmoothed loss
    * ``surrogate`` = the same for the smoothed loss whose gradient was taken (equal to ``loss`` without smoothing)
    * ``dual`` = −Σ sᵢ ℓ*(rᵢ)
    * ``weight_gradient`` = Σ sᵢ rᵢ xᵢᵀ, shape (C, D)
    * ``bias_gradient`` = Σ sᵢ rᵢ, shape (C,)

    Examples
    --------
    >>> PassSums(1.5, 1.5, 0.0, np.zeros((2, 3)), np.zeros(2)).gradient.shape
    (8,)
    """

    loss: float
    surrogate: float
    dual: float
    weight_gradient: Float
    bias_gradient: Float

    @property
    def gradient(self) -> Float:
        """Both gradients as one vector, (C·D + C,); a view if they are adjacent in memory."""
        weight, bias = self.weight_gradient, self.bias_gradient
        whole = weight.base
        if whole is not None and whole is bias.base and whole.ndim == 1 and whole.size == weight.size + bias.size:
            return np.asarray(whole)
        return np.concatenate([weight.ravel(), bias])


@dataclass(frozen=True)
class ResidualMove:
    """How a pass updates ``residual`` r (N, C), in place, at scores zᵢ.

    rᵢ′ maximises −ℓ*(r′) + ⟨r′ − rᵢ, zᵢ⟩ − q/2·‖r′ − rᵢ‖² with q the ``curvature`` (`Loss.dual_step`). The pass
    stores rᵢ′, or with an ``anchor`` r₀ (N, C) and a ``share`` λ it stores λ(2rᵢ′ − rᵢ) + (1 − λ)r₀ᵢ.
    """

    residual: Float
    curvature: float
    anchor: Float | None = None
    share: float = 1.0


@dataclass(frozen=True)
class MovedSums:
    """The sums of a pass that updates residuals to r′ (`Engine.move_residuals`), with row weights sᵢ.

    * ``dual`` = −Σ sᵢ ℓ*(rᵢ′), NaN if a score is not finite
    * ``distance`` = Σ sᵢ ‖rᵢ′ − rᵢ‖², ``travelled`` = Σ sᵢ ‖rᵢ′ − r₀ᵢ‖² from the anchor (the same without one)
    * ``weight_gradient`` = Σ sᵢ rᵢ′ xᵢᵀ, shape (C, D); ``bias_gradient`` = Σ sᵢ rᵢ′, shape (C,)
    """

    dual: float
    distance: float
    travelled: float
    weight_gradient: Float
    bias_gradient: Float


class CoarsePasses(Protocol):
    """Approximate passes: their sums guide the solver and are never used for a certificate."""

    @property
    def resolution(self) -> float:
        """The relative difference of two values of F below which these passes may be wrong about their order."""
        ...

    def on_grid(self, weight: Float) -> Float:
        """The nearest weights that these passes represent without rounding."""
        ...

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss) -> PassSums:
        """One pass at weights on the grid."""
        ...


class Engine(Protocol):
    """Computes sums over the rows of one `TrainingData`.

    Examples
    --------
    >>> from crosshead.engines import TrainingData, make_engine
    >>> data = TrainingData(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1], dtype=np.int32), 2)
    >>> engine: Engine = make_engine("auto", data)
    >>> engine.gram(data.features, np.ones(2)).tolist()
    [[10.0, 14.0], [14.0, 20.0]]
    """

    @property
    def data(self) -> TrainingData:
        """The rows that the sums run over."""
        ...

    @property
    def name(self) -> str:
        """The engine's name and, if it has several, its instruction set."""
        ...

    @property
    def coarse(self) -> CoarsePasses | None:
        """Cheaper passes over the same rows with coarser rounding, or None."""
        ...

    def over(self, data: TrainingData) -> Engine:
        """Create the same engine over other rows, without coarse passes."""
        ...

    def inexact_over(self, data: TrainingData) -> Engine:
        """Create the same engine over other rows; its passes with ``exact=False`` may be coarse."""
        ...

    def evaluate(self, weight: Float, bias: Float, loss: PassLoss, *, exact: bool = True) -> PassSums:
        """Run one pass over the data, in float64 if ``exact``, else in the dtype of the features."""
        ...

    def move_residuals(
        self, move: ResidualMove, weight: Float, bias: Float, loss: Loss, *, exact: bool = True
    ) -> MovedSums:
        """Update residuals at the scores of W (C, D) and b (C,) in one pass, and sum over the results."""
        ...

    def scores(self, weight: Float, bias: Float, first: int, last: int, *, exact: bool = False) -> Array:
        """Scores of rows first … last − 1, (last − first, C); computed in float64 if ``exact``."""
        ...

    def sum_scores(self, scores: Array, bias: Float, loss: PassLoss) -> PassSums:
        """Compute the sums at scores X Wᵀ (N, C) + b, in the dtype of ``scores``; the weight gradient is left empty.

        It costs about 1/D of a pass.
        """
        ...

    def gram(self, features: Array | RowSubset, row_weight: Float) -> Float:
        """Σ vᵢ xᵢ xᵢᵀ over the rows of dense ``features`` with weights v, (D, D)."""
        ...

    @property
    def fast_sweeps(self) -> bool:
        """Whether `ascend` is fast."""
        ...

    def ascend(self, ascent: Ascent, sweeps: int) -> None:
        """Run sweeps of dual coordinate ascent over the rows, each in a new order, on one thread."""
        ...
