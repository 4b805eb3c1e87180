"""Read `.npz` archives, member by member; headers are checked against the archive first."""

from __future__ import annotations

import io
import math
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.limits import check_unpacked

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LONGEST_HEADER = 10_000
"""Limit of an array's header in bytes, as in NumPy."""

_SUFFIX = ".npy"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Header:
    """The content of an array's header, and the position of its values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def n_bytes(self) -> int:
        """The size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """The arrays of an open `.npz` file, by name."""

    def __init__(self, opened: zipfile.ZipFile, path: Path) -> None:
        self.zip, self.path = opened, path
        self.files = [name.removesuffix(_SUFFIX) for name in opened.namelist() if name.endswith(_SUFFIX)]

    def header(self, name: str) -> Header:
        """The header of an array; DataError if it is damaged or pickled."""
        with _reading(f"{self.path}: array {name!r}"), self.zip.open(name + _SUFFIX) as stream:
            return read_header(stream)

    def read(self, name: str) -> Array:
        """Read one array; DataError if it is damaged, pickled, or unpacks to far more than its packed size."""
        place = f"{self.path}: array {name!r}"
        with _reading(place):
            info = self.zip.getinfo(name + _SUFFIX)
            if info.compress_type not in PACKINGS:
                raise DataError(f"{place} is packed in another way than NumPy's; save it with numpy.savez")
            with self.zip.open(info) as stream:
                header = read_header(stream)
                if header.dtype.hasobject:
                    raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
                if header.n_bytes != info.file_size - header.start:
                    raise ValueError(f"{info.file_size} bytes instead of {header.start + header.n_bytes}")
                # The sizes in the directory may be wrong too, but the file has no more bytes than that.
                packed = min(info.compress_size, self.path.stat().st_size)
                check_unpacked(place, header.n_bytes, packed)
                return _values(stream, header)


def read_header(stream: Any) -> Header:
    """Parse the header of an `.npy` file or member; raises ValueError, or NumPy's exceptions, if it is invalid."""
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): (2, np.lib.format.read_array_header_1_0),
        (2, 0): (4, np.lib.format.read_array_header_2_0),
        (3, 0): (4, np.lib.format.read_array_header_2_0),  # the same in UTF-8, which only field names need
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format is unknown")
    width, parsed = readers[version]
    length = stream.read(width)
    n_bytes = int.from_bytes(length, "little")
    if n_bytes > LONGEST_HEADER:  # NumPy rejects it too, but only after unpacking all of it
        raise ValueError(f"a header of {n_bytes} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header is Python text, for which Python's parser may warn
        shape, fortran_order, dtype = parsed(io.BytesIO(length + stream.read(n_bytes)))
    if any(isinstance(size, bool) or not 0 <= size < 1 << 63 for size in shape):
        raise ValueError(f"shape {shape}")
    if dtype.itemsize == 0 and math.prod(shape) > 0:
        raise ValueError(f"values of {dtype} are empty")
    return Header(tuple(shape), fortran_order, dtype, stream.tell())


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an `.npz` archive; DataError if it is damaged."""
    with path.open("rb") as stream:
        with _reading(f"{path}: not a readable .npz archive", verb=""):
            opened = zipfile.ZipFile(stream)
            archive = Archive(opened, path)
        if not archive.files:
            raise DataError(f"{path}: a zip archive without arrays; unpack it and give its content")
        yield archive


def member(archive: Archive, name: str, source: str) -> Array:
    """Read one array of an archive; DataError if it is missing, damaged or pickled."""
    if name not in archive.files:
        raise DataError(f"{source}: no array {name!r}")
    return archive.read(name)


@contextmanager
def _reading(place: str, verb: str = " cannot be read") -> Iterator[None]:
    """Convert exceptions of zipfile and NumPy to DataError.

    A damaged header is parsed as Python text and can raise almost anything, also MemoryError.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise pickled(place) from error
        raise DataError(f"{place}{verb} ({str(error) or type(error).__name__}); is it truncated?") from error


def pickled(place: str) -> DataError:
    """Create the error for an array of Python objects."""
    return DataError(
        f"{place} holds Python objects, which would need pickle and is never read; store numbers or fixed-width strings"
    )


def _values(stream: Any, header: Header) -> Array:
    content = np.empty(header.n_bytes, dtype=np.uint8)
    view, found = content.data, 0
    while piece := stream.read(_PIECE):  # to the end, where the checksum is verified
        view[found : found + len(piece)] = piece
        found += len(piece)
    if found != len(view):
        raise EOFError(f"{found} bytes instead of {len(view)}")
    if header.dtype.itemsize == 0 or not found:
        return np.empty(header.shape, dtype=header.dtype)
    values: Array = content.view(header.dtype)
    check_letters(values)
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def check_letters(values: Array) -> None:
    """Raise ValueError if an array of text has invalid code points, on which NumPy fails later."""
    if values.dtype.kind == "U" and values.size:
        numbers = np.ascontiguousarray(values).reshape(-1).view(values.dtype.byteorder.replace("|", "=") + "u4")
        if int(numbers.max()) > sys.maxunicode:
            raise ValueError(f"number {int(numbers.max())} is not a valid code point")
