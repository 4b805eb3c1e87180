"""Features on their way to a file: rows in a raw file, and how far they have come, so that a killed run resumes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.backbones.protocol import Features
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.image_source import Broken
from crosshead.data.mapped import map_array

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
        temporary = self._state.with_suffix(".tmp")
        temporary.write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")
        os.replace(temporary, self._state)
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
            document = json.loads(self._state.read_text(encoding="utf-8", errors="surrogatepass"))
            broken = [Broken(*one) for one in document["broken"]]
            progress = Progress(int(document["stop"]), int(document["rows"]), broken)
            written = self._data.stat().st_size // (4 * self._width)
        except (OSError, ValueError, KeyError, TypeError):
            return Progress()
        return progress if written >= progress.rows else Progress()


@contextmanager
def partial_folder(output: Path, key: str) -> Iterator[Path]:
    """The folder beside ``output`` where its features gather; one that another set of images left is emptied.

    It goes once the block ends well, and stays where it does not. Two runs never share one.
    """
    folder = output.with_name(f".{output.name}.partial")
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{output}: another run is writing this file; wait for it") from error
        _claim(folder, key)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def _claim(folder: Path, key: str) -> None:
    note = folder / "key"
    if not note.is_file() or note.read_text() != key:
        for entry in folder.iterdir():
            if entry.name != "lock":
                entry.unlink()
        note.write_text(key)


def text_of(value: Any) -> str:
    """A JSON text that is the same for the same content."""
    return json.dumps(value, sort_keys=True)
