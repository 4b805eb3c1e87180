"""A network trained by crosshead, from the folder of its model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosshead.backbones.preprocessing import Stated, preprocessing_of
from crosshead.backbones.protocol import Features, as_rows, check_independence
from crosshead.data.errors import DataError, load_package
from crosshead.data.images.decoding import Pixels

if TYPE_CHECKING:
    from crosshead.nn.training.network import CNN

KIND = "cnn"


class CnnBackbone:
    """`crosshead.nn.CNN` without its head; it takes pixels 0…255 and standardises them itself.

    ``content`` are the bytes of the network's file, and ``path`` is its origin for messages. ``preprocessing`` is the
    conversion of images to the network's size.
    """

    output_rank = 2
    stated_in = None
    assumed = False

    def __init__(self, path: Path, preprocessing: Stated, content: bytes, threads: int | None = None):
        self._torch = load_package("torch", "crosshead[torch]", "a network of crosshead's own")
        if threads is not None:
            self._torch.set_num_threads(threads)
        self.path = path
        self.network = network_of(content, str(path))
        self.preprocessing = preprocessing_of(preprocessing, str(path))
        takes, made = self.network.input_shape, (self.preprocessing.n_channels, *self.preprocessing.size)
        if made != takes:
            raise DataError(
                f"{path}: the network takes images of {_times(takes)}, the pre-processing makes {_times(made)}"
            )
        self._fingerprint = hashlib.sha256(content).hexdigest()
        self.module = _embedding_module(self._torch, self.network)
        self.n_features = check_independence(self.embed, self.preprocessing, str(path))

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, name, the file's SHA-256, the network's shape and the pre-processing."""
        return {
            "kind": KIND,
            "name": self.path.name,
            "output": None,
            "fingerprint": self._fingerprint,
            "network": self.network.settings,
            "preprocessing": self.preprocessing.to_dict(),
        }

    def input_of(self, pixels: Pixels) -> Features:
        """Convert pixels (n, height, width, channels) to the network's input: the same numbers, channels first."""
        return self.preprocessing.apply(pixels)

    def embed(self, pixels: Pixels) -> Features:
        """Compute the features (n, D) of pixels (n, height, width, channels)."""
        if not len(pixels):
            return np.empty((0, self.network.head.in_features), dtype=np.float32)
        with self._torch.inference_mode():
            outputs = self.module(self._torch.from_numpy(self.input_of(pixels)))
        return as_rows(outputs.numpy(), "nchw", str(self.path))


def network_of(content: bytes, source: str) -> CNN:
    """Load the network from the bytes of a file; DataError, with ``source``, if they are invalid."""
    # crosshead.nn, and so PyTorch, is imported only for such a network.
    from crosshead.nn.training.network import CNN

    try:
        return CNN.from_bytes(content)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error


def pixel_preprocessing(stated: Stated) -> dict[str, Any]:
    """The pre-processing of such a network: size, colours, crop and resample as stated, pixels unchanged."""
    return {**stated, "white": 255.0, "mean": 0.0, "std": 1.0, "layout": "nchw"}


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _embedding_module(torch: Any, network: Any) -> Any:
    class Embedding(torch.nn.Module):  # type: ignore[misc]
        """The network as a module whose call is its embedding, as required by the exporter."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            return self.network.embedding(images)

    return Embedding().eval()
