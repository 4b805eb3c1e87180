"""Folders of Parquet files that form one data set of images, as in Hugging Face's layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.errors import DataError
from crosshead.data.formats.parquet_sizes import check_sizes
from crosshead.data.images.decoding import EncodedImage
from crosshead.data.images.image_folder import TEST_FOLDERS, is_image_name
from crosshead.data.images.storage import TableStorage

SUFFIX = ".parquet"
DATA_FOLDER = "data"
TRAINING = "train"

_SPLITS = "|".join((TRAINING, *TEST_FOLDERS))
_SPLIT = re.compile(rf"(?:^|[-_. ])({_SPLITS})(?=[-_. ]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"^(.*?)-(\d+)-of-(\d+)(?=[-.])")


@dataclass(frozen=True)
class Shards:
    """The Parquet files of the training images and of the test images, if any, in order of name.

    ``others`` are files of further parts of the data set, which are not read.
    """

    training: list[Path]
    test: list[Path]
    others: list[Path]

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        return [*self.training, *self.test]


def find_shards(folder: Path) -> Shards | None:
    """Find the Parquet files of a folder; None if there are none.

    They are in the folder itself, in its folder `data`, in `train` and `test` below either, or in its only folder with
    such files. Files with `train` in their names have training images and those with `test` (or `val`, `valid`,
    `validation`) test images; if no name has `train`, all are training images.

    Raises
    ------
    DataError
        If several folders qualify, or a file is missing: `train-00000-of-00002.parquet` alone.
    """
    files = _files_of_parts(folder)
    if not files:
        return None
    parts: dict[str, list[Path]] = {}
    for file, part in files:
        parts.setdefault(part, []).append(file)
    for found in parts.values():
        _check_complete(found)
    if TRAINING not in parts:
        return Shards(sorted(file for file, _ in files), [], [])
    test = next((name for name in TEST_FOLDERS if name in parts), None)
    others = [file for name, found in parts.items() if name not in (TRAINING, test) for file in found]
    return Shards(sorted(parts[TRAINING]), sorted(parts[test]) if test is not None else [], sorted(others))


def _files_of_parts(folder: Path) -> list[tuple[Path, str]]:
    """Each Parquet file and the part of the data set that it belongs to, "" if its name has none."""
    for place in (folder, folder / DATA_FOLDER):
        files = [(file, _part_named(file.stem)) for file in _parquet_files(place)]
        if files:
            return files
        below = [(file, part) for part in (TRAINING, *TEST_FOLDERS) for file in _parquet_files(place / part)]
        if below:
            return below
    folders = _folders(folder)
    configurations = [place for place in folders if _parquet_files(place)]
    if configurations and any(map(_has_images, folders)):
        return []  # folders of image classes; stray tables are ignored
    if len(configurations) > 1:
        names = ", ".join(place.name for place in configurations)
        raise DataError(f"{folder}: several folders hold {SUFFIX} files ({names}); give one of them")
    return [(file, _part_named(file.stem)) for place in configurations for file in _parquet_files(place)]


def _parquet_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith("."))
    for file in files:
        if file.is_symlink() and not file.exists():
            raise DataError(f"{file}: the link leads nowhere; fetch the file it stands for")
    return [file for file in files if file.is_file()]


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _has_images(folder: Path) -> bool:
    return any(is_image_name(entry) for entry in folder.iterdir())


def _part_named(stem: str) -> str:
    found = _SPLIT.search(stem)
    return "" if found is None else found[1].lower()


def _check_complete(files: Sequence[Path]) -> None:
    """Raise DataError if names such as train-00001-of-00003 show that files are missing."""
    known: dict[tuple[Path, str, int], set[int]] = {}
    for file in files:
        found = _NUMBER.match(file.name)
        if found is not None:
            known.setdefault((file.parent, found[1], int(found[3])), set()).add(int(found[2]))
    for (folder, name, count), numbers in known.items():
        missing = sorted(set(range(count)) - numbers)
        if missing:
            raise DataError(
                f"{folder}: {len(missing)} of the {count} files {name}-…-of-{count:05}{SUFFIX} missing, the first is "
                f"number {missing[0]:05}; fetch them too"
            )


class JoinedStorage:
    """The images of several Parquet files, one after the other, with one row group in memory at a time."""

    encoded = True

    def __init__(self, parts: Sequence[TableStorage]) -> None:
        self._parts = parts
        self._starts = np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
        self._latest = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def get(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The bytes of the images, or the files that the paths name."""
        return [self._image(int(row)) for row in rows]

    def place(self, row: int) -> str:
        """The file, and the row in it, counted from 1."""
        number, own = self._find(row)
        return self._parts[number].place(own)

    def _image(self, row: int) -> EncodedImage:
        number, own = self._find(row)
        if number != self._latest:
            self._parts[self._latest].release()
            self._latest = number
        return self._parts[number].get([own])[0]

    def _find(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return number, row - int(self._starts[number])


def check_alike(schemas: Sequence[Any], files: Sequence[Path]) -> None:
    """Raise DataError if a file has other columns than the first."""
    for schema, file in zip(schemas[1:], files[1:], strict=True):
        if schema.names != schemas[0].names or schema.types != schemas[0].types:
            raise DataError(f"{file}: its columns are not those of {files[0].name}; they must be parts of one table")


def rows_of(file: Path) -> int:
    """The number of rows of a Parquet file."""
    return sum(check_sizes(file).rows)
