"""Check the built site: nothing is loaded from elsewhere, and what newcomers search for leads to a page.

python tools/check_site.py build/docs
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|srcset|data)=[\"'](?:https?:)?//"
    r"|<link\b(?=[^>]*rel=[\"'][^\"']*(?:stylesheet|icon|preload|font|modulepreload))[^>]*href=[\"'](?:https?:)?//",
    re.IGNORECASE,
)
"""What a browser would fetch from another host; ordinary links are no harm."""

LOADED_BY_STYLE = re.compile(r"@import\s+(?:url\()?[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//", re.IGNORECASE)

WORDS = ["logit", "calibration", "hinge", "ArcFace", "certificate", "ONNX", "sparse", "elastic net", "sample weight"]
WORDS += ["temperature"]
"""What a newcomer would search for."""


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    """Each page or style that would fetch something from another host."""
    for path in sorted(site.rglob("*.html")):
        for found in LOADED.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {found}"
    for path in sorted(site.rglob("*.css")):
        for found in LOADED_BY_STYLE.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {found}"


def search_index(site: Path) -> dict[str, Any]:
    """The index that the site's own search reads."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return document


def pages_with(index: dict[str, Any], words: str) -> list[str]:
    """The pages that have all of these words, those with them in a title first.

    >>> index = {"docnames": ["a", "b"], "terms": {"net": [0, 1]}, "titleterms": {"net": 1}}
    >>> pages_with(index, "Nets")
    ['b', 'a']
    """
    import snowballstemmer  # Sphinx's own

    stemmer = snowballstemmer.stemmer("english")
    places: set[int] | None = None
    titled: set[int] = set()
    for word in words.lower().split():
        stem = stemmer.stemWord(word)
        in_title, in_text = (_places(index[key].get(stem, [])) for key in ("titleterms", "terms"))
        places = (in_title | in_text) if places is None else places & (in_title | in_text)
        titled |= in_title
    names: list[str] = index["docnames"]
    return [names[place] for place in sorted(places or (), key=lambda place: (place not in titled, place))]


def _places(entry: int | list[int]) -> set[int]:
    return {entry} if isinstance(entry, int) else set(entry)


def main(site: Path) -> int:
    """Say what is wrong, or how much was looked at."""
    wrong = [f"loads from elsewhere: {found}" for found in loaded_from_elsewhere(site)]
    index = search_index(site)
    for words in WORDS:
        found = [name for name in pages_with(index, words) if not name.startswith("development/")]
        if found:
            print(f"{words:14} {len(found):3} pages, first {', '.join(found[:3])}")
        else:
            wrong.append(f"the search finds no page for {words!r}")
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{len(list(site.rglob('*.html')))} pages; nothing is loaded from elsewhere")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} SITE")
    sys.exit(main(Path(sys.argv[1])))
