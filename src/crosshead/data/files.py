"""Opening files, gzipped or not; told by their first bytes and not by their names."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"

UNPACKING_ERRORS = (EOFError, OSError, zlib.error)
"""What reading a gzip stream raises where it breaks off or is damaged."""


def is_gzipped(path: Path) -> bool:
    """Whether the file begins like a gzip stream."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


@contextmanager
def open_unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """The file's bytes, unpacked on the way where it is gzipped."""
    if is_gzipped(path):
        with gzip.open(path, "rb") as unpacked:
            yield unpacked
    else:
        with path.open("rb") as stream:
            yield stream
