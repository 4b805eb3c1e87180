"""Open sources of images: folders, single files, arrays, IDX files, Parquet tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data import builtin
from crosshead.data.checks import Place, as_labels, check_lengths, check_names
from crosshead.data.dataset import Array
from crosshead.data.detect import recognise
from crosshead.data.errors import DataError, load_package
from crosshead.data.formats import idx, numpy_arrays
from crosshead.data.formats.npz_archive import Archive, member, open_archive
from crosshead.data.formats.parquet import read_parquet
from crosshead.data.formats.tables import table_labels, target_name_of
from crosshead.data.images.decoding import MODES
from crosshead.data.images.image_folder import LABEL_COLUMNS, LISTS, ImageFiles, find_images, parts_of
from crosshead.data.images.parquet_shards import JoinedStorage, Shards, check_alike, find_shards, rows_of
from crosshead.data.images.source import ImageSource
from crosshead.data.images.storage import (
    ArrayStorage,
    FileStorage,
    ImageStorage,
    TableStorage,
    class_names,
    image_column,
    named_labels,
    undamaged,
)
from crosshead.data.table_encoder import cells_of

ROW_NAME_COLUMNS = ("file_name", "file", "name", "id")


def open_images(
    source: str | Path, *, target: str | None = None, labels_required: bool = False, classes: bool = True
) -> ImageSource:
    """Open the images of a source; they are decoded on demand.

    A source is a folder with one folder per class or with a list (`metadata.csv` or `metadata.jsonl` with the columns
    file_name and label), also below `train` and `test`; a single image; IDX files; an .npz archive with images
    (N, H, W) or (N, H, W, channels) of uint8; a Parquet file whose image column holds bytes, or bytes and path, as
    Hugging Face's data sets do, or a folder of such files, with `train` and `test` in their names; or "digits".

    Parameters
    ----------
    target : str, optional
        The column or array of labels; by default one with a usual name.
    labels_required : bool
        Whether a source without labels is an error.
    classes : bool
        Whether the subfolders are classes, each of which must contain images, and images outside of them are skipped;
        otherwise images at any depth are used, without labels.

    Returns
    -------
    ImageSource

    Raises
    ------
    DataError
        If there are no images, or no labels although they are required.

    Examples
    --------
    >>> len(open_images("digits"))
    1797
    """
    kind, path = recognise(str(source))
    opened = _open(kind, path, str(source), target, classes)
    if labels_required:
        for part in (opened, opened.test):
            if part is not None and part.labels is None:
                raise DataError(f"{part.source}: images without classes; {_advice(path)}")
    return opened


def holds_images(source: str) -> bool:
    """Whether a source has images rather than features: a folder, an image, IDX, arrays or a table of images."""
    kind, path = recognise(source)
    if kind in ("images", "idx"):
        return True
    if kind == "builtin":
        return source == "digits"
    if kind == "parquet":
        return table_of_images(path)
    return kind == "npz" and _archive_of_images(path)


def table_of_images(path: Path) -> bool:
    """Whether a Parquet file has a column of images."""
    return image_column(_schema(path)) is not None


def _advice(path: Path) -> str:
    """Advice on how to give classes to the images of a source without them."""
    if not path.is_dir():
        return "give them labels beside the images, or put images in one folder per class"
    listed = any((folder / name).is_file() for folder in (path, path / "train") for name in LISTS)
    if listed:
        return f"the list has none of the columns {', '.join(LABEL_COLUMNS)}; name its column with --target"
    return "put them in one folder per class"


def _open(kind: str, path: Path, source: str, target: str | None, classes: bool) -> ImageSource:
    if kind == "images":
        return _open_files(path, target, classes)
    if kind == "parquet":
        return _open_table(path, target)
    if kind == "npz":
        return _open_archive(path, target)
    if target is not None:
        raise DataError(f"{source}: --target names a column or array, and this source has none to name")
    if kind == "idx":
        return _open_idx(path)
    if source == "digits":
        digits = builtin.read_builtin("digits")
        pixels = np.round(digits.features.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        return _source(ArrayStorage(pixels, source), None, digits.target, source)
    raise DataError(f"{source}: holds no images; give a folder of images, IDX, .npz or Parquet with images")


def _source(storage: ImageStorage, names: list[str] | None, labels: Array | None, source: str) -> ImageSource:
    return ImageSource(storage, np.arange(len(storage), dtype=np.int64), names, labels, source)


def _with(source: ImageSource, test: ImageSource | None = None, notes: tuple[str, ...] = ()) -> ImageSource:
    return ImageSource(source.storage, source.rows, source.names, source.labels, source.source, test, notes)


def _open_files(path: Path, target: str | None, classes: bool) -> ImageSource:
    if path.is_file():
        return _of_files(ImageFiles(path.parent, [path], None, 0), str(path))
    shards = find_shards(path)
    if shards is not None and table_of_images(shards.training[0]):
        return _open_shards(shards, str(path), target)
    parts = parts_of(path)
    found = find_images(parts.training, target, classes)
    if shards is not None and not found.paths:
        raise DataError(
            f"{path}: Parquet files without a column of images, and no images; of tables of features give one file"
        )
    opened = _of_files(found, str(path))
    if parts.test is None:
        return opened
    test = _of_files(find_images(parts.test, target, classes), str(parts.test))
    names = " and ".join(parts.others)
    left = f"{path}: the test images are those of {parts.test.name}; not read: {names}"
    return _with(opened, test, (*opened.notes, left) if names else opened.notes)


def _of_files(files: ImageFiles, source: str) -> ImageSource:
    if not files.paths:
        raise DataError(f"{source}: no images found; expected files such as .png or .jpg in one folder per class")
    ignored = f"{source}: {files.n_ignored} file(s) that are not images of a class were passed over"
    opened = _source(FileStorage(files.paths), files.names, files.labels, source)
    return _with(opened, notes=(ignored,) if files.n_ignored else ())


def _open_idx(path: Path) -> ImageSource:
    values, labels = idx.image_arrays(path)
    opened = _of_array(values, path.name, labels, str(path))
    test_path = idx.images_for_test(path)
    if test_path is None:
        return opened
    test_values, test_labels = idx.image_arrays(test_path)
    return _with(opened, _of_array(test_values, test_path.name, test_labels, str(test_path)))


def _open_archive(path: Path, target: str | None) -> ImageSource:
    source = str(path)
    with open_archive(path) as archive:
        names = list(archive.files)
        image_name = numpy_arrays.choose_name(names, numpy_arrays.FEATURE_NAMES, "images", "X", source)
        if image_name is None:
            raise DataError(f"{source}: no array of images; found {numpy_arrays.listed(names)}, expected one named 'X'")
        label_name = numpy_arrays.label_name_of(names, target, source)
        opened = _of_members(archive, image_name, label_name, source)
        test_name = numpy_arrays.choose_name(names, numpy_arrays.TEST_FEATURE_NAMES, "test images", "Xt", source)
        if test_name is None:
            return opened
        test_label_name = numpy_arrays.choose_name(names, numpy_arrays.TEST_LABEL_NAMES, "test labels", "yt", source)
        return _with(opened, _of_members(archive, test_name, test_label_name, source))


def _of_members(archive: Archive, image_name: str, label_name: str | None, source: str) -> ImageSource:
    pixels, labels = member(archive, image_name, source), None
    _check_pixels(pixels, image_name, source)
    if label_name is not None:
        labels = as_labels(member(archive, label_name, source), label_name, Place(source))
        check_lengths(len(pixels), labels.size, (image_name, label_name), source)
    return _of_array(pixels, image_name, labels, source)


def _of_array(pixels: Array, name: str, labels: Array | None, source: str) -> ImageSource:
    _check_pixels(pixels, name, source)
    return _source(ArrayStorage(pixels, source), None, labels, source)


def _check_pixels(pixels: Array, name: str, source: str) -> None:
    is_image = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] in MODES)
    if not is_image or 0 in pixels.shape or pixels.dtype.newbyteorder("=") != np.uint8:
        raise DataError(
            f"{source}: array {name!r} has shape {pixels.shape} and dtype {pixels.dtype}; images are uint8 of shape "
            "(N, height, width) or (N, height, width, channels)"
        )


def _archive_of_images(path: Path) -> bool:
    """Whether the features of an archive have the shape of images; reads only their header."""
    with open_archive(path) as archive:
        name = numpy_arrays.choose_name(list(archive.files), numpy_arrays.FEATURE_NAMES, "images", "X", str(path))
        if name is None:
            return False
        try:
            header = archive.header(name)
        except DataError:  # its reader has the better message
            return False
    return len(header.shape) in (3, 4) and header.dtype == np.uint8


def _open_table(path: Path, target: str | None) -> ImageSource:
    schema = _schema(path)
    column = image_column(schema)
    if column is None:
        raise DataError(f"{path}: no column of images; expected one of bytes, or of bytes and path, named 'image'")
    storage = TableStorage(path, column)
    if not len(storage):
        raise DataError(f"{path}: the table has columns but no rows")
    others = [name for name in schema.names if name != column]
    label_name = target_name_of(others, target, None, False, str(path))
    labels = None
    if label_name is not None:
        place = Place(str(path))
        found = table_labels(_column(path, label_name), label_name, place, None)
        labels = named_labels(found, class_names(schema, label_name), place)
        check_lengths(len(storage), labels.size, (column, label_name), str(path))
    return _source(storage, _table_names(storage, path, others), labels, str(path))


def _open_shards(shards: Shards, source: str, target: str | None) -> ImageSource:
    """Open Parquet files as one source, with the test images beside the training images."""
    check_alike([_schema(file) for file in shards.files], shards.files)
    opened = _joined(shards.training, source, target)
    test = _joined(shards.test, source, target) if shards.test else None
    names = ", ".join(file.name for file in shards.others)
    return _with(opened, test, (f"{source}: neither training nor test images, passed over: {names}",) if names else ())


def _joined(files: Sequence[Path], source: str, target: str | None) -> ImageSource:
    filled = [file for file in files if rows_of(file)]
    parts = [_open_table(file, target) for file in filled or files[:1]]
    labels = [part.labels for part in parts if part.labels is not None]
    odd = next(
        (part for part in parts if part.labels is not None and part.labels.dtype.kind != labels[0].dtype.kind), None
    )
    if odd is not None:
        raise DataError(
            f"{odd.source}: labels have another type than in {files[0].name}; are classes named in one alone?"
        )
    names = [name for part in parts for name in part.names or ()]
    storage = JoinedStorage([part.storage for part in parts if isinstance(part.storage, TableStorage)])
    told_apart = len(set(names)) == len(storage)
    return _source(storage, names if told_apart else None, np.concatenate(labels) if labels else None, source)


def _table_names(storage: TableStorage, path: Path, others: list[str]) -> list[str] | None:
    """The path of each image, or its name in a column, if these are unique; else None."""
    named = next((name for name in ROW_NAME_COLUMNS if name in others), None)
    for names in (storage.paths(), [] if named is None else cells_of(_column(path, named), named, str(path))):
        if names and all(isinstance(name, str | int) for name in names) and len(set(names)) == len(names):
            return [str(name) for name in names]
    return None


def _schema(path: Path) -> Any:
    parquet = load_package("pyarrow.parquet", "crosshead[tables]", "reading Parquet")
    try:
        schema = parquet.read_schema(path)
        check_names(schema.names, str(path))
        return schema
    except DataError:
        raise
    except Exception as error:  # damaged files can raise almost anything
        raise DataError(f"{path}: not a readable Parquet file ({error}); is it truncated?") from error


def _column(path: Path, name: str) -> Any:
    return undamaged(lambda: read_parquet(path, [name]), path, f"column {name!r}").column(name)
