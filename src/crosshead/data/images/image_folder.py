"""The images of a folder and their classes, by subfolders or by a list."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.checks import Place, as_labels, repeated
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.files import leads_outside
from crosshead.data.formats.json_text import parse_json

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm", ".pnm"}
)
TEST_FOLDERS = ("test", "val", "valid", "validation")
LISTS = ("metadata.csv", "metadata.jsonl")
NAME_COLUMN = "file_name"
LABEL_COLUMNS = ("label", "class", "target")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The images found below a folder, their labels or None, and the number of other files."""

    root: Path
    paths: list[Path]
    labels: Array | None
    n_ignored: int

    @property
    def names(self) -> list[str]:
        """The file names relative to the folder."""
        return [readable(path.relative_to(self.root).as_posix()) for path in self.paths]


@dataclass(frozen=True)
class Parts:
    """The folders of training images and of test images, and other folders with similar names."""

    training: Path
    test: Path | None = None
    others: tuple[str, ...] = ()


def parts_of(path: Path) -> Parts:
    """Find `train` and `test` folders; as classes they would be a silent error."""
    train = path / "train"
    if not train.is_dir():
        return Parts(path)
    tests = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
    if tests:
        return Parts(train, tests[0], tuple(other.name for other in tests[1:]))
    alone = all(entry == train or _is_hidden(entry) or not entry.is_dir() for entry in path.iterdir())
    return Parts(train) if alone else Parts(path)


def find_images(root: Path, target: str | None = None, classes: bool = True) -> ImageFiles:
    """Find images below `root`, in the order of their names, or of the list `metadata.csv` or `metadata.jsonl` there.

    A list has the columns `file_name`, relative to the folder, and `label`, or the one that `target` names. Without a
    list each subfolder is a class, with images at any depth. Without subfolders, or with ``classes=False``, images have
    no labels.
    """
    lists = [root / name for name in LISTS if (root / name).is_file()]
    if len(lists) > 1:
        raise DataError(f"{root}: both {LISTS[0]} and {LISTS[1]} list images; remove one of them")
    if lists:
        return _listed_images(root, lists[0], target)
    if target is not None:
        raise DataError(f"{root}: --target names a column of {LISTS[0]}, and there is none; folders are classes")
    return _images_in_folders(root) if classes else _all_images(root)


