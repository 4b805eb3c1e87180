"""The images that a network is trained and judged on: parts of arrays, weights of classes, loss and error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DIGEST_ROWS = 4096
VALIDATION_ROWS = 256

Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Part:
    """Some ``rows`` of many images (N, channels, height, width), and their target (N,)."""

    images: Tensor
    target: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Tensor | slice) -> Labelled:
        """Images and target of some of these rows."""
        rows = self.rows[numbers]
        return self.images[rows], self.target[rows]


def check_images(images: Tensor, target: Tensor, validation: Labelled | Tensor | None) -> None:
    """ValueError where images and target, or those of validation, do not fit each other."""
    parts = {"training": (images, target)}
    if validation is not None and not isinstance(validation, Tensor):
        parts["validation"] = validation
    for name, (pictures, labels) in parts.items():
        if pictures.dim() != 4 or not len(pictures) or labels.shape != (len(pictures),):
            raise ValueError(
                f"{name} images must have shape (N, channels, height, width) and their target (N,), not "
                f"{tuple(pictures.shape)} and {tuple(labels.shape)}"
            )


def validation_part(images: Tensor, target: Tensor, validation: Labelled | Tensor | None) -> Part | None:
    """The part that ``validation`` names: rows of the same images, or others with their target."""
    if validation is None:
        return None
    if isinstance(validation, Tensor):
        return Part(images, target, validation)
    return Part(*validation, torch.arange(len(validation[0])))


def add_to_digest(digest: Any, part: Part) -> None:
    """Add images and target of a part to a digest, block by block."""
    for first in range(0, len(part), DIGEST_ROWS):
        for values in part.take(slice(first, first + DIGEST_ROWS)):
            digest.update(repr((tuple(values.shape), values.dtype)).encode())
            digest.update(values.contiguous().numpy().data)


def class_weights(target: Tensor, num_classes: int, balanced: bool) -> Tensor:
    """The weight of a row by its class, (C,): 1, or N / (classes present · rows of the class).

    Examples
    --------
    >>> class_weights(torch.tensor([0, 0, 0, 2]), 3, balanced=True)
    tensor([0.6667, 0.0000, 2.0000])
    """
    if not balanced:
        return torch.ones(num_classes)
    counts = torch.bincount(target, minlength=num_classes)
    weights = len(target) / (counts.clamp_min(1) * (counts > 0).sum())
    return torch.where(counts > 0, weights, torch.zeros(()))


def measure_network(network: Any, part: Part, weights: Tensor) -> tuple[float, float]:
    """Mean loss, weighted by class, and the share of rows predicted wrong; the head's reduction must be "none"."""
    total, weight, wrong = 0.0, 0.0, 0
    with torch.no_grad():
        for first in range(0, len(part), VALIDATION_ROWS):
            images, target = part.take(slice(first, first + VALIDATION_ROWS))
            features, own = network.features(images.float()), weights[target].double()
            total += float((network.head(features, target).double() * own).sum())
            weight += float(own.sum())
            wrong += int((network.head.predict(features, 1).classes[:, 0] != target).sum())
    return total / weight if weight else math.nan, wrong / len(part)
