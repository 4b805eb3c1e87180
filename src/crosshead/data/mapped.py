"""Pages of mapped files: held by nobody longer than a block of rows is read."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def release(rows: Any) -> None:
    """Take a block of rows that is mapped from a file out of this process's memory; anything else is left alone.

    The system keeps the pages as long as it has room for them, and reads them again where they are asked for again:
    what counts as this process's memory stays small, however large the file.

    Examples
    --------
    >>> rows = np.ones((3, 2))
    >>> release(rows)
    >>> float(rows.sum())
    6.0
    """
    pages = _mapping(rows)
    if pages is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = np.frombuffer(pages, dtype=np.uint8).ctypes.data
    offset = rows.ctypes.data - begin
    first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (offset + rows.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        pages.madvise(mmap.MADV_DONTNEED, first, last - first)


def _mapping(rows: Any) -> mmap.mmap | None:
    """The mapping that an array views and nobody may write to; what has been written to could be lost."""
    if not isinstance(rows, np.ndarray) or rows.flags.writeable or not rows.flags.c_contiguous:
        return None
    base: Any = rows
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        return None
    with memoryview(base) as pages:  # a view for reading may be of pages that another one has written to
        return base if pages.readonly else None