def readable(name: str) -> str:
    r"""Convert a file name to valid text: bytes that are not UTF-8 are escaped.

    Examples
    --------
    >>> readable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_image_name(path: Path) -> bool:
    """Whether a file has the name of an image."""
    return path.suffix.lower() in SUFFIXES


def _images_in_folders(root: Path) -> ImageFiles:
    entries = sorted(entry for entry in root.iterdir() if not _is_hidden(entry))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if _is_file(entry)]
    loose_images = [entry for entry in loose if is_image_name(entry)]
    if not folders:
        return ImageFiles(root, loose_images, None, len(loose) - len(loose_images))
    by_class = {folder.name: _files_below(folder) for folder in folders}
    images = {name: [file for file in found if is_image_name(file)] for name, found in by_class.items()}
    if not any(images.values()):
        return ImageFiles(root, [], None, 0)
    for folder in folders:
        if not images[folder.name]:
            raise DataError(f"{folder}: the class folder holds no images; add some or remove the folder")
    labels = np.array([name for name, found in images.items() for _ in found], dtype=np.str_)
    paths = [file for found in images.values() for file in found]
    n_files = len(loose) + sum(len(found) for found in by_class.values())
    return ImageFiles(root, paths, labels, n_files - len(paths))


def _all_images(root: Path) -> ImageFiles:
    files = _files_below(root)
    images = [file for file in files if is_image_name(file)]
    return ImageFiles(root, images, None, len(files) - len(images))


def _files_below(folder: Path) -> list[Path]:
    """All files at any depth, following links to folders; broken links are reported when they are decoded."""
    found: list[Path] = []
    ways = {folder: {folder.resolve()}}
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(place)
        above = ways.pop(here)
        folders[:] = [name for name in folders if not _is_hidden(here / name)]
        for name in folders:
            inside = (here / name).resolve()
            if inside in above:
                raise DataError(f"{here / name}: a link to one of its own parent folders; remove it")
            ways[here / name] = above | {inside}
        found += [here / name for name in files if not _is_hidden(here / name) and _is_file(here / name)]
    return sorted(found)


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def _refuse(error: OSError) -> None:
    """Raise the error of an unreadable folder, which would be skipped otherwise."""
    raise error


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _listed_images(root: Path, listing: Path, target: str | None) -> ImageFiles:
    rows: list[dict[str, Any]] = []
    label_name = None
    for row in _csv_rows(listing) if listing.suffix == ".csv" else _json_rows(listing):
        if not rows:
            label_name = _label_column(row, target, listing)
        # A list may have thousands of columns, of which only two are needed.
        rows.append({name: row[name] for name in (NAME_COLUMN, label_name) if name is not None and name in row})
    if not rows:
        raise DataError(f"{listing}: lists no images")
    place = Place(str(listing), below_header=listing.suffix == ".csv")
    paths = [_listed_file(root, row, place.row(index), listing) for index, row in enumerate(rows)]
    _check_once(paths, rows, place)
    labels = None if label_name is None else as_labels(_labels(rows, label_name, place), label_name, place)
    n_images = sum(is_image_name(file) for file in _files_below(root))
    return ImageFiles(root, paths, labels, max(0, n_images - len(set(paths))))


def _check_once(paths: list[Path], rows: list[dict[str, Any]], place: Place) -> None:
    first: dict[Path, int] = {}
    for index, path in enumerate(paths):
        if first.setdefault(path, index) != index:
            name = rows[index][NAME_COLUMN]
            raise DataError(
                f"{place.source}: {name!r} at {place.row(index)} was listed at {place.row(first[path])} already; "
                "remove one of them"
            )


def _csv_rows(listing: Path) -> Iterator[dict[str, Any]]:
    place = Place(str(listing), below_header=True)
    try:
        with listing.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_header(names, listing)
            for index, cells in enumerate(filter(None, reader)):
                if len(cells) != len(names):
                    raise DataError(
                        f"{listing}: {len(cells)} cells at {place.row(index)}, but the header has {len(names)}; "
                        "text with a comma needs quotes"
                    )
                yield dict(zip(names, cells, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{listing}: not a table of text in UTF-8 with commas ({error})") from error


def _check_header(names: list[str], listing: Path) -> None:
    if NAME_COLUMN not in names:
        found = ", ".join(map(repr, names)) or "an empty file"
        raise DataError(f"{listing}: no column {NAME_COLUMN!r}, which names the images; found {found}")
    twice = repeated(names)
    if twice:
        raise DataError(f"{listing}: two columns are called {twice[0]!r}; rename or remove one")


def _json_rows(listing: Path) -> Iterator[dict[str, Any]]:
    with listing.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DataError(f"{listing}: line {number} is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f"{listing}: line {number} is not a JSON object such as {{{NAME_COLUMN!r}: …}}")
            yield row


def _listed_file(root: Path, row: dict[str, Any], where: str, listing: Path) -> Path:
    name = row.get(NAME_COLUMN)
    if not isinstance(name, str) or not name:
        raise DataError(f"{listing}: no {NAME_COLUMN!r} at {where}; it says which image the row is about")
    path = root / name
    if leads_outside(name):
        raise DataError(f"{listing}: {name!r} at {where} lies outside the folder; give names below it")
    try:
        there = path.is_file()
    except OSError:  # a name longer than any file's
        there = False
    if not there:
        raise DataError(f"{listing}: {name!r} at {where} does not exist; correct the name or remove the row")
    return path


def _label_column(row: dict[str, Any], target: str | None, listing: Path) -> str | None:
    if target is not None:
        if target not in row:
            raise DataError(f"{listing}: no column {target!r}; found {', '.join(map(repr, row))}")
        return target
    return next((name for name in LABEL_COLUMNS if name in row), None)


def _labels(rows: list[dict[str, Any]], name: str, place: Place) -> Array:
    values = [row.get(name) for row in rows]
    for index, value in enumerate(values):
        if value is None or value == "":
            raise DataError(f"{place.source}: no label at {place.row(index)}; fill it in or remove the row")
        if not isinstance(value, str | int):
            raise DataError(f"{place.source}: label {value!r} at {place.row(index)}; give words or whole numbers")
    if all(isinstance(value, bool) for value in values) or all(type(value) is int for value in values):
        return np.array(values)
    return np.array([str(value) for value in values], dtype=np.str_)
