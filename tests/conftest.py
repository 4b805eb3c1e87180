"""Networks and folders of images that tests of several parts share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest
from PIL import Image
from scipy.signal import correlate


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or written to the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSHEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class Network:
    """A network in a file: 3×3 convolution, ReLU, mean over positions; and what it does, computed by SciPy."""

    path: Path
    kernels: np.ndarray  # (D, channels, 3, 3)
    bias: np.ndarray  # (D,)

    def features(self, inputs: np.ndarray) -> np.ndarray:
        """Features (n, D) of the network's input (n, channels, h, w), in float64."""
        return self.maps(inputs).mean(axis=(2, 3))

    def maps(self, inputs: np.ndarray) -> np.ndarray:
        rows = [
            [correlate(one.astype(np.float64), kernel, mode="valid")[0] for kernel in self.kernels] for one in inputs
        ]
        return np.maximum(np.array(rows) + self.bias[:, None, None], 0.0)


@pytest.fixture
def make_network(tmp_path: Path) -> Callable[..., Network]:
    """Write a small convolutional network in ONNX; needs onnx and onnxruntime, and skips the test without them."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def make(
        name: str = "net.onnx",
        *,
        side: int | str = 8,
        channels: int = 3,
        batch: int | str = "n",
        nhwc: bool = False,
        n_features: int = 6,
        opset: int = 13,
        seed: int = 0,
    ) -> Network:
        generator = np.random.default_rng(seed)
        kernels = generator.normal(size=(n_features, channels, 3, 3)).astype(np.float32)
        bias = generator.normal(size=n_features).astype(np.float32)
        helper, floats = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])] if nhwc else []
        nodes += [
            helper.make_node("Conv", ["first" if nhwc else "images", "kernels", "bias"], ["conv"]),
            helper.make_node("Relu", ["conv"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["f"], axis=1),
        ]
        shape = [batch, side, side, channels] if nhwc else [batch, channels, side, side]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("images", floats, shape)],
            [helper.make_tensor_value_info("f", floats, [batch, n_features])],
            [onnx.numpy_helper.from_array(kernels, "kernels"), onnx.numpy_helper.from_array(bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, tmp_path / name)
        return Network(tmp_path / name, kernels, bias)

    return make


def save_image(pixels: np.ndarray, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty colour images of two classes, which differ in their brightness, 9×7 pixels."""
    generator = np.random.default_rng(4)
    for name, light in (("dark", 40), ("light", 170)):
        for number in range(15):
            pixels = generator.integers(light, light + 60, (9, 7, 3), dtype=np.uint8)
            save_image(pixels, tmp_path / "photos" / name / f"{number:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def odd_images(tmp_path: Path) -> Path:
    """A folder with one image of each odd kind, and two that are broken."""
    folder = tmp_path / "odd"
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    colour = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_image(colour, folder / "good" / "colour.png")
    save_image(np.array([[[200, 100, 50]]], dtype=np.uint8), folder / "good" / "one_pixel.png")
    save_image((grey.astype(np.uint16) + 200) * 257, folder / "good" / "sixteen_bits.png")
    Image.new("CMYK", (7, 5), (0, 255, 255, 0)).save(folder / "good" / "cmyk.jpg")
    (folder / "good" / "notes.txt").write_text("no image, and not called like one")
    (folder / "bad").mkdir()
    save_image(colour, folder / "bad" / "whole.png")
    whole = folder / "bad" / "cut.jpg"
    save_image(np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8), whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "bad" / "text.png").write_text("no image, but called like one")
    return folder


@dataclass(frozen=True)
class Cutter:
    """Makes a file shorter at a moment that a test names."""

    monkeypatch: pytest.MonkeyPatch

    def when_mapped(self, path: Path, size: int) -> None:
        """As soon as it is mapped: before anything of it is read."""
        from crosshead.data import memmap

        class Cutting(WeakValueDictionary[int, memmap.MappedFile]):
            def __setitem__(self, number: int, pages: memmap.MappedFile) -> None:
                super().__setitem__(number, pages)
                if pages.path == str(path):
                    os.truncate(path, size)

        self.monkeypatch.setattr(memmap, "_live", Cutting())

    def at_call(self, where: Any, name: str, path: Path, size: int) -> None:
        """Right before a function runs for the first time."""
        function = getattr(where, name)

        def cutting(*arguments: Any, **options: Any) -> Any:
            os.truncate(path, min(size, path.stat().st_size))
            return function(*arguments, **options)

        self.monkeypatch.setattr(where, name, cutting)


@pytest.fixture
def cutter(monkeypatch: pytest.MonkeyPatch) -> Cutter:
    """See `Cutter`."""
    return Cutter(monkeypatch)


@pytest.fixture
def rows_on_disk(tmp_path: Path) -> tuple[Path, Path]:
    """Features (3000, 60) of three classes in `X.npy`, 720 kB, with labels in `y.npy`."""
    generator = np.random.default_rng(4)
    labels = np.arange(3000) % 3
    features = generator.normal(size=(3000, 60)).astype(np.float32)
    features[np.arange(3000), labels] += 2
    np.save(tmp_path / "X.npy", features)
    np.save(tmp_path / "y.npy", labels)
    return tmp_path / "X.npy", tmp_path / "y.npy"
