"""Where a model may be saved, looked at before any time is spent on making it."""

from __future__ import annotations

import os
from pathlib import Path

from crosshead.cli.errors import UsageError
from crosshead.models.folder import DOCUMENT


def check_model_folder(folder: Path) -> None:
    """UsageError where a model cannot be saved there."""
    advice = "choose another folder with --output"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file is in the way of the model; {advice}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DOCUMENT).is_file():
        raise UsageError(f"{folder}: the folder holds something else than a model; {advice}")
    existing = next(parent for parent in folder.resolve().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"{folder}: {existing} cannot be written to; {advice}")
