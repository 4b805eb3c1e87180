"""Decode one image file, or its bytes, to upright pixels of a given size and number of channels."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from crosshead.data.errors import DataError, load_package
from crosshead.data.files import open_regular
from crosshead.data.limits import check_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
Pixels = NDArray[np.uint8]
EncodedImage = Path | bytes | Pixels
"""A file, the bytes of a file, or pixels (H, W) or (H, W, channels) that need no decoding."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")
"""Formats to decode. Pillow supports more; for PostScript it would start another program."""

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
MAX_PIXELS = 1 << 22
"""Limit of the pixels of an image: a model determines its size, and so the memory."""

COLOURS = {"grey": 1, "rgb": 3, "bgr": 3, "rgba": 4}
"""The number of channels of each colour order."""

RESAMPLINGS = ("nearest", "bilinear", "bicubic", "lanczos")
ROTATED_SIDEWAYS = (5, 6, 7, 8)
ORIENTATION_TAG = 0x0112


logging.getLogger("PIL").addHandler(logging.NullHandler())  # its messages about damaged files would go to stderr


class BrokenImageError(ValueError):
    """Error for an image that cannot be read; the message has the reason, not the image's name."""


@dataclass(frozen=True)
class ImageForm:
    """The size and channels that all images are converted to.

    * ``size`` (height, width) in pixels
    * ``channels``: 1 grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity
    * ``crop``: None stretches the whole image to the size; a share s in (0, 1] keeps the aspect ratio: the largest
      centred rectangle with that ratio, scaled by s, is resized to the size
    * ``resample``: the interpolation, with Pillow's antialiasing when the image is reduced

    Raises DataError for values out of range.

    Examples
    --------
    >>> ImageForm((224, 224), 3, crop=0.875).box((400, 300))
    (68.75, 18.75, 331.25, 281.25)
    """

    size: Size
    channels: int
    crop: float | None = None
    resample: str = "bilinear"

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise DataError(f"the image size is {self.size[0]}×{self.size[1]}; both must be at least 1")
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise DataError(f"the image size is {self.size[0]}×{self.size[1]}; at most {MAX_PIXELS} pixels are allowed")
        if self.channels not in MODES:
            raise DataError(f"images of {self.channels} channels are unknown; 1 is grey, 3 RGB, 2 and 4 with opacity")
        if self.crop is not None and not 0.0 < self.crop <= 1.0:
            raise DataError(f"the crop is {self.crop}; it is a share above 0 and at most 1")
        if self.resample not in RESAMPLINGS:
            raise DataError(f"resampling {self.resample!r} is unknown; choose one of {', '.join(RESAMPLINGS)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (*self.size, self.channels)

    def box(self, found: Size) -> tuple[float, float, float, float]:
        """The part (left, top, right, bottom) of an image of size (width, height) that is resized."""
        width, height = found
        if self.crop is None:
            return (0.0, 0.0, float(width), float(height))
        scale = min(width / self.size[1], height / self.size[0]) * self.crop
        left, top = (width - scale * self.size[1]) / 2, (height - scale * self.size[0]) / 2
        return (left, top, width - left, height - top)

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        return {**asdict(self), "size": list(self.size)}


def read_header(encoded: EncodedImage) -> tuple[Size, bool]:
    """Read (height, width) of the upright image, and whether it is grey; BrokenImageError if it cannot be read."""
    if isinstance(encoded, np.ndarray):
        return (encoded.shape[0], encoded.shape[1]), encoded.ndim == 2 or encoded.shape[2] < 3
    with _open(encoded) as image:
        width, height = image.size
        sideways = image.getexif().get(ORIENTATION_TAG) in ROTATED_SIDEWAYS
        return ((width, height) if sideways else (height, width)), image.mode in GREY_MODES


def decode(encoded: EncodedImage, form: ImageForm) -> Pixels:
    """Decode an image to pixels (height, width, channels) of 0…255.

    EXIF orientation is applied first. Colours are converted as in Pillow: palettes become their colours, CMYK becomes
    RGB, colours become grey by 0.299 R + 0.587 G + 0.114 B, opacity is dropped if the form has none. 16-bit grey is
    divided by 257, so that the whole range is kept; 16-bit colours keep their upper eight bits. Only the first image of
    an animation is used.

    Raises
    ------
    BrokenImageError
        For a file that is empty, damaged, no image, or holds floating-point pixels.
    """
    if isinstance(encoded, np.ndarray):
        return _resized(_of_array(encoded), form)
    operations = load_package("PIL.ImageOps", "crosshead[images]", "reading images")
    with _open(encoded) as image:
        operations.exif_transpose(image, in_place=True)  # upright images are not copied
        return _resized(image, form)


def _resized(image: Image, form: ImageForm) -> Pixels:
    module = load_package("PIL.Image", "crosshead[images]", "reading images")
    converted = _to_mode(image, MODES[form.channels])
    height, width = form.size
    if converted.size != (width, height) or form.crop not in (None, 1.0):
        method = module.Resampling[form.resample.upper()]
        converted = converted.resize((width, height), method, box=form.box(converted.size))
    return np.asarray(converted, dtype=np.uint8).reshape(form.shape)


def _of_array(pixels: Pixels) -> Image:
    module = load_package("PIL.Image", "crosshead[images]", "reading images")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    made: Image = module.fromarray(np.ascontiguousarray(pixels))
    return made


@contextmanager
def _open(encoded: Path | bytes) -> Iterator[Image]:
    """Open an image; any exception while it is in use becomes a BrokenImageError."""
    module = load_package("PIL.Image", "crosshead[images]", "reading images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about metadata are irrelevant for the pixels
        warnings.simplefilter("error", module.DecompressionBombWarning)
        try:
            with _content(encoded) as stream, module.open(stream, formats=FORMATS) as image:
                width, height = image.size
                check_pixels(width, height, _size(encoded))
                yield image
        except (BrokenImageError, MemoryError, DataError):
            raise
        except Exception as error:  # damaged files make decoders raise almost anything
            raise BrokenImageError(_reason(encoded, error)) from error


def _content(encoded: Path | bytes) -> AbstractContextManager[BinaryIO]:
    return nullcontext(io.BytesIO(encoded)) if isinstance(encoded, bytes) else open_regular(encoded)


def _size(encoded: Path | bytes) -> int:
    return len(encoded) if isinstance(encoded, bytes) else encoded.stat().st_size


def _reason(encoded: Path | bytes, error: Exception) -> str:
    is_empty = not encoded if isinstance(encoded, bytes) else encoded.is_file() and encoded.stat().st_size == 0
    if is_empty:
        return "the image file is empty"
    # Pillow repeats the stream, and the system the file name, which the message has already.
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition(" <_io")[0]
    return f"not a readable image ({said})"


def _to_mode(image: Image, mode: str) -> Image:
    if image.mode.startswith("I"):
        image = _to_eight_bits(image)
    if image.mode == "F":
        raise BrokenImageError("pixels are floating-point numbers, not 8 bits a colour")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    converted: Image = image if image.mode == mode else image.convert(mode)
    return converted


def _to_eight_bits(image: Image) -> Image:
    """Convert 16-bit grey to 8 bits; Pillow's own conversion clips everything above 255 to white."""
    module = load_package("PIL.Image", "crosshead[images]", "reading images")
    values = np.asarray(image)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise BrokenImageError("pixels lie outside 0…65535, which is neither 8 nor 16 bits")
    reduced: Image = module.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    return reduced
