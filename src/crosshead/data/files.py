"""Open files, gzipped or not, as determined by their first bytes."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

from crosshead.data.limits import limited, size_text

GZIP_MAGIC = b"\x1f\x8b"

UNPACKING_ERRORS = (EOFError, OSError, zlib.error)
"""Exceptions of truncated or damaged gzip streams."""


def is_gzipped(path: Path) -> bool:
    """Whether the file begins with the magic number of gzip."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


@contextmanager
def open_unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file and unpack it if it is gzipped, within the limits of `crosshead.data.limits`."""
    with path.open("rb") as packed:
        if is_gzipped(path):
            with gzip.GzipFile(fileobj=packed) as unpacked, limited(unpacked, packed, str(path)) as stream:
                yield stream
        else:
            yield packed


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting for pipes or reading from devices.

    Raises OSError if it does not exist, cannot be opened, or is not a regular file.
    """
    stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a file but a folder, pipe or device", str(path))
    return stream


def leads_outside(name: str) -> bool:
    """Whether a file name found in a file leads out of that file's folder.

    Examples
    --------
    >>> leads_outside("cats/1.png"), leads_outside("../1.png"), leads_outside("/home/me/1.png")
    (False, True, True)
    """
    return Path(name).is_absolute() or ".." in Path(name).parts


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path: Path, most: int) -> bytes:
    """Read a regular file of at most ``most`` bytes; OSError otherwise, see `open_regular`."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise OSError(errno.EINVAL, f"{size_text(size)}, more than {size_text(most)}", str(path))
        return stream.read(size)
