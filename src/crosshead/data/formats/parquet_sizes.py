"""The unpacked size of a Parquet file, from its footer and page headers, without unpacking anything.

Both are structs of Thrift's compact protocol. They are parsed here because pyarrow's metadata objects abort the process
if a damaged footer makes its C++ code throw, and because page sizes are only in the page headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from crosshead.data.errors import DataError
from crosshead.data.limits import RATIO, check_unpacked

MAGIC = b"PAR1"
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE
_OFFSET_BYTES = 4  # per BYTE_ARRAY value, in addition to its bytes
_FIXED = 7
_LARGEST_PAGE = 1 << 31
_HEADER_BYTES, _LONGEST_HEADER = 1 << 14, 1 << 24
_DEEPEST = 16
_LAST_FIELD = 100  # Parquet's fields have numbers up to 20; each stored field takes a hundred times its byte

Fields = dict[int, Any]


@dataclass(frozen=True)
class RowGroups:
    """The number of rows of each row group."""

    rows: list[int]


def check_sizes(path: Path) -> RowGroups:
    """Raise DataError if a file unpacks to more than its size explains, or its footer or pages cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            groups, types = _footer(stream, size)
            check_unpacked(str(path), sum(_unpacked(chunk, types) for group in groups for chunk in group[1]), size)
            if size < _LARGEST_PAGE // RATIO:  # in a larger file, pages may have any size
                check_unpacked(
                    str(path), sum(_pages(stream, chunk, size) for group in groups for chunk in group[1]), size
                )
            return RowGroups([max(0, int(group[3])) for group in groups])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path}: not a readable Parquet file (its footer is damaged, {error}); is it truncated?"
            ) from error


def _footer(stream: BinaryIO, size: int) -> tuple[list[Fields], list[int]]:
    """The row groups, and the widths of fixed-length columns, one per leaf of the schema."""
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != MAGIC or not 0 < length <= size - 8:
        raise ValueError("the end of the file is missing")
    stream.seek(size - 8 - length)
    footer, _ = _Reader(stream.read(length)).struct()
    leaves = [element.get(2, 0) for element in footer[2] if element.get(5, 0) == 0]
    return footer.get(4) or [], leaves


def _unpacked(chunk: Fields, leaves: list[int]) -> int:
    """The bytes of a column chunk: in Arrow's format, or of its pages if that is more."""
    about = chunk[3]
    kind, count = int(about[1]), max(0, int(about[5]))
    width = max(leaves, default=0) if kind == _FIXED else _WIDTHS.get(kind, _OFFSET_BYTES)
    return max(int(about[6]), count * width, 0)


def _pages(stream: BinaryIO, chunk: Fields, size: int) -> int:
    """The unpacked bytes of the pages of a column chunk, by their headers."""
    about = chunk[3]
    starts = [about[9], about.get(11, 0)]
    place = min(start for start in starts if start > 0)
    end, total = place + about[7], 0
    while place < min(end, size):
        try:
            header, length = _page_header(stream, place)
        except (ValueError, IndexError):
            return total  # Arrow does not read further either
        if min(header[2], header[3]) < 0:
            return total
        total += int(header[2])
        place += length + header[3]
    return total


def _page_header(stream: BinaryIO, place: int) -> tuple[Fields, int]:
    """A page header and its length; headers with long statistics need a second try."""
    stream.seek(place)
    try:
        return _Reader(stream.read(_HEADER_BYTES)).struct()
    except (ValueError, IndexError):
        stream.seek(place)
        return _Reader(stream.read(_LONGEST_HEADER)).struct()


class _Reader:
    """Parses structs of Thrift's compact protocol into dictionaries by field number."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def struct(self, depth: int = 0) -> tuple[Fields, int]:
        """The struct at the current position, and its end."""
        fields: Fields = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._signed()
            if number > _LAST_FIELD:
                raise ValueError(f"a field of number {number}")
            fields[number] = self._value(head & 15, depth, in_list=False)
        return fields, self._place

    def _value(self, kind: int, depth: int, *, in_list: bool) -> Any:
        if depth > _DEEPEST:
            raise ValueError("structs or lists are nested too deep")
        if kind in (1, 2):  # a boolean is in the field header, but in a list in a byte of its own
            return self._byte() == 1 if in_list else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._unsigned())
        if kind in (9, 10):
            return list(self._list(depth))
        if kind == 11:
            return list(self._map(depth))
        if kind == 12:
            return self.struct(depth + 1)[0]
        raise ValueError(f"a field of type {kind}")

    def _list(self, depth: int) -> Iterator[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        if count > len(self._content):  # each element takes at least one byte
            raise ValueError(f"a list of {count}")
        for _ in range(count):
            yield self._value(head & 15, depth + 1, in_list=True)

    def _map(self, depth: int) -> Iterator[Any]:
        count = self._unsigned()
        kinds = self._byte() if count else 0
        if count > len(self._content):
            raise ValueError(f"a map of {count}")
        for _ in range(count):
            for kind in (kinds >> 4, kinds & 15):
                yield self._value(kind, depth + 1, in_list=True)

    def _byte(self) -> int:
        byte = self._content[self._place]
        self._place += 1
        return byte

    def _take(self, count: int) -> bytes:
        piece = self._content[self._place : self._place + count]
        if len(piece) < count:
            raise ValueError("it breaks off")
        self._place += count
        return piece

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
