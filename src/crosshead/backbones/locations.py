"""Where networks lie on this machine: a small file in the cache, by fingerprint.

It is a hint and no more: whoever looks a network up compares its fingerprint before using it. A file that is missing,
damaged or cannot be written means that a person says `--backbone` again.
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
"""Networks that are remembered; the oldest go first."""

_MOST_BYTES = 1 << 20


def remember(backbone: Backbone) -> None:
    """Note where the file of a backbone lies that a person named; nothing for one that is Python code."""
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
    except (OSError, ValueError, RuntimeError):  # no home, no room, no right to write, a name that is no text
        return


def recalled(fingerprint: str) -> Path | None:
    """Where a network with this fingerprint was when a person last named it."""
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
