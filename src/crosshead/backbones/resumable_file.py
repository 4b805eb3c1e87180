"""Features on their way to a file: rows in a raw file, and how far they have come, so that a killed run resumes."""

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
"""How much work a killed run loses at most."""


@dataclass
class Progress:
    """Rows of the source that are done, rows of features written, and images that were left out."""

    stop: int = 0
    rows: int = 0
    broken: list[Broken] = field(default_factory=list)


class PartialFeatures:
    """The features of one source, `NAME.bin`, and their progress, `NAME.json`, in a folder.

    What is recorded as done is on the disk: rows beyond it, written by a run that was killed, are cut off.
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
        """Put what there is on the disk, then say so."""
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
        """Close the file; what was not saved is lost."""
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
        # Each image that is done is a row or broken; what says otherwise was not written by `save`.
        left_out = {one.row for one in broken if 0 <= one.row < progress.stop}
        is_whole = 0 <= progress.rows <= written and progress.rows + len(left_out) == progress.stop
        return progress if is_whole and len(left_out) == len(broken) else Progress()


@contextmanager
def partial_folder(output: Path, key: str) -> Iterator[Path]:
    """The folder beside ``output`` where its features gather; one that another set of images left is emptied.

    It goes once the block ends well, and stays where it does not. Two runs never share one.
    """
    folder = hidden_sibling(output, "partial")
    with _locked(folder, output):
        _claim(folder, key)
        yield folder
        _remove(folder)


def remove_left_behind(output: Path) -> None:
    """Remove the folder beside a finished ``output``, which a run left that was killed at its very end."""
    folder = hidden_sibling(output, "partial")
    if folder.is_dir():
        with suppress(OSError, DataError), _locked(folder, output):
            _remove(folder)


@contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    """Make the folder where there is none, and hold its lock; DataError where another run does, and for links."""
    refuse_others(folder, output)
    lock = None
    while lock is None:
        folder.mkdir(exist_ok=True)
        lock = _take_lock(folder / LOCK, output)
    with lock:
        yield


def _take_lock(path: Path, output: Path) -> IO[str] | None:
    """The file with the lock on it; None where a run that ended has removed it meanwhile."""
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
    """DataError where the folder is none, or holds something else than files that have no other name.

    What is written to a link would be elsewhere, and opening a pipe would wait for ever.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DataError(f"{output}: {folder} is a link or no folder, which no run of crosshead leaves; remove it")
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another run has just removed it
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise DataError(f"{output}: {path} is a link or no file, which no run of crosshead leaves; remove it")


def _claim(folder: Path, key: str) -> None:
    """Empty the folder where another set of images left it."""
    note = folder / KEY
    if not note.is_file() or note.read_bytes() != key.encode():
        _empty(folder)
        with atomic_write(note) as temporary:
            temporary.write_text(key)


def _remove(folder: Path) -> None:
    """Remove the folder, its lock last; what cannot be removed, or belongs to the next run by then, stays."""
    with suppress(OSError):
        _empty(folder)
        (folder / LOCK).unlink()
        folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove all but the lock."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            entry.unlink()


def text_of(value: Any) -> str:
    """A JSON text that is the same for the same content."""
    return json.dumps(value, sort_keys=True)
