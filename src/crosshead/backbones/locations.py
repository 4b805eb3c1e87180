"""The last known locations of networks on this machine, by fingerprint, in a small file in the cache.

They are hints: the fingerprint of a file is compared before it is used. If the file is missing, damaged or not
writable, users have to give `--backbone` again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from crosshead.atomic_files import atomic_write
from crosshead.backbones.embedding import cache_folder
from crosshead.backbones.protocol import Backbone
from crosshead.data.files import read_regular
from crosshead.data.formats.json_text import parse_json

FILE = "backbones.json"
MOST = 500
"""Limit of the networks recorded; the oldest are dropped first."""

_MOST_BYTES = 1 << 20


def remember(backbone: Backbone) -> None:
    """Record the location of a backbone's file; nothing for Python code."""
    path = getattr(backbone, "path", None)
    if not isinstance(path, Path):
        return
    try:
        file, place = cache_folder() / FILE, str(path.resolve())
        places, fingerprint = _read(file), backbone.description["fingerprint"]
        if places.get(fingerprint) == place:
            return
        places.pop(fingerprint, None)
        kept = dict(list({**places, fingerprint: place}.items())[-MOST:])
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except (OSError, ValueError, RuntimeError):  # no home, no space, no permission, or an invalid name
        return


def known_location(fingerprint: str) -> Path | None:
    """The last known location of a network with this fingerprint, or None."""
    try:
        place = _read(cache_folder() / FILE).get(fingerprint)
    except RuntimeError:  # no home
        return None
    return None if place is None else Path(place)


def _read(file: Path) -> dict[str, str]:
    try:
        document = parse_json(read_regular(file, _MOST_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: place for name, place in document.items() if isinstance(place, str) and os.path.isabs(place)}
