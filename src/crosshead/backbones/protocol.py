"""The protocol of backbones: networks without their last layer, from images to features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crosshead.backbones.preprocessing import Preprocessing
from crosshead.data.errors import DataError
from crosshead.data.images.decoding import Pixels

Features = NDArray[np.float32]


class Backbone(Protocol):
    """Computes features of images, for every image independent of the others in its batch.

    Examples
    --------
    >>> from crosshead.backbones import load_backbone
    >>> backbone: Backbone = load_backbone("small.onnx")  # doctest: +SKIP
    >>> backbone.n_features  # doctest: +SKIP
    1280
    """

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are decoded and converted to the network's input."""
        ...

    @property
    def n_features(self) -> int:
        """D, the number of features per image."""
        ...

    @property
    def description(self) -> Mapping[str, Any]:
        """A JSON document for `find_backbone`: kind, name, fingerprint, pre-processing, without any path."""
        ...

    def embed(self, pixels: Pixels) -> Features:
        """Compute the features (n, D) of pixels (n, height, width, channels) in the form of the pre-processing."""
        ...


def as_rows(outputs: NDArray[Any], layout: str, name: str) -> Features:
    """Convert a network's output to features (n, D): feature maps (n, D, h, w) are averaged over positions.

    Examples
    --------
    >>> as_rows(np.arange(8.0).reshape(1, 2, 2, 2), "nchw", "net")
    array([[1.5, 5.5]], dtype=float32)
    """
    if outputs.dtype.kind == "f" and outputs.ndim == 4:
        positions = (2, 3) if layout == "nchw" else (1, 2)
        outputs = outputs.mean(axis=positions, dtype=np.float64)
    if outputs.dtype.kind != "f" or outputs.ndim != 2 or 0 in outputs.shape[1:]:
        raise DataError(
            f"{name}: gives an array of shape {outputs.shape} and dtype {outputs.dtype}; features are floating-point "
            "numbers (n, D), or maps (n, D, height, width), which are averaged"
        )
    return np.ascontiguousarray(outputs, dtype=np.float32)


def check_independence(embed: Any, preprocessing: Preprocessing, name: str) -> int:
    """Return the number of features; DataError if features of an image depend on its batch.

    This happens if a network was exported in training mode, with batch normalisation over the batch.
    """
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (2, *preprocessing.form.shape), dtype=np.uint8)
    together, alone = embed(pixels), embed(pixels[:1])
    if together.shape[0] != 2 or alone.shape != (1, together.shape[1]):
        raise DataError(f"{name}: gives {together.shape[0]} rows of features for 2 images and {alone.shape[0]} for 1")
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise DataError(
            f"{name}: the features of images of random pixels are NaN or infinite; are its weights damaged?"
        )
    scale = float(np.abs(together).max()) or 1.0
    difference = float(np.abs(together[:1] - alone).max())
    if not difference <= 1e-2 * scale:
        raise DataError(
            f"{name}: the features of an image depend on the other images in its batch (by {difference:.2g} of "
            f"{scale:.2g}); put the network in eval mode, or export it so"
        )
    return int(together.shape[1])
