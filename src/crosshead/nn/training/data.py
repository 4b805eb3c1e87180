"""Training and validation images: subsets of arrays, class weights, and the loss and error on a subset."""

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
    """A subset of images (N, channels, height, width) and their target (N,), the ``rows`` of both."""

    images: Tensor
    target: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Tensor | slice) -> Labelled:
        """Images and target of some rows of the subset."""
        rows = self.rows[numbers]
        return self.images[rows], self.target[rows]


def check_images(images: Tensor, target: Tensor, validation: Labelled | Tensor | None) -> None:
    """ValueError if images and target do not fit each other, in training or validation."""
    parts = {"training": (images, target)}
    if validation is not None and not isinstance(validation, Tensor):
        parts["validation"] = validation
    for name, (given, labels) in parts.items():
        if given.dim() != 4 or not len(given) or labels.shape != (len(given),):
            raise ValueError(
                f"{name} images must have shape (N, channels, height, width) and their target (N,), not "
                f"{tuple(given.shape)} and {tuple(labels.shape)}"
            )


def validation_part(images: Tensor, target: Tensor, validation: Labelled | Tensor | None) -> Part | None:
    """The validation subset: rows of the same images, or other images with their target."""
    if validation is None:
        return None
    if isinstance(validation, Tensor):
        return Part(images, target, validation)
    return Part(*validation, torch.arange(len(validation[0])))


def add_to_digest(digest: Any, part: Part) -> None:
    """Add images and target of a subset to a digest, block by block."""
    for first in range(0, len(part), DIGEST_ROWS):
        for values in part.take(slice(first, first + DIGEST_ROWS)):
            digest.update(repr((tuple(values.shape), values.dtype)).encode())
            digest.update(values.contiguous().numpy().data)


def class_weights(target: Tensor, num_classes: int, balanced: bool) -> Tensor:
    """The weight of each class, (C,): 1, or if ``balanced`` N / (classes present · rows of the class).

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
    """The class-weighted mean loss, and the share of wrong predictions; the head's reduction must be "none"."""
    total, weight, wrong = 0.0, 0.0, 0
    with torch.no_grad():
        for first in range(0, len(part), VALIDATION_ROWS):
            images, target = part.take(slice(first, first + VALIDATION_ROWS))
            features, own = network.features(images.float()), weights[target].double()
            total += float((network.head(features, target).double() * own).sum())
            weight += float(own.sum())
            wrong += int((network.head.predict(features, 1).classes[:, 0] != target).sum())
    return total / weight if weight else math.nan, wrong / len(part)
