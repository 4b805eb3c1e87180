"""Where a model is saved, and whether it can be, looked at before any time is spent on making it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crosshead.cli.errors import UsageError
from crosshead.models.serialization import DOCUMENT


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
