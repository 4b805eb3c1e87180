"""The storage of a source's images: files, rows of a Parquet file, or an array."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from crosshead.data.checks import Place
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError, load_package
from crosshead.data.files import leads_outside, open_regular
from crosshead.data.formats.json_text import parse_json
from crosshead.data.formats.parquet_sizes import check_sizes
from crosshead.data.images.decoding import EncodedImage, Pixels

IMAGE_COLUMNS = ("image", "img", "picture")
_PIECE = 1 << 20
PIECE_BYTES = 1 << 26
"""Bytes of images in a table decoded from its pages at a time."""

HELD_BYTES = 2 * PIECE_BYTES
MAX_ROWS = 64
T = TypeVar("T")


class ImageStorage(Protocol):
    """Access to images by index, encoded as in the source."""

    @property
    def encoded(self) -> bool:
        """Whether the images need decoding, which may pay in other processes."""
        ...

    def __len__(self) -> int: ...
    def get(self, rows: Sequence[int]) -> list[EncodedImage]: ...  # noqa: D102
    def place(self, row: int) -> str: ...  # noqa: D102


class FileStorage:
    """One file per image."""

    encoded = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The files of the rows."""
        return [self._paths[row] for row in rows]

    def place(self, row: int) -> str:
        """The name of the file."""
        return str(self._paths[row])


