"""The unpacked size of an Arrow or Feather file, from the first eight bytes of its compressed buffers.

Arrow allocates the declared size of a buffer before it unpacks it. The positions of buffers are in FlatBuffers: tables
that begin with an offset to the positions of their fields.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crosshead.data.errors import DataError
from crosshead.data.limits import check_unpacked

_MAGIC = b"ARROW1"
_CONTINUED = 0xFFFFFFFF
_DICTIONARY, _ROWS = 2, 3  # kinds of messages


def check_buffers(path: Path) -> None:
    """Raise DataError if the compressed buffers of a file unpack to more than its size explains."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            total = sum(_message(stream, place, size) for place in list(_messages(stream, size)))
        except (struct.error, ValueError, IndexError) as error:
            raise DataError(f"{path}: not a readable Arrow file ({error}); is it truncated?") from error
    check_unpacked(str(path), total, size)


def _messages(stream: BinaryIO, size: int) -> Iterator[int]:
    """The positions of the messages that Arrow will read: those in the file's footer, or one after the other."""
    if stream.read(6) != _MAGIC:
        yield from _in_a_row(stream, size)
        return
    stream.seek(max(0, size - 10))
    length = struct.unpack("<i", stream.read(4))[0]
    if not 0 < length <= size - 10:
        raise ValueError("its end is missing")
    footer = _Flat(_read(stream, size - 10 - length, length))
    for field in (2, 3):  # dictionaries and record batches: offset, length of the metadata, length of the body
        for place in footer.structs(footer.root, field, 24):
            yield struct.unpack_from("<q", footer.content, place)[0]


def _in_a_row(stream: BinaryIO, size: int) -> Iterator[int]:
    place = 0
    while place + 8 <= size:
        start, length = _metadata(stream, place)
        if length <= 0:
            return
        yield place
        metadata = _Flat(_read(stream, start, length))
        place = start + length + max(0, metadata.number(metadata.root, 3, "<q"))


def _metadata(stream: BinaryIO, place: int) -> tuple[int, int]:
    """The position and length of a message's metadata."""
    first, second = struct.unpack("<Ii", _read(stream, place, 8))
    return (place + 8, second) if first == _CONTINUED else (place + 4, first)


def _message(stream: BinaryIO, place: int, size: int) -> int:
    """The unpacked size of the compressed buffers of a message."""
    start, length = _metadata(stream, place)
    metadata = _Flat(_read(stream, start, length))
    kind, batch = metadata.number(metadata.root, 1, "<B"), metadata.table(metadata.root, 2)
    if kind == _DICTIONARY and batch is not None:
        batch = metadata.table(batch, 1)
    if kind not in (_DICTIONARY, _ROWS) or batch is None or metadata.table(batch, 3) is None:
        return 0
    total = 0
    for buffer in metadata.structs(batch, 2, 16):
        offset, packed = struct.unpack_from("<qq", metadata.content, buffer)
        at = start + length + offset
        if packed >= 8 and 0 <= at <= size - 8:
            total += max(0, struct.unpack("<q", _read(stream, at, 8))[0])
    return total


def _read(stream: BinaryIO, place: int, length: int) -> bytes:
    size = os.fstat(stream.fileno()).st_size
    if not 0 <= place <= size or not 0 <= length <= size - place:
        raise ValueError("it points outside the file")
    stream.seek(place)
    return stream.read(length)


class _Flat:
    """A FlatBuffer: its root table, and fields of tables by number."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.root = self._at(0, "<I")

    def number(self, table: int, field: int, kind: str) -> int:
        """A number in a table; 0 if it is omitted."""
        place = self._field(table, field)
        return 0 if place is None else self._at(place, kind)

    def table(self, table: int, field: int) -> int | None:
        """The position of a table that a table refers to."""
        place = self._field(table, field)
        return None if place is None else place + self._at(place, "<I")

    def structs(self, table: int, field: int, width: int) -> range:
        """The positions of the structs in a vector that a table refers to."""
        vector = self.table(table, field)
        if vector is None:
            return range(0)
        count = self._at(vector, "<I")
        if vector + 4 + count * width > len(self.content):
            raise ValueError("a list is longer than the file")
        return range(vector + 4, vector + 4 + count * width, width)

    def _field(self, table: int, field: int) -> int | None:
        layout = table - self._at(table, "<i")
        if 4 + 2 * field >= self._at(layout, "<H"):
            return None
        offset = self._at(layout + 4 + 2 * field, "<H")
        return table + offset if offset else None

    def _at(self, place: int, kind: str) -> int:
        if place < 0:
            raise ValueError("it points outside itself")
        return int(struct.unpack_from(kind, self.content, place)[0])
