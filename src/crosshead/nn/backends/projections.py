"""Projections: the scores of a tile of classes from features and the tile's rows of W, and their gradients.

`Linear` is z = X Wᵀ + b. `Cosine` normalises the rows of W tile by tile, so that there is no normalised copy of W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from crosshead.nn.backends.products import times, transposed_times, working


class TileGradients(NamedTuple):
    """The gradients of a tile: ``input`` (N, D), a summand over tiles, ``weight`` (T, D) and ``bias`` (T,), or None."""

    input: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


class Projection(Protocol):
    """The protocol of a projection from features (N, D) to scores.

    Arguments have their own types, scores and gradients are in the accumulation type, float32 or float64.
    """

    @property
    def key(self) -> tuple[str, tuple[float, ...]]:
        """The key in the registry, and the parameters."""
        ...

    @property
    def rows_per_class(self) -> int:
        """How many rows of W a class has; they follow one another."""
        ...

    def scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Scores (N, T) of a tile, and what to save for `gradients`."""
        ...

    def paired_scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The score of row i for the class of ``weight[i]``, (N,); ``weight`` (N, rows per class, D), ``bias`` (N,)."""
        ...

    def gradients(
        self, gradient: Tensor, input: Tensor, weight: Tensor, saved: Tensor | None, wanted: Sequence[bool]
    ) -> TileGradients:
        """The gradients of a tile from that of its scores (N, T); ``wanted``: input, weight, bias."""
        ...


@final
@dataclass(frozen=True)
class Linear:
    """z = X Wᵀ + b."""

    @property
    def key(self) -> tuple[str, tuple[float, ...]]:
        """The key in the registry; no parameters."""
        return "linear", ()

    @property
    def rows_per_class(self) -> int:
        """One."""
        return 1

    def scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """X Wᵀ + b, (N, T)."""
        z = times(input, weight.t())
        if bias is not None:
            z += bias.to(z.dtype)
        return z, None

    def paired_scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """⟨xᵢ, wᵢ⟩ + bᵢ, (N,)."""
        z = (working(input) * working(weight[:, 0])).sum(dim=1)
        return z if bias is None else z + bias.to(z.dtype)

    def gradients(
        self, gradient: Tensor, input: Tensor, weight: Tensor, saved: Tensor | None, wanted: Sequence[bool]
    ) -> TileGradients:
        """G W, Gᵀ X and the sums of G over rows."""
        return TileGradients(
            times(gradient, weight) if wanted[0] else None,
            transposed_times(gradient, input) if wanted[1] else None,
            gradient.sum(dim=0) if wanted[2] else None,
        )


@final
@dataclass(frozen=True)
class Cosine:
    """z = X ŵᵀ with ŵ = w/‖w‖: cosines, if the rows of X have norm 1. There is no bias.

    The gradient is ∂/∂w = (g − ŵ⟨ŵ, g⟩)/‖w‖ with g = Gᵀ X. The norm of a row of zeros counts as `EPSILON`.
    """

    @property
    def key(self) -> tuple[str, tuple[float, ...]]:
        """The key in the registry; no parameters."""
        return "cosine", ()

    @property
    def rows_per_class(self) -> int:
        """One."""
        return 1

    def scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """X ŵᵀ, (N, T)."""
        norm = norms(weight)
        return times(input, weight.t()).div_(norm), norm

    def paired_scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """⟨xᵢ, ŵᵢ⟩, (N,)."""
        rows = weight[:, 0]
        return (working(input) * working(rows)).sum(dim=1) / norms(rows)

    def gradients(
        self, gradient: Tensor, input: Tensor, weight: Tensor, saved: Tensor | None, wanted: Sequence[bool]
    ) -> TileGradients:
        """The gradients, that of W without its part along w, because the norm has no influence."""
        assert saved is not None
        gradient = gradient / saved
        rows = None
        if wanted[1]:
            rows = transposed_times(gradient, input)
            wide = working(weight)
            along = torch.einsum("td,td->t", wide, rows) / saved.square()
            rows.addcmul_(wide, along[:, None], value=-1)
        return TileGradients(times(gradient, weight) if wanted[0] else None, rows, None)


@final
@dataclass(frozen=True)
class SubCentreCosine:
    """z_c = max_k X ŵ_{c,k}: the largest cosine with the K rows of W of a class. There is no bias.

    The gradient goes to the row with the largest cosine, to the first of several.

    Source: Deng et al., Sub-center ArcFace, ECCV 2020.
    """

    centres: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.centres <= MAX_CENTRES or self.centres != int(self.centres):
            raise ValueError(f"a class has 1 to {MAX_CENTRES} sub-centres, not {self.centres:g}")

    @property
    def key(self) -> tuple[str, tuple[float, ...]]:
        """The key in the registry, and K."""
        return "sub_centre_cosine", (self.centres,)

    @property
    def rows_per_class(self) -> int:
        """K."""
        return int(self.centres)

    def scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The largest of K cosines, (N, T), and its number."""
        each, _ = Cosine().scores(input, weight, bias)
        largest, centre = each.view(len(input), -1, self.rows_per_class).max(dim=2)
        return largest, centre.to(torch.uint8)

    def paired_scores(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """max_k ⟨xᵢ, ŵᵢₖ⟩, (N,)."""
        inner = (working(weight) @ working(input)[:, :, None])[:, :, 0]
        return torch.amax(inner / norms(weight.reshape(-1, weight.shape[2])).view_as(inner), dim=1)

    def gradients(
        self, gradient: Tensor, input: Tensor, weight: Tensor, saved: Tensor | None, wanted: Sequence[bool]
    ) -> TileGradients:
        """The gradients of `Cosine`, where all sub-centres but the nearest have zero gradient."""
        assert saved is not None
        spread = gradient.new_zeros((*gradient.shape, self.rows_per_class))
        spread.scatter_(2, saved.long()[:, :, None], gradient[:, :, None])
        return Cosine().gradients(spread.flatten(1), input, weight, norms(weight), wanted)


MAX_CENTRES = 255
EPSILON = 1e-12
NORM_NUMBERS = 1 << 22
"""Numbers that `norms_of_many` converts at a time."""


def norms(weight: Tensor) -> Tensor:
    """Euclidean norms of the rows, at least `EPSILON`, (T,), in the accumulation type."""
    length: Tensor = torch.linalg.vector_norm(working(weight), dim=1)
    return length.clamp_min(EPSILON)


def norms_of_many(weight: Tensor) -> Tensor:
    """`norms` without gradient, and without a converted copy of all rows."""
    step = max(1, NORM_NUMBERS // max(1, weight.shape[1]))
    return torch.cat([norms(part) for part in torch.split(weight.detach(), step)])


PROJECTIONS: dict[str, Callable[..., Projection]] = {
    "linear": Linear,
    "cosine": Cosine,
    "sub_centre_cosine": SubCentreCosine,
}


def build(name: str, parameters: Sequence[float]) -> Projection:
    """The projection with this key in the registry and these parameters.

    >>> build("linear", ())
    Linear()
    """
    return PROJECTIONS[name](*parameters)
