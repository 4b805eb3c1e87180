"""Images: a folder with one folder per class, a plain folder, or a single file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.dataset import Dataset
from crosshead.data.errors import DataError, load_package

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm", ".pnm"}
)
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
TEST_FOLDERS = ("test", "val", "valid", "validation")
ROTATED_SIDEWAYS = (5, 6, 7, 8)
ORIENTATION_TAG = 0x0112

Size = tuple[int, int]


@dataclass(frozen=True)
class _Files:
    """The images found, their classes (None for a plain folder), and how many other files lay there."""

    root: Path
    paths: list[Path]
    labels: list[str] | None
    n_ignored: int


def read_images(
    path: Path, *, size: Size | None, target_required: bool, encoding: Mapping[str, Any] | None = None
) -> Dataset:
    """Read pixels 0…255 as float32 rows, row by row of the image, colours last.

    `size` is (height, width). Without it all images must have one size. All-grey images stay grey; one image
    in colour makes all of them RGB. With an earlier `encoding` size and colours are those of training.
    A folder that holds `train` and `test` folders gives training rows and test rows.
    """
    if path.is_file():
        files = _Files(path.parent, [path], None, 0)
        return _read(files, str(path), _learned_form(encoding, size), target_required)
    train, test = _train_and_test(path)
    training = _read(_find(train), str(path), _learned_form(encoding, size), target_required)
    if test is None:
        return training
    held_out = _read(_find(test), str(test), _learned_form(training.encoding, None), target_required)
    return Dataset(
        training.features,
        training.target,
        row_names=training.row_names,
        test=held_out,
        encoding=training.encoding,
        source=training.source,
        notes=training.notes,
    )


def _read(files: _Files, source: str, form: tuple[Size | None, str | None], target_required: bool) -> Dataset:
    if not files.paths:
        raise DataError(f"{source}: no images found; expected files such as .png or .jpg in one folder per class")
    if files.labels is None and target_required:
        raise DataError(f"{source}: images without classes; put them in one folder per class")
    size, mode = form
    if size is None or mode is None:
        size, mode = _common_form(files.paths, size, mode)
    pixels = np.empty((len(files.paths), size[0] * size[1] * len(mode)), dtype=np.float32)
    for row, image_path in enumerate(files.paths):
        pixels[row] = _read_pixels(image_path, size, mode)
    ignored = f"{source}: {files.n_ignored} file(s) that are not images of a class were passed over"
    shape = [size[0], size[1]] if mode == "L" else [size[0], size[1], 3]
    return Dataset(
        pixels,
        None if files.labels is None else np.array(files.labels, dtype=np.str_),
        row_names=[image_path.relative_to(files.root).as_posix() for image_path in files.paths],
        encoding={"kind": "images", "size": list(size), "mode": mode, "shape": shape, "resample": "bilinear"},
        source=source,
        notes=(ignored,) if files.n_ignored else (),
    )


def _learned_form(encoding: Mapping[str, Any] | None, size: Size | None) -> tuple[Size | None, str | None]:
    """Size and mode as in training; an array of shape (height, width) or (height, width, 3) has them too."""
    if encoding is None:
        return size, None
    shape = encoding.get("shape")
    if shape is None or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DataError("the model was not trained on images, so it cannot take images; give features instead")
    learned = (int(shape[0]), int(shape[1]))
    if size is not None and size != learned:
        raise DataError(f"--size is {size[0]}×{size[1]}, but training had {learned[0]}×{learned[1]} (height×width)")
    return learned, "RGB" if len(shape) == 3 and shape[2] == 3 else "L"


def _train_and_test(path: Path) -> tuple[Path, Path | None]:
    """`train` and `test` folders, where a folder has both; as two classes they would be a quiet error."""
    train = path / "train"
    tests = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
    return (train, tests[0]) if train.is_dir() and tests else (path, None)


def _find(root: Path) -> _Files:
    """Images below each class folder, at any depth, in the order of their names."""
    entries = sorted(entry for entry in root.iterdir() if not _is_hidden(entry))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if entry.is_file()]
    loose_images = [entry for entry in loose if _is_image(entry)]
    if not folders:
        return _Files(root, loose_images, None, len(loose) - len(loose_images))
    by_class = {folder.name: _files_below(folder) for folder in folders}
    images = {name: [file for file in found if _is_image(file)] for name, found in by_class.items()}
    if not any(images.values()):
        return _Files(root, [], None, 0)
    for folder in folders:
        if not images[folder.name]:
            raise DataError(f"{folder}: the class folder holds no images; add some or remove the folder")
    labels = [name for name, found in images.items() for _ in found]
    paths = [file for found in images.values() for file in found]
    n_files = len(loose) + sum(len(found) for found in by_class.values())
    return _Files(root, paths, labels, n_files - len(paths))


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not _is_hidden(file))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _common_form(paths: Sequence[Path], size: Size | None, mode: str | None) -> tuple[Size, str]:
    """One size and one mode for all images, from their headers alone."""
    first: Size | None = None
    all_grey = True
    for path in paths:
        found, found_mode = _read_header(path)
        all_grey &= found_mode in GREY_MODES
        first = first or found
        if size is None and found != first:
            raise DataError(
                f"images differ in size: {paths[0]} has {first[0]}×{first[1]}, {path} has "
                f"{found[0]}×{found[1]} (height×width); say --size to bring them to one"
            )
    chosen = size or first
    assert chosen is not None  # there is at least one image
    return chosen, mode or ("L" if all_grey else "RGB")


def _read_header(path: Path) -> tuple[Size, str]:
    with _open(path) as image:
        width, height = image.size
        sideways = image.getexif().get(ORIENTATION_TAG) in ROTATED_SIDEWAYS
        return ((width, height) if sideways else (height, width)), image.mode


@contextmanager
def _open(path: Path) -> Iterator[Image]:
    """An open image; what goes wrong while it is in use is reported with the file's name."""
    module = load_package("PIL.Image", "Pillow", "reading images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata is not our reader's business; the pixels are
        warnings.simplefilter("error", module.DecompressionBombWarning)
        try:
            with module.open(path) as image:
                yield image
        except (DataError, MemoryError):
            raise
        except Exception as error:  # damaged files make decoders raise almost anything
            raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> DataError:
    if path.is_file() and path.stat().st_size == 0:
        return DataError(f"{path}: the image file is empty; remove or replace it")
    return DataError(f"{path}: not a readable image ({error}); remove or replace it")


def _read_pixels(path: Path, size: Size, mode: str) -> NDArray[np.uint8]:
    operations = load_package("PIL.ImageOps", "Pillow", "reading images")
    module = load_package("PIL.Image", "Pillow", "reading images")
    with _open(path) as image:
        upright = _to_mode(operations.exif_transpose(image), mode, path)
        if upright.size != (size[1], size[0]):
            upright = upright.resize((size[1], size[0]), module.Resampling.BILINEAR)
        return np.asarray(upright, dtype=np.uint8).reshape(-1)


def _to_mode(image: Image, mode: str, path: Path) -> Image:
    if image.mode.startswith("I"):
        image = _to_eight_bits(image, path)
    if image.mode == "F":
        raise DataError(f"{path}: pixels are floating-point numbers; save the image with 8 bits a colour")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    converted: Image = image if image.mode == mode else image.convert(mode)
    return converted


def _to_eight_bits(image: Image, path: Path) -> Image:
    """Sixteen-bit grey to eight; Pillow's own conversion clips everything above 255 to white."""
    module = load_package("PIL.Image", "Pillow", "reading images")
    values = np.asarray(image)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise DataError(f"{path}: pixels lie outside 0…65535; save the image with 8 or 16 bits")
    reduced: Image = module.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    return reduced
