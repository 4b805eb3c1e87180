"""Put a finished folder in the place of another, so that a killed run leaves the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sys
from pathlib import Path

from crosshead.data.mapped import refuse_output

_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2 and RENAME_SWAP of macOS's renamex_np alike
_AT_FDCWD = -100


def temporary_sibling(folder: Path) -> Path:
    """A fresh, empty folder beside `folder`, on the same disk, so that renaming does not copy."""
    sibling = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    sibling.mkdir()  # not tempfile.mkdtemp, whose folders no one else may read
    return sibling


def backup_of(folder: Path) -> Path:
    """Where the old folder waits for a moment on systems that cannot exchange two folders at once."""
    return folder.with_name(f".{folder.name}.previous")


def put_in_place(finished: Path, folder: Path) -> None:
    """Make `finished` become `folder` and remove what `folder` was.

    An absent or empty folder is replaced by one rename. A full one is exchanged in one step where the system
    can do that (Linux, macOS); elsewhere it is first moved to `backup_of(folder)`, where a reader finds it
    should the run be killed between two renames.
    """
    refuse_output()
    sync_folder(finished)
    is_full = folder.is_dir() and any(folder.iterdir())
    if not is_full:
        finished.rename(folder)
    elif _exchange(finished, folder):
        shutil.rmtree(finished)  # by now this is the old folder
    else:
        _rename_twice(finished, folder)
    # A backup of an earlier, killed run must not be taken for this model once this one is removed.
    shutil.rmtree(backup_of(folder), ignore_errors=True)
    sync_folder(folder.parent)


def _rename_twice(finished: Path, folder: Path) -> None:
    backup = backup_of(folder)
    shutil.rmtree(backup, ignore_errors=True)
    folder.rename(backup)
    finished.rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the disk cannot."""
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(first, second, _EXCHANGE) == 0)
    if library is not None and hasattr(library, "renameat2"):
        return bool(library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE) == 0)
    return False


def write_file(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk; systems that cannot open folders do without."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