class ArrayStorage:
    """An array (N, H, W) or (N, H, W, channels) of uint8."""

    encoded = False

    def __init__(self, pixels: Pixels, source: str) -> None:
        self._pixels, self._source = pixels, source

    def __len__(self) -> int:
        return len(self._pixels)

    def get(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The pixels of the rows."""
        return [self._pixels[row] for row in rows]

    def place(self, row: int) -> str:
        """The row, counted from 1."""
        return f"{self._source}: row {row + 1}"


class TableStorage:
    """A column of a Parquet file with the bytes or paths of images, read piece by piece, fastest in order.

    A row group is not read as a whole: its dictionary may have one large image that a million rows repeat. Pieces read
    are kept while they are small, for access in another order.
    """

    encoded = True

    def __init__(self, path: Path, column: str) -> None:
        parquet = load_package("pyarrow.parquet", "crosshead[tables]", "reading Parquet")
        self._path, self._column = path, column
        sizes = check_sizes(path).rows
        self._file: Any = undamaged(lambda: parquet.ParquetFile(path), path, "the footer")
        self._starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        self._group = -1
        self._rest: Iterator[Any] = iter(())
        self._read = 0
        self._pieces: list[tuple[int, Any]] = []

    def __len__(self) -> int:
        return int(self._starts[-1])

    def get(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The bytes of the images, or the files that the paths name."""
        return [self._image(int(row)) for row in rows]

    def place(self, row: int) -> str:
        """The row, counted from 1."""
        return f"{self._path}: row {row + 1}"

    def paths(self) -> list[str | None]:
        """The path of each image in the column, (N,)."""
        images = self._file.schema_arrow.field(self._column)
        if not _is_struct(images.type):
            return [None] * len(self)
        if "path" not in [name.split(".")[-1] for name in _struct_fields(images)]:
            return [None] * len(self)
        field = f"{self._column}.path"

        def read() -> list[str | None]:
            table = self._file.read(columns=[field])
            table.validate(full=True)
            return [None if cell is None else cell["path"] for cell in table.column(self._column).to_pylist()]

        return undamaged(read, self._path, f"column {field!r}")

    def release(self) -> None:
        """Free what was read last."""
        self._group, self._rest, self._read, self._pieces = -1, iter(()), 0, []

    def _image(self, row: int) -> EncodedImage:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        own = row - int(self._starts[group])
        if group != self._group or (self._pieces and own < self._pieces[0][0]):
            self._begin(group)
        while own >= self._read:
            if not undamaged(self._read_on, self._path, f"row group {group + 1}"):
                raise DataError(
                    f"{self.place(row)} is missing: the file's footer says it is there; is the file damaged?"
                )
        first, cells = self._pieces[bisect_right(self._pieces, own, key=lambda piece: piece[0]) - 1]
        value = cells[own - first].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return self._file_of(value, row)
        return b"" if value is None else bytes(value)

    def _file_of(self, name: str, row: int) -> Path:
        if leads_outside(name):
            raise DataError(f"{self.place(row)}: {name!r} lies outside the table's folder; give names below it")
        return self._path.parent / name

    def _begin(self, group: int) -> None:
        """Start at the first row of a group."""
        self.release()
        # No cell is larger than its column, so that a piece takes at most little more than the column.
        size = int(self._file.metadata.row_group(group).total_byte_size)
        rows = min(max(1, PIECE_BYTES // max(1, size)), MAX_ROWS)
        self._rest = self._file.iter_batches(batch_size=rows, row_groups=[group], columns=[self._column])
        self._group = group

    def _read_on(self) -> bool:
        """Read the next rows of the group and free the first ones; False at the end."""
        batch = next(self._rest, None)
        if batch is None:
            return False
        batch.validate(full=True)
        cells = batch.column(self._column)
        self._pieces.append((self._read, cells))
        self._read += len(cells)
        while len(self._pieces) > 1 and sum(held.nbytes for _, held in self._pieces) > HELD_BYTES:
            del self._pieces[0]
        return True


def undamaged(read: Callable[[], T], path: Path, part: str) -> T:
    """Call ``read``; DataError with the file and the part of it if it fails."""
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # damaged files can raise almost anything
        reason = str(error).strip()
        raise DataError(f"{path}: {part} cannot be read ({reason}); is the file damaged?") from error


def image_column(schema: Any) -> str | None:
    """The column of a Parquet schema with images: bytes, or a struct of bytes and path; None without one."""
    types = load_package("pyarrow", "crosshead[tables]", "reading Parquet").types
    found = []
    for field in schema:
        is_bytes = types.is_binary(field.type) or types.is_large_binary(field.type)
        if _is_struct(field.type):
            is_image = "bytes" in _struct_fields(field)
        else:
            is_image = is_bytes and field.name in IMAGE_COLUMNS
        found += [field.name] if is_image else []
    return found[0] if len(found) == 1 else next((name for name in IMAGE_COLUMNS if name in found), None)


def class_names(schema: Any, column: str) -> list[str] | None:
    """The class names that Hugging Face's data sets have in the schema, if any."""
    try:
        document = parse_json((schema.metadata or {})[b"huggingface"])
        names = document["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def named_labels(labels: Array, names: Sequence[str] | None, place: Place) -> Array:
    """Replace labels by class names, if they are indices of named classes."""
    if names is None or labels.dtype.kind != "i":
        return labels
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if outside.size:
        row = int(outside[0])
        raise DataError(f"{place.source}: label {labels[row]} at {place.row(row)}, but {len(names)} classes are named")
    return np.array(names, dtype=np.str_)[labels]


def digest_image(digest: Any, encoded: EncodedImage) -> None:
    """Add the content of an image, the bytes of its file or its pixels, to a digest."""
    inner = hashlib.sha256()
    if isinstance(encoded, np.ndarray):
        inner.update(f"pixels {encoded.shape}\n".encode())
        inner.update(np.ascontiguousarray(encoded).reshape(-1).data)
    elif isinstance(encoded, bytes):
        inner.update(encoded)
    else:
        try:
            with open_regular(encoded) as stream:
                while piece := stream.read(_PIECE):
                    inner.update(piece)
        except OSError as error:
            inner.update(f"unreadable: {error.strerror}".encode())  # it is reported once it is to be decoded
    digest.update(inner.digest())


def _is_struct(arrow_type: Any) -> bool:
    types = load_package("pyarrow", "crosshead[tables]", "reading Parquet").types
    return bool(types.is_struct(arrow_type))


def _struct_fields(field: Any) -> list[str]:
    return [inner.name for inner in field.type]
