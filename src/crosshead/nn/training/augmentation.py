"""Random changes of training images that keep their class, in PyTorch operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training images, drawn anew for each image and epoch; the defaults change nothing.

    * ``shift``: move by up to this many pixels, vertically and horizontally; border pixels are repeated
    * ``flip``: mirror half of the images, left to right
    * ``crop``: a share 0 ≤ s < 1; a random part with sides 1 − s to 1 times as long is resized to the image, bilinearly
    * ``cutout``: side in pixels of a square at a random centre that is set to ``fill``

    Raises ValueError for a negative number of pixels, or a share outside [0, 1).

    Source: DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017.

    Examples
    --------
    >>> images = torch.arange(6.0).view(1, 1, 2, 3)
    >>> generator = torch.Generator().manual_seed(1)
    >>> Augmentation(flip=True)(images, generator)
    tensor([[[[2., 1., 0.],
              [5., 4., 3.]]]])
    """

    shift: int = 0
    flip: bool = False
    crop: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise ValueError(f"shift and cutout are numbers of pixels ≥ 0, not {self.shift} and {self.cutout}")
        if not 0.0 <= self.crop < 1.0:
            raise ValueError(f"crop is the share of the sides that may be cut, from 0 to below 1, not {self.crop}")

    def __call__(self, images: Tensor, generator: torch.Generator, fill: Tensor | float = 0.0) -> Tensor:
        """Changed copies of floating-point images (N, channels, height, width); all draws come from ``generator``."""
        count, _, height, width = images.shape
        if self.shift or self.flip:
            images = self._moved(images, generator)
        if self.crop:
            sides = 1.0 - self.crop * torch.rand(count, 1, generator=generator)
            places = torch.rand(2, count, 1, generator=generator)
            images = _interpolated(images, _positions(height, sides, places[0]), 2)
            images = _interpolated(images, _positions(width, sides, places[1]), 3)
        if self.cutout:
            down = self._covered(height, count, generator)[:, None, :, None]
            across = self._covered(width, count, generator)[:, None, None, :]
            images = torch.where(down & across, torch.as_tensor(fill, dtype=images.dtype), images)
        return images

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        moves = torch.randint(-self.shift, self.shift + 1, (2, count, 1), generator=generator)
        rows = (torch.arange(height) + moves[0]).clamp_(0, height - 1)
        columns = (torch.arange(width) + moves[1]).clamp_(0, width - 1)
        if self.flip:
            mirrored = torch.rand(count, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        number = torch.arange(count)[:, None, None]
        # Indices on both sides of a slice put the sliced dimension last.
        return images[number, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _covered(self, side: int, count: int, generator: torch.Generator) -> Tensor:
        centre = torch.randint(0, side, (count, 1), generator=generator)
        first = centre - self.cutout // 2
        place = torch.arange(side)
        return (place >= first) & (place < first + self.cutout)


def _positions(side: int, share: Tensor, place: Tensor) -> Tensor:
    """The position in the old image of each of the ``side`` new pixels, (N, side)."""
    start = place * (1.0 - share) * side
    return ((torch.arange(side) + 0.5) * share + start - 0.5).clamp_(0.0, side - 1.0)


def _interpolated(images: Tensor, positions: Tensor, dim: int) -> Tensor:
    """Linear interpolation at these positions along one dimension."""
    low = positions.floor().long()
    high = (low + 1).clamp_(max=images.shape[dim] - 1)
    shape = [len(images), 1, 1, 1]
    shape[dim] = positions.shape[1]
    weight = (positions - low).to(images.dtype).view(shape)
    below, above = (images.gather(dim, index.view(shape).expand_as(images)) for index in (low, high))
    return torch.lerp(below, above, weight.expand_as(images))
