"""Resumable files of features: rows in a raw file and a record of the progress, so that a killed run resumes."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from crosshead.atomic_files import atomic_write, hidden_sibling
from crosshead.backbones.protocol import Features
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.formats.json_text import parse_json
from crosshead.data.images.source import Broken
from crosshead.data.memmap import map_array

LOCK, KEY = "lock", "key"
SAVE_SECONDS = 1.0
"""Limit of the work that a killed run loses."""


@dataclass
class Progress:
    """Numbers of finished source rows and of feature rows written, and the images that were skipped."""

    stop: int = 0
    rows: int = 0
    broken: list[Broken] = field(default_factory=list)


class PartialFeatures:
    """The features of one source, `NAME.bin`, and their progress, `NAME.json`, in a folder.

    Rows recorded as finished are on the disk; rows beyond them, written by a killed run, are removed.
    """

    def __init__(self, folder: Path, name: str, n_features: int) -> None:
        self._data, self._state, self._width = folder / f"{name}.bin", folder / f"{name}.json", n_features
        self.progress = self._read()
        with self._data.open("ab") as stream:
            stream.truncate(self.progress.rows * self._width * 4)
        self._stream = self._data.open("ab")
        self._saved = time.monotonic()

    def add(self, features: Features, stop: int, broken: tuple[Broken, ...]) -> None:
        """Append the rows of one batch, which ends before row ``stop`` of the source."""
        self._stream.write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        self.progress.stop, self.progress.rows = stop, self.progress.rows + len(features)
        self.progress.broken += broken
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write everything to the disk, then record the progress."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        document = {
            "stop": self.progress.stop,
            "rows": self.progress.rows,
            "broken": [[one.row, one.place, one.reason] for one in self.progress.broken],
        }
        with atomic_write(self._state) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")
        self._saved = time.monotonic()

    def close(self) -> None:
        """Close the file; rows not saved are lost."""
        self._stream.close()

    def rows(self) -> Array:
        """The finished features (N, D), memory-mapped."""
        shape = (self.progress.rows, self._width)
        with self._data.open("rb") as stream:
            return np.asanyarray(map_array(stream, np.dtype("<f4"), shape))

    def _read(self) -> Progress:
        try:
            document = parse_json(self._state.read_text(encoding="utf-8", errors="surrogatepass"))
            broken = [Broken(int(row), str(place), str(reason)) for row, place, reason in document["broken"]]
            progress = Progress(int(document["stop"]), int(document["rows"]), broken)
            written = self._data.stat().st_size // (4 * self._width)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return Progress()
        # Each finished image is a row or broken; other records were not written by `save`.
        left_out = {one.row for one in broken if 0 <= one.row < progress.stop}
        is_whole = 0 <= progress.rows <= written and progress.rows + len(left_out) == progress.stop
        return progress if is_whole and len(left_out) == len(broken) else Progress()


@contextmanager
def partial_folder(output: Path, key: str) -> Iterator[Path]:
    """The folder beside ``output`` for partial features; one left by another set of images is emptied.

    It is removed when the block ends without an exception. Two runs never share one.
    """
    folder = hidden_sibling(output, "partial")
    with _locked(folder, output):
        _claim(folder, key)
        yield folder
        _remove(folder)


def remove_left_behind(output: Path) -> None:
    """Remove the folder beside a finished ``output`` that was left by a run killed at its end."""
    folder = hidden_sibling(output, "partial")
    if folder.is_dir():
        with suppress(OSError, DataError), _locked(folder, output):
            _remove(folder)


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    """Create the folder if necessary, and hold its lock; DataError if another run does, and for links."""
    refuse_others(folder, output)
    lock = None
    while lock is None:
        folder.mkdir(exist_ok=True)
        lock = _take_lock(folder / LOCK, output)
    with lock:
        yield


def _take_lock(path: Path, output: Path) -> IO[str] | None:
    """The locked file; None if a run that ended has removed it meanwhile."""
    try:
        lock = path.open("a")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    except FileNotFoundError:
        pass
    except OSError as error:
        lock.close()
        raise DataError(f"{output}: another run is writing this file; wait for it") from error
    lock.close()
    return None


def refuse_others(folder: Path, output: Path) -> None:
    """Raise DataError unless it is a folder of regular files without other names.

    Writing to a link would write elsewhere, and opening a pipe would block.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DataError(f"{output}: {folder} is a link or no folder, which no run of crosshead leaves; remove it")
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another run has just removed it
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise DataError(f"{output}: {path} is a link or no file, which no run of crosshead leaves; remove it")


def _claim(folder: Path, key: str) -> None:
    """Empty the folder if another set of images left it."""
    note = folder / KEY
    if not note.is_file() or note.read_bytes() != key.encode():
        _empty(folder)
        with atomic_write(note) as temporary:
            temporary.write_text(key)


def _remove(folder: Path) -> None:
    """Remove the folder, its lock last; files that cannot be removed, or belong to the next run, remain."""
    with suppress(OSError):
        _empty(folder)
        (folder / LOCK).unlink()
        folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove everything but the lock."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            entry.unlink()


def text_of(value: Any) -> str:
    """Canonical JSON text: equal for equal content."""
    return json.dumps(value, sort_keys=True)
