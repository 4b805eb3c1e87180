"""Convert pixels to the input of a network: size, colours, range, mean and deviation, layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.errors import DataError
from crosshead.data.files import read_regular
from crosshead.data.formats.json_text import parse_json
from crosshead.data.images.decoding import COLOURS, ImageForm, Pixels, Size

LAYOUTS = ("nchw", "nhwc")
MAX_BYTES = 1 << 20  # limit of the bytes of its file
HUGGING_FACE_FILE = "preprocessor_config.json"
_PILLOW_NUMBERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

Stated = Mapping[str, Any]
"""Given fields of `Preprocessing`, by name."""


@dataclass(frozen=True)
class Preprocessing:
    """Pre-processing of images: x = (pixel · white/255 − mean) / std by channel, after resizing.

    * ``size`` (height, width); ``crop`` and ``resample`` as in `crosshead.data.ImageForm`
    * ``colours``: grey, rgb, bgr or rgba, the order of the channels
    * ``white``: the value of a white pixel before mean and deviation, usually 1 or 255
    * ``mean``, ``std``: one number, or one per channel in the order of ``colours``
    * ``layout``: nchw or nhwc

    Examples
    --------
    >>> preprocessing = Preprocessing((1, 1), "bgr", white=255.0, mean=(127.0,), std=(128.0,), layout="nhwc")
    >>> preprocessing.apply(np.array([[[[255, 127, 0]]]], dtype=np.uint8)).ravel()
    array([-0.9921875,  0.       ,  1.       ], dtype=float32)
    """

    size: Size
    colours: str = "rgb"
    crop: float | None = None
    resample: str = "bilinear"
    white: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"

    def __post_init__(self) -> None:
        if self.colours not in COLOURS:
            raise DataError(f"colours {self.colours!r} are unknown; choose one of {', '.join(COLOURS)}")
        if self.layout not in LAYOUTS:
            raise DataError(f"layout {self.layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(map(math.isfinite, values)):
                raise DataError(f"{name} holds a number that is not finite")
            if len(values) not in (1, self.n_channels):
                raise DataError(f"{name} has {len(values)} numbers; give one, or one for each of {self.n_channels}")
        if min(self.std) <= 0 or not 0 < self.white < math.inf:
            raise DataError("std and white must be positive: features are divided by them")
        if not np.isfinite(self._levels()).all():
            raise DataError("white, mean and std bring pixels to numbers that float32 does not hold")
        _ = self.form  # validates size, crop and resampling

    @property
    def n_channels(self) -> int:
        """The number of channels of an image."""
        return COLOURS[self.colours]

    @property
    def form(self) -> ImageForm:
        """The form that images are decoded to."""
        return ImageForm(self.size, self.n_channels, self.crop, self.resample)

    def apply(self, pixels: Pixels) -> NDArray[np.float32]:
        """Convert pixels (n, height, width, channels), uint8, to the network's input."""
        # A table of 256 values per channel is exact, and no slower than arithmetic on every pixel.
        table = np.broadcast_to(self._levels(), (256, self.n_channels))
        n_images, height, width, channels = pixels.shape
        out = np.empty((n_images, channels, height, width), dtype=np.float32)
        for channel in range(channels):
            found = channels - 1 - channel if self.colours == "bgr" else channel
            for image in range(n_images):
                np.take(table[:, channel], pixels[image, :, :, found], out=out[image, channel], mode="clip")
        return out if self.layout == "nchw" else np.ascontiguousarray(out.transpose(0, 2, 3, 1))

    def _levels(self) -> NDArray[np.float32]:
        """The input for each of the 256 values of a pixel, (256, channels) or (256, 1)."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite values are rejected on creation
            factor = np.float64(self.white) / 255.0 / np.asarray(self.std)
            shift = np.asarray(self.mean) / np.asarray(self.std)
            return np.asarray((np.arange(256.0)[:, None] * factor - shift).astype(np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON document, which `preprocessing_of` reads."""
        return {
            "size": list(self.size),
            "colours": self.colours,
            "crop": self.crop,
            "resample": self.resample,
            "white": self.white,
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": self.layout,
        }


