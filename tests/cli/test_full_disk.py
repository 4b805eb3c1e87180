"""A disk that is full: one line that names the file, exit code 1, the old file as it was, nothing half written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import crosshead.cli.main


@pytest.fixture
def model(crosshead, flowers: Path) -> str:
    assert crosshead("fit", flowers, "--target", "kind", "--output", "model").code == 0
    return "model"


def test_a_model(crosshead, model: str, flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (tmp_path / model / "model.json").read_bytes()
    monkeypatch.setattr(os, "fsync", _fail)
    outcome = crosshead("fit", flowers, "--target", "kind", "--alpha", 1, "--output", model)
    assert outcome.code == 1
    assert outcome.line == "crosshead: error: model: No space left on device; free some space, or write elsewhere"
    assert (tmp_path / model / "model.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers.csv", "model"]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.npz"])
def test_predictions(
    crosshead, model: str, flowers: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("what was there")
    monkeypatch.setattr("crosshead.cli.commands.predict.writers.CsvWriter.write", _fail)
    monkeypatch.setattr("crosshead.cli.commands.predict.writers.ParquetWriter.write", _fail)
    monkeypatch.setattr("crosshead.cli.commands.predict.writers.NpzWriter.write", _fail)
    outcome = crosshead("predict", model, flowers, "--proba", "--output", name)
    assert outcome.code == 1
    assert outcome.line == f"crosshead: error: {name}: No space left on device; free some space, or write elsewhere"
    assert (tmp_path / name).read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers.csv", "model", name]


def test_an_archive_is_let_go_of_without_a_traceback(tmp_path: Path) -> None:
    """`zipfile` writes an archive's end as it is collected, and complains past every handler where it cannot."""
    program = """
import resource, signal
import numpy as np
from pathlib import Path
from crosshead.cli.commands.predict.writers import Block, Columns, file_writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # files end here, as on a full disk
rows, classes = 2000, np.array(["a", "b"])
block = Block(np.arange(rows), classes[np.zeros(rows, dtype=int)], np.ones((rows, 2)))
try:
    with file_writer(Path("p.npz"), Columns("row", classes, rows, True)) as writer:
        writer.write(block)
except OSError as error:
    print(error.filename)
"""
    home = Path(crosshead.cli.main.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("p.npz\n", "")
    assert list(tmp_path.iterdir()) == []


def _fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot be asked for room")
def test_pixels_on_the_disk_have_their_room_before_they_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mapped page that finds no room ends the process; a file that finds none is an error."""
    from crosshead.cli.commands.fit import network_images

    asked = []

    def full(descriptor: int, first: int, size: int) -> None:
        asked.append((first, size))
        _fail()

    monkeypatch.setattr(network_images, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(network_images.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        network_images._room((100, 3, 32, 32))
    assert caught.value.filename == str(tmp_path)
    assert asked == [(0, 100 * 3 * 32 * 32)]
