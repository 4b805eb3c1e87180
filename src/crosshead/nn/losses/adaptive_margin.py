"""Margins that depend on the norm of the features, which measures the quality of an image of a face."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

LEAST_NORM, MOST_NORM = 1e-3, 100.0
ADDED = 1e-3
"""Added to the standard deviation before dividing by it."""


@final
class NormMargins(nn.Module):
    """AdaFace's margins: the larger the norm of a row's features among others, the more its margin subtracts.

    ẑ = clip(h·(‖x‖ − μ)/(σ + 10⁻³), −1, 1), m₂ = −m·ẑ, m₃ = m + m·ẑ. Features of small norm, from images of low
    quality, get ArcFace's margin, which puts less weight on hard samples; those of large norm get a negative angle,
    which puts more weight on them; those in between get CosFace's margin. μ and σ are running means over batches of the
    mean and the standard deviation of ‖x‖; a new batch has the share ``t_alpha``, the start is 20 and 100. Norms are
    clipped to 10⁻³ … 100 and have no gradient.

    The statistics are updated in training mode, from rows that are not ignored; a batch of one row has no deviation and
    updates the mean only. ``total`` turns a sum over local rows into one over the rows of all processes.

    Source: Kim, Jain and Liu, AdaFace: quality adaptive margin for face recognition, CVPR 2022.

    Examples
    --------
    >>> margins = NormMargins(0.4, h=0.333, t_alpha=0.01).eval()
    >>> m2, m3 = margins(torch.tensor([[20.0, 0.0], [80.0, 0.0]]), torch.tensor([True, True]))
    >>> [round(m, 4) for m in m2.tolist()], [round(m, 4) for m in m3.tolist()]
    ([-0.0, -0.0799], [0.4, 0.4799])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, margin: float, h: float, t_alpha: float, device: torch.device | str | None = None) -> None:
        super().__init__()
        if not 0 < h < float("inf"):
            raise ValueError(f"h is the factor of normalised norms and must be a positive number, not {h!r}")
        if not 0 < t_alpha <= 1:
            raise ValueError(f"t_alpha is the share of a new batch, above 0 and at most 1, not {t_alpha!r}")
        self.margin, self.h, self.t_alpha = margin, h, t_alpha
        self.total: Callable[[Tensor], Tensor] = local_total
        self.register_buffer("mean", torch.tensor(20.0, device=device))
        self.register_buffer("deviation", torch.tensor(100.0, device=device))

    @torch.no_grad()
    def forward(self, features: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """m₂ and m₃, (...), of features (..., D); ``counted`` (...): which rows the statistics use."""
        norm = torch.linalg.vector_norm(features.to(self.mean.dtype), dim=-1).clamp(LEAST_NORM, MOST_NORM)
        if self.training:
            self._update(norm, counted.to(norm.dtype))
        quality = ((norm - self.mean) / (self.deviation + ADDED) * self.h).clamp(-1, 1)
        return -self.margin * quality, self.margin + self.margin * quality

    def _update(self, norm: Tensor, counted: Tensor) -> None:
        # No branches on how many rows count: a compiled step stays one graph, and nothing waits for a GPU.
        rows = self.total(counted.sum())
        mean = self.total((norm * counted).sum()) / rows.clamp_min(1)
        deviation = (self.total(((norm - mean).square() * counted).sum()) / (rows - 1).clamp_min(1)).sqrt()
        self.mean.copy_(torch.where(rows > 0, self.mean.lerp(mean, self.t_alpha), self.mean))
        self.deviation.copy_(torch.where(rows > 1, self.deviation.lerp(deviation, self.t_alpha), self.deviation))

    def extra_repr(self) -> str:
        """The options."""
        return f"margin={self.margin}, h={self.h}, t_alpha={self.t_alpha}"


def local_total(amount: Tensor) -> Tensor:
    """The sum over the rows of all processes if there is one process: the amount itself."""
    return amount