def preprocessing_of(stated: Stated, source: str) -> Preprocessing:
    """Read the pre-processing from a document; DataError, with ``source``, if it is invalid."""
    unknown = sorted(set(stated) - set(Preprocessing.__dataclass_fields__))
    if unknown:
        known = ", ".join(Preprocessing.__dataclass_fields__)
        raise DataError(f"{source}: {unknown[0]!r} is not part of pre-processing; known are {known}")
    if stated.get("size") is None:
        raise DataError(f"{source}: the size of the images is not known; say --size WxH")
    try:
        crop = stated.get("crop")
        return Preprocessing(
            size=_size(stated["size"]),
            colours=str(stated.get("colours", "rgb")),
            crop=None if crop is None else float(crop),
            resample=str(stated.get("resample", "bilinear")),
            white=float(stated.get("white", 1.0)),
            mean=_numbers(stated.get("mean", 0.0)),
            std=_numbers(stated.get("std", 1.0)),
            layout=str(stated.get("layout", "nchw")),
        )
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: the pre-processing cannot be read ({error})") from error


def stated_beside(model: Path) -> tuple[Stated, str | None]:
    """The pre-processing in files beside a network: `<its name>.json`, or Hugging Face's `preprocessor_config.json`."""
    own, theirs = model.with_suffix(".json"), model.with_name(HUGGING_FACE_FILE)
    for path in (own, theirs):
        if path.is_file():
            try:
                document = parse_json(read_regular(path, MAX_BYTES))
            except (ValueError, OSError) as error:
                raise DataError(
                    f"{path}: not JSON ({error}); it states how images are brought to the network"
                ) from error
            if not isinstance(document, dict):
                raise DataError(f"{path}: holds no JSON object of pre-processing")
            return _checked(document if path == own else _of_hugging_face(document, str(path)), path), str(path)
    return {}, None


def _checked(stated: Stated, path: Path) -> Stated:
    """Validate the content of a file; DataError names the file."""
    said = {name: value for name, value in stated.items() if value is not None}
    per_channel = [len(said[name]) for name in ("mean", "std") if isinstance(said.get(name), list)]
    some_network = {"size": 1, "colours": "rgba" if max(per_channel, default=1) == 4 else "rgb"}
    preprocessing_of({**some_network, **said}, str(path))
    return said


def _of_hugging_face(document: Stated, source: str) -> Stated:
    try:
        return _from_hugging_face(document, source)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{source}: the pre-processing cannot be read ({error}); say --size, --mean and --std"
        ) from error


def _from_hugging_face(document: Stated, source: str) -> dict[str, Any]:
    """Translate the keys of Hugging Face's image processors."""
    stated: dict[str, Any] = {}
    size, cropped = document.get("size"), document.get("crop_size")
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if document.get("do_center_crop") and cropped is not None:
        stated["size"] = _sides(cropped, source)
        resized = edge if edge is not None else None if size is None else min(_sides(size, source))
        stated["crop"] = 1.0 if resized is None else min(1.0, min(stated["size"]) / resized)
    elif edge is not None:
        stated |= {"size": (edge, edge), "crop": float(document.get("crop_pct") or 1.0)}
    elif size is not None:
        stated["size"] = _sides(size, source)
    if document.get("resample") in _PILLOW_NUMBERS:
        stated["resample"] = _PILLOW_NUMBERS[document["resample"]]
    rescaled = document.get("do_rescale", True)
    stated["white"] = 255.0 * float(document.get("rescale_factor", 1 / 255)) if rescaled else 255.0
    if document.get("do_normalize", True) and "image_mean" in document:
        stated |= {"mean": document["image_mean"], "std": document.get("image_std", 1.0)}
    return stated


def _sides(value: Any, source: str) -> Size:
    if isinstance(value, int):
        return value, value
    if isinstance(value, Mapping) and {"height", "width"} <= set(value):
        return int(value["height"]), int(value["width"])
    raise DataError(f"{source}: the size {value!r} is not understood; say --size WxH")


def _size(value: Any) -> Size:
    if isinstance(value, int):
        return value, value
    height, width = value
    return int(height), int(width)


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is text, not a number or a list of numbers")
    return tuple(float(one) for one in value) if isinstance(value, Sequence) else (float(value),)
