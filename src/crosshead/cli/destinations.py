"""Where results are written, files and model folders: checked before any time is spent on making them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from crosshead.atomic_files import atomic_write
from crosshead.cli.errors import UsageError
from crosshead.models.serialization import DOCUMENT


def check_output(text: str, suffixes: Sequence[str], option: str = "--output") -> Path:
    """The path of a file to write; UsageError where its kind is unknown or it cannot lie there."""
    path = Path(text)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {text}: name a file that ends in {', '.join(suffixes)}")
    if path.is_dir():
        raise UsageError(f"{option} {text}: a folder is in the way")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {text}: a pipe or a device is in the way; name a file")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"{option} {text}: there is no folder {folder}")
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{option} {text}: the file is write-protected")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {text}: the folder {folder} cannot be written to")
    return path


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A text file to write to, which appears, or replaces the old one, once it is complete."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        yield stream


def check_model_folder(folder: Path) -> None:
    """UsageError where a model cannot be saved there."""
    advice = "choose another folder with --output"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file is in the way of the model; {advice}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DOCUMENT).is_file():
        raise UsageError(f"{folder}: the folder holds something else than a model; {advice}")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: the folder is write-protected; {advice}")
    existing = next(parent for parent in folder.resolve().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"{folder}: {existing} cannot be written to; {advice}")


def model_folder_for(output: str | None, source: str) -> Path:
    """Where the model of a source is saved; UsageError where it cannot be."""
    folder = Path(default_folder(source) if output is None else output)
    check_model_folder(folder)
    return folder


def default_folder(source: str) -> str:
    """The model's folder where none is named, in the working directory.

    Examples
    --------
    >>> default_folder("digits"), default_folder("data/flowers.csv.gz"), default_folder("X.npy,y.npy")
    ('digits-model', 'flowers-model', 'X-model')
    """
    name = Path(source.partition(",")[0]).resolve().name
    stem = re.sub(r"(?<=.)(\.[A-Za-z0-9]{1,10})+$", "", name)
    return f"{stem or 'crosshead'}-model"
