"""Angular margins: the change of the target's cosine before softmax, cos θ → cos(m₁θ + m₂) − m₃, and its derivative.

θ is the angle between a sample and its class. Values are computed from the cosine with addition theorems and Chebyshev
polynomials; only an m₁ that is not an integer needs the angle, from atan2. There is no division by zero: at cos θ = ±1
values are exact and slopes finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MarginGradient = Literal["exact", "insightface"]

MOST_TURNS = 16
"""The largest m₁. Every half turn of m₁θ costs a comparison."""

Amount = float | Tensor
"""A number for all rows, or a number for each row, (N,)."""


@final
@dataclass(frozen=True)
class AngularMargin:
    """ψ(cos θ) = cos(m₁θ + m₂) − m₃, continued so that it falls with θ all the way to π.

    * ``m1`` between 1 and 16 multiplies the angle (SphereFace) and need not be an integer; ``m2`` between 0 and π/2, in
      radians, is added to it (ArcFace); ``m3`` ≥ 0 is subtracted from the cosine (CosFace).
    * Beyond m₁θ + m₂ = π the cosine would rise again. For m₁ = 1 it continues as cos θ − m₂ sin m₂ − m₃, as in
      ArcFace's code, with a step down of cos m₂ + m₂ sin m₂ − 1 ≥ 0 at the border; for m₁ > 1 as
      (−1)ᵏ cos(m₁θ + m₂) − 2k − m₃ with k = ⌊(m₁θ + m₂)/π⌋, as in SphereFace, without a step.
    * ``easy_margin`` applies no angular margin beyond π/2, where ψ is cos θ − m₃; for m₁ = 1 it then has a step up of
      sin m₂ at π/2.
    * ``gradient`` "exact" is ∂ψ/∂cos θ = m₁ sin(m₁θ + m₂)/sin θ; "insightface" replaces it by 1, as does the training
      code of that name, which computes the margin outside automatic differentiation.

    A row may have its own margins. Its m₂ may then be negative, as AdaFace's is for samples of high quality: for angles
    below −m₂/m₁ ψ stays at 1 − m₃, with slope 0.

    At cos θ = ±1 the exact slope can be infinite. Slopes are computed with sin θ ≥ √ε (ε is the type's resolution), so
    they are at most about 1/√ε. Multiplied by ∂cos θ/∂x, whose length is sin θ, they never exceed the true gradient.

    Sources: Liu et al., SphereFace, CVPR 2017; Wang et al., CosFace, CVPR 2018; Deng et al., ArcFace, CVPR 2019; Kim,
    Jain and Liu, AdaFace, CVPR 2022.

    Examples
    --------
    >>> cosine = torch.tensor([1.0, 0.5, 0.0, -1.0], dtype=torch.float64)
    >>> value, slope = AngularMargin(m2=0.5).value_and_slope(cosine)
    >>> [round(v, 4) for v in value.tolist()]
    [0.8776, 0.0236, -0.4794, -1.2397]
    >>> round(math.cos(0.5), 4), round(math.cos(math.pi / 3 + 0.5), 4), round(-1 - 0.5 * math.sin(0.5), 4)
    (0.8776, 0.0236, -1.2397)
    """

    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    easy_margin: bool = False
    gradient: MarginGradient = "exact"

    def __post_init__(self) -> None:
        if not 1 <= self.m1 <= MOST_TURNS:
            raise ValueError(f"m1 multiplies the angle and must be between 1 and {MOST_TURNS}, not {self.m1}")
        if not 0 <= self.m2 <= math.pi / 2:
            raise ValueError(f"m2 is added to the angle and must be between 0 and π/2 radians, not {self.m2}")
        if not 0 <= self.m3 < math.inf:
            raise ValueError(f"m3 is subtracted from the cosine and must be at least 0, not {self.m3}")
        if self.gradient not in ("exact", "insightface"):
            raise ValueError(f"margin_gradient must be 'exact' or 'insightface', not {self.gradient!r}")

    def value_and_slope(
        self, cosine: Tensor, m2: Tensor | None = None, m3: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """ψ and ∂ψ/∂cos θ of cosines (N,), float32 or float64; ``m2`` and ``m3`` (N,) replace the margins of all rows.

        Cosines that rounding has moved outside −1…1 are clipped.
        """
        angle: Amount = self.m2 if m2 is None else m2
        cosine = cosine.clamp(-1, 1)
        value, slope = self._turned(cosine, angle)
        value, slope = self._continued(value, slope, cosine, angle)
        if self.easy_margin:
            value, slope = _where(cosine > 0, (value, slope), (cosine, torch.ones_like(cosine)))
        value = value - (self.m3 if m3 is None else m3)
        return value, slope if self.gradient == "exact" else torch.ones_like(slope)

    def _turned(self, cosine: Tensor, angle: Amount) -> tuple[Tensor, Tensor]:
        """cos(m₁θ + m₂) and its slope, without the continuation."""
        sine = ((1 - cosine) * (1 + cosine)).sqrt()
        away = sine.clamp_min(math.sqrt(torch.finfo(cosine.dtype).eps))
        if self.m1 == int(self.m1):
            # cos nθ = Tₙ(cos θ), sin nθ = sin θ · Uₙ₋₁(cos θ)
            first, second = _chebyshev(cosine, int(self.m1))
            value = first * _cos(angle) - sine * second * _sin(angle)
            return value, self.m1 * (second * _cos(angle) + first / away * _sin(angle))
        value = torch.cos(self.m1 * torch.atan2(sine, cosine) + angle)
        return value, self.m1 * torch.sin(self.m1 * torch.atan2(away, cosine) + angle) / away

    def _continued(self, value: Tensor, slope: Tensor, cosine: Tensor, angle: Amount) -> tuple[Tensor, Tensor]:
        """The continuation beyond m₁θ + m₂ = π, and, for negative m₂, below 0."""
        if self.m1 == 1:
            beyond = (cosine - angle * _sin(angle), torch.ones_like(cosine))
            value, slope = _where(cosine < -_cos(angle), beyond, (value, slope))
        else:
            turns = self._half_turns(cosine, angle)
            sign = 1 - 2 * (turns % 2)
            value, slope = sign * value - 2 * turns, sign * slope
        if isinstance(angle, Tensor):
            below = (angle < 0) & (cosine > torch.cos(angle / self.m1))
            value, slope = _where(below, (torch.ones_like(cosine), torch.zeros_like(cosine)), (value, slope))
        return value, slope

    def _half_turns(self, cosine: Tensor, angle: Amount) -> Tensor:
        """⌊(m₁θ + m₂)/π⌋ by comparing cosines; ψ has no step where it changes, so rounding does not matter."""
        turns = torch.zeros_like(cosine)
        for number in range(1, math.floor(self.m1 + 0.5) + 1):  # m₂ adds at most half a turn of π
            border = (number * math.pi - angle) / self.m1
            if isinstance(border, Tensor):
                turns = turns + ((border < math.pi) & (cosine < torch.cos(border)))
            elif border < math.pi:
                turns = turns + (cosine < math.cos(border))
        return turns


def margin_cosine(
    cosine: Tensor,
    m1: float = 1.0,
    m2: float = 0.5,
    m3: float = 0.0,
    *,
    easy_margin: bool = False,
    margin_gradient: MarginGradient = "exact",
) -> Tensor:
    """The cosine with a margin, ψ(cos θ) = cos(m₁θ + m₂) − m₃, for cosines of any shape; differentiable once.

    Beyond m₁θ + m₂ = π it continues so that it falls with θ: for m₁ = 1 as cos θ − m₂ sin m₂ − m₃, for m₁ > 1 as
    (−1)ᵏ cos(m₁θ + m₂) − 2k − m₃ with k = ⌊(m₁θ + m₂)/π⌋. ``easy_margin`` and ``margin_gradient`` are those of
    `linear_margin_cross_entropy`. float16 and bfloat16 are computed in float32. Raises ValueError for margins outside
    their domain: 1 ≤ m₁ ≤ 16, 0 ≤ m₂ ≤ π/2, m₃ ≥ 0.

    Examples
    --------
    >>> cosine = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    >>> psi = margin_cosine(cosine, m2=0.5)
    >>> psi.sum().backward()
    >>> round(cosine.grad[0].item(), 6), round(math.sin(math.pi / 3 + 0.5) / math.sin(math.pi / 3), 6)
    (1.154379, 1.154379)
    """
    margin = AngularMargin(float(m1), float(m2), float(m3), bool(easy_margin), margin_gradient)
    found: Tensor = _Margined.apply(cosine, margin)  # type: ignore[no-untyped-call]
    return found


class _Margined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cosine: Tensor, margin: AngularMargin) -> Tensor:
        wide = cosine if cosine.dtype == torch.float64 else cosine.float()
        value, slope = margin.value_and_slope(wide)
        ctx.save_for_backward(slope)
        return value.to(cosine.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return (gradient * slope).to(gradient.dtype), None


def _chebyshev(x: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Tₙ(x) and Uₙ₋₁(x), for n ≥ 1."""
    before, first = torch.ones_like(x), x
    earlier, second = torch.zeros_like(x), torch.ones_like(x)
    for _ in range(degree - 1):
        before, first = first, 2 * x * first - before
        earlier, second = second, 2 * x * second - earlier
    return first, second


def _where(condition: Tensor, yes: tuple[Tensor, Tensor], no: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.where(condition, yes[0], no[0]), torch.where(condition, yes[1], no[1])


def _cos(angle: Amount) -> Any:
    return torch.cos(angle) if isinstance(angle, Tensor) else math.cos(angle)


def _sin(angle: Amount) -> Any:
    return torch.sin(angle) if isinstance(angle, Tensor) else math.sin(angle)
