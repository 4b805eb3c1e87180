"""One image file, or its bytes, becomes upright pixels of a wanted size and number of channels."""

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
Picture = Path | bytes | Pixels
"""A file, a file's bytes, or pixels (H, W) or (H, W, channels) that need no decoding."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")
"""What is decoded. Pillow knows more, told by content: for PostScript it would start another program."""

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
MOST_PIXELS = 1 << 22
"""Of an image that a network takes, or whose pixels are features: a model says its size, and memory follows it."""

COLOURS = {"grey": 1, "rgb": 3, "bgr": 3, "rgba": 4}
"""The channels of each order of colours."""

RESAMPLINGS = ("nearest", "bilinear", "bicubic", "lanczos")
ROTATED_SIDEWAYS = (5, 6, 7, 8)
ORIENTATION_TAG = 0x0112


logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of damaged files would go to stderr


class BrokenImageError(ValueError):
    """One image that cannot be read; the message says why, and leaves its name to whoever knows it."""


@dataclass(frozen=True)
class ImageForm:
    """What all images are brought to.

    * ``size`` (height, width) in pixels
    * ``channels``: 1 grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity
    * ``crop``: None stretches the whole image to the size; a share s in (0, 1] keeps the proportions: of the largest
      centred rectangle that has them, the centred part whose sides are s times as long is resized to the size
    * ``resample``: how pixels are interpolated, with Pillow's antialiasing where the image shrinks

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
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise DataError(
                f"the image size is {self.size[0]}×{self.size[1]}; at most {MOST_PIXELS} pixels are allowed"
            )
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


def read_header(picture: Picture) -> tuple[Size, bool]:
    """(height, width) as seen upright, and whether the image is grey; BrokenImageError where it is not one."""
    if isinstance(picture, np.ndarray):
        return (picture.shape[0], picture.shape[1]), picture.ndim == 2 or picture.shape[2] < 3
    with _open(picture) as image:
        width, height = image.size
        sideways = image.getexif().get(ORIENTATION_TAG) in ROTATED_SIDEWAYS
        return ((width, height) if sideways else (height, width)), image.mode in GREY_MODES


def decode(picture: Picture, form: ImageForm) -> Pixels:
    """The image as pixels (height, width, channels) of 0…255.

    EXIF orientation is applied first. Colours are converted as Pillow does: palettes become their colours, CMYK
    becomes RGB, colours become grey by 0.299 R + 0.587 G + 0.114 B, opacity is dropped where the form has none. Grey
    of 16 bits is divided by 257, so that the whole range is kept; 16-bit colours keep their upper eight bits. Of an
    animation the first picture counts.

    Raises
    ------
    BrokenImageError
        For a file that is empty, damaged, no image, or holds floating-point pixels.
    """
    if isinstance(picture, np.ndarray):
        return _resized(_of_array(picture), form)
    operations = load_package("PIL.ImageOps", "Pillow", "reading images")
    with _open(picture) as image:
        operations.exif_transpose(image, in_place=True)  # which copies no picture that is upright already
        return _resized(image, form)


def _resized(image: Image, form: ImageForm) -> Pixels:
    module = load_package("PIL.Image", "Pillow", "reading images")
    converted = _to_mode(image, MODES[form.channels])
    height, width = form.size
    if converted.size != (width, height) or form.crop not in (None, 1.0):
        method = module.Resampling[form.resample.upper()]
        converted = converted.resize((width, height), method, box=form.box(converted.size))
    return np.asarray(converted, dtype=np.uint8).reshape(form.shape)


def _of_array(pixels: Pixels) -> Image:
    module = load_package("PIL.Image", "Pillow", "reading images")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    made: Image = module.fromarray(np.ascontiguousarray(pixels))
    return made


@contextmanager
def _open(picture: Path | bytes) -> Iterator[Image]:
    """An open image; whatever goes wrong while it is in use becomes a BrokenImageError."""
    module = load_package("PIL.Image", "Pillow", "reading images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata is not our reader's business; the pixels are
        warnings.simplefilter("error", module.DecompressionBombWarning)
        try:
            with _content(picture) as stream, module.open(stream, formats=FORMATS) as image:
                width, height = image.size
                check_pixels(width, height, _size(picture))
                yield image
        except (BrokenImageError, MemoryError, DataError):
            raise
        except Exception as error:  # damaged files make decoders raise almost anything
            raise BrokenImageError(_reason(picture, error)) from error


def _content(picture: Path | bytes) -> AbstractContextManager[BinaryIO]:
    return nullcontext(io.BytesIO(picture)) if isinstance(picture, bytes) else open_regular(picture)


def _size(picture: Path | bytes) -> int:
    return len(picture) if isinstance(picture, bytes) else picture.stat().st_size


def _reason(picture: Path | bytes, error: Exception) -> str:
    is_empty = not picture if isinstance(picture, bytes) else picture.is_file() and picture.stat().st_size == 0
    if is_empty:
        return "the image file is empty"
    # Pillow repeats the stream, and the system the file's name, which whoever shows the reason says before it.
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
    """Sixteen-bit grey to eight; Pillow's own conversion clips everything above 255 to white."""
    module = load_package("PIL.Image", "Pillow", "reading images")
    values = np.asarray(image)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise BrokenImageError("pixels lie outside 0…65535, which is neither 8 nor 16 bits")
    reduced: Image = module.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    return reduced
