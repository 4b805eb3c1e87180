"""Memory-mapped files: pages are released after each block of rows, and files that become shorter are detected.

Reading a mapped page beyond the end of its file raises SIGBUS, which ends the process. The native module's handler
maps zeros instead and records the mapping (`native/bindings/mapped_files.cpp`); `check_mapped` and `refuse_shortened`
then raise `DataError` before any result is shown or saved. Without the native module they only compare sizes: a file
that is truncated while a block is read still ends the process. Changes of the content at the same size are not
detected.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import IO, Any
from weakref import WeakValueDictionary

import numpy as np

from crosshead.atomic_files import ASKED
from crosshead.data.errors import DataError

_numbers = count()


class TruncatedError(ValueError):
    """Error for a file that is shorter than the data to read from it."""


class MappedFile(mmap.mmap):
    """The first ``length`` bytes of an open file, mapped for reading and guarded by the native module.

    Raises ValueError if the file is shorter.
    """

    path: str
    _number: int
    _slot: int | None

    def __new__(cls, stream: IO[bytes], length: int) -> MappedFile:
        """Map an open file."""
        pages = super().__new__(cls, stream.fileno(), length, access=mmap.ACCESS_READ)
        pages.path, pages._number, pages._slot = str(stream.name), next(_numbers), None
        native = _native()
        if native is not None:
            pages._slot = native.guard_mapping(_address(pages), length)
        _live[pages._number] = pages
        return pages

    @property
    def fault(self) -> str | None:
        """The message about pages that were missing when they were read, or would be now; None if there are none."""
        if self.size() < len(self):
            return f"{self.path}: the file became shorter while it was read; read it again once nobody writes to it"
        if _is_damaged(self._slot):
            return (
                f"{self.path}: a part could not be read: the file was cut and written anew meanwhile, or the disk "
                "failed; read it again once nobody writes to it"
            )
        return None

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the interpreter little is left to work with
            fault = self.fault
            if fault is not None:
                _gone[self._number] = fault
        native = _native()
        if native is not None and self._slot is not None:  # before unmapping: the addresses may be reused
            native.unguard_mapping(self._slot)


_live: WeakValueDictionary[int, MappedFile] = WeakValueDictionary()
_gone: dict[int, str] = {}
"""Faults of files that are no longer mapped."""

_known: ContextVar[frozenset[int] | None] = ContextVar("known", default=None)
"""Faults known before the outermost block of `refuse_shortened` began."""


def map_array(stream: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], *, fortran_order: bool = False) -> Any:
    """Memory-map the array at a stream's position, read-only.

    Raises TruncatedError if the file is too short.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as stream:
    ...     _ = stream.write(b"head" + np.arange(3.0).tobytes())
    ...     _ = stream.seek(4)
    ...     array = map_array(stream, np.dtype(float), (3,))
    >>> array.tolist()
    [0.0, 1.0, 2.0]
    """
    stream.flush()
    offset = stream.tell()
    expected = offset + dtype.itemsize * int(np.prod(shape, dtype=object))
    found = stream.seek(0, 2)
    stream.seek(offset)
    if found < expected:
        raise TruncatedError(f"truncated: expected {expected} bytes, found {found}")
    if expected == offset:
        return np.empty(shape, dtype, order="F" if fortran_order else "C")
    pages = MappedFile(stream, expected)
    # NumPy's memmap type: joblib passes such arrays to its processes by name, not by content.
    array: Any = np.ndarray.__new__(
        np.memmap, shape, dtype, buffer=pages, offset=offset, order="F" if fortran_order else "C"
    )
    array._mmap, array.filename, array.offset, array.mode = pages, stream.name, offset, "r"
    return array


def check_mapped(rows: Any) -> None:
    """Raise DataError if ``rows``, or the array they are a subset of, are mapped from a file that became shorter.

    Examples
    --------
    >>> check_mapped(np.ones((3, 2)))
    """
    if not _live:
        return
    base: Any = getattr(rows, "features", rows)  # of `RowSubset`
    while isinstance(base, np.ndarray):
        base = base.base
    fault = base.fault if isinstance(base, MappedFile) else None
    if fault is not None:
        raise DataError(fault)


@contextmanager
def refuse_shortened() -> Iterator[None]:
    """Context that raises DataError at its end if any mapped file became shorter within it.

    It replaces any error raised in the context, which may be due to missing pages.

    Examples
    --------
    >>> with refuse_shortened():
    ...     pass
    """
    before = frozenset(_faults())
    token = _known.set(before) if _known.get() is None else None
    try:
        yield
        _refuse_others(before)
    except Exception as error:
        _refuse_others(before, error)
        raise
    finally:
        if token is not None:
            _known.reset(token)


def refuse_output() -> None:
    """Raise DataError if a mapped file became shorter within the outermost `refuse_shortened`, if there is one.

    `crosshead.atomic_files` calls it before an output gets its name: results of missing pages are never saved.

    Examples
    --------
    >>> with refuse_shortened():
    ...     refuse_output()
    """
    known = _known.get()
    if known is not None:
        _refuse_others(known)


ASKED.append(refuse_output)


def _refuse_others(before: frozenset[int], error: Exception | None = None) -> None:
    for number, fault in _faults().items():
        if number not in before:
            raise DataError(fault) from error


def _faults() -> dict[int, str]:
    live = {number: pages.fault for number, pages in list(_live.items())}
    return {**_gone, **{number: fault for number, fault in live.items() if fault is not None}}


def _is_damaged(slot: int | None) -> bool:
    native = _native()
    return native is not None and slot is not None and bool(native.is_mapping_damaged(slot))


@cache
def _native() -> Any | None:
    return import_module("crosshead._native") if find_spec("crosshead._native") is not None else None


def _address(pages: mmap.mmap) -> int:
    return int(np.frombuffer(pages, dtype=np.uint8).ctypes.data)


def release(rows: Any) -> None:
    """Release the memory pages of a block of rows that is mapped from a file; other arrays are not affected.

    The system caches the pages while it has memory, and reads them again on demand, so that the memory of this process
    remains small for files of any size. Raises DataError if the file became shorter.

    Examples
    --------
    >>> rows = np.ones((3, 2))
    >>> release(rows)
    >>> float(rows.sum())
    6.0
    """
    check_mapped(rows)
    pages = _mapping(rows)
    if pages is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    offset = rows.ctypes.data - _address(pages)
    first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (offset + rows.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        pages.madvise(mmap.MADV_DONTNEED, first, last - first)


def _mapping(rows: Any) -> mmap.mmap | None:
    """The read-only mapping that an array is a view of; written pages could be lost."""
    if not isinstance(rows, np.ndarray) or rows.flags.writeable or not rows.flags.c_contiguous:
        return None
    base: Any = rows
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        return None
    with memoryview(base) as pages:  # a read-only view may be of pages written through another
        return base if pages.readonly else None
