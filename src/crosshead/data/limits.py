"""Limits of the memory that reading a file may take, against decompression bombs.

An uncompressed file is read once its size agrees with its header. Compressed data may unpack to `FREE_BYTES`, or to
`RATIO` times its packed size if that is more, and to at most `MEMORY_SHARE` of the free memory; images likewise. A
header that declares more is rejected before anything is allocated, and a stream that contains more is rejected at the
limit. Text compresses by a factor of 10 to 20, so that ordinary files are far below the limit; unpack others first.
"""

from __future__ import annotations

import os
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

from crosshead.data.errors import DataError

FREE_BYTES = 1 << 25
"""Bytes that any file may unpack to, however small it is."""

RATIO = 200
"""What larger files may unpack to, as a multiple of their packed size."""

MEMORY_SHARE = 0.5

BYTES_PER_PIXEL = 4
"""Bytes per pixel of a decoder: any image may have `FREE_BYTES` / 4 pixels, which is a 4K screen."""

FREE_FEATURES = 1 << 25
"""Features that sparse rows may have, however few of them occur: weights and means are dense."""

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def allowance(packed: int) -> int:
    """The number of bytes that ``packed`` bytes may unpack to.

    Examples
    --------
    >>> allowance(100) == FREE_BYTES
    True
    """
    most = max(FREE_BYTES, RATIO * max(packed, 0))
    free = free_memory()
    return most if free is None else min(most, max(FREE_BYTES, int(MEMORY_SHARE * free)))


def check_unpacked(place: str, unpacked: int, packed: int) -> None:
    """Raise DataError if ``unpacked`` bytes, as declared by a header, exceed the allowance of ``packed`` bytes.

    Examples
    --------
    >>> check_unpacked("a.npz: array 'X'", 8 << 30, 1 << 20)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: a.npz: array 'X' unpacks to 8.59 GB from 1.049 MB, …
    """
    if unpacked > allowance(packed):
        raise DataError(f"{place} unpacks to {size_text(unpacked)} from {size_text(packed)}, {_ADVICE}")


_ADVICE = (
    f"more than {RATIO} times as much, or than half of the free memory; if that is meant, unpack it first and give the "
    "unpacked file"
)


def check_width(place: str, n_features: int, packed: int) -> None:
    """Raise DataError if sparse rows have more features than the size of their file explains."""
    most = max(FREE_FEATURES, RATIO * packed // 8)
    if n_features > most:
        raise DataError(
            f"{place}: {n_features} features, and weights need room for each; a file of {size_text(packed)} may have "
            f"{most}: number the features that occur"
        )


def check_pixels(width: int, height: int, packed: int) -> None:
    """Raise ValueError if an image has too many pixels for its packed size."""
    most = allowance(packed) // BYTES_PER_PIXEL
    if width * height > most:
        raise ValueError(
            f"{width}×{height} pixels in {size_text(packed)}, more than the {most / 1e6:.1f} million that so small a "
            "file may have; save it smaller, or less compressed"
        )


def size_text(size: int) -> str:
    """Format a number of bytes for messages.

    Examples
    --------
    >>> size_text(80), size_text(1048576), size_text(8 << 30)
    ('80 bytes', '1.049 MB', '8.59 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1000**power:.4g} {'kMGT'[power - 1]}B"


def free_memory() -> int | None:
    """Bytes that this process may still allocate without displacing others; None if unknown."""
    found = [free for free in (_available(), _left_in_group()) if free is not None]
    return min(found) if found else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
        return None
    except (OSError, ValueError, IndexError):
        return _physical()


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _left_in_group() -> int | None:
    """Free memory of the control group; its file pages can be reclaimed, so they count as free."""
    try:
        limit = (_CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((_CONTROL_GROUP / "memory.current").read_text())
        pages = (_CONTROL_GROUP / "memory.stat").read_text().split("\n")
        cached = sum(int(line.split()[1]) for line in pages if line.startswith(("inactive_file ", "active_file ")))
        return None if limit == "max" else max(0, int(limit) - used + cached)
    except (OSError, ValueError, IndexError):
        return None


class LimitedStream(RawIOBase):
    """An unpacking stream that raises DataError beyond the allowance of the packed bytes read so far.

    A stream with a constant ratio ends soon after `FREE_BYTES`; no stream exceeds the allowance of the whole file.
    """

    def __init__(self, unpacked: BufferedIOBase, packed: Any, place: str) -> None:
        self._unpacked, self._packed, self._place = unpacked, packed, place
        self._given = 0
        self._allowed = FREE_BYTES

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack into a buffer; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        piece = self._unpacked.read1(len(view))  # unlike read, it returns the data before an error
        view[: len(piece)] = piece
        self._given += len(piece)
        if self._given > self._allowed:
            self._allowed = allowance(self._packed.tell())
            check_unpacked(self._place, self._given, self._packed.tell())
        return len(piece)


def limited(unpacked: BufferedIOBase, packed: Any, place: str) -> BufferedReader:
    """Create a buffered `LimitedStream`."""
    return BufferedReader(LimitedStream(unpacked, packed, place), 1 << 18)
