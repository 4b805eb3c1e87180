"""Copy the commands and examples of docs/explanation/arithmetic.md, with their outputs, into its translation.

    python tools/translated_blocks.py

Prose is translated; what runs, and what it prints, is the same on both pages, in the same order.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "explanation"
PAGE, TRANSLATION = FOLDER / "arithmetic.md", FOLDER / "arithmetic.zh.md"
BLOCK = re.compile(r"^ *```(?:console|python)\n.*?^ *```$", re.MULTILINE | re.DOTALL)


def renewed(translation: str, page: str) -> str:
    r"""A translation's text with the blocks of the page.

    >>> renewed("一\n```python\nold\n```\n", "one\n```python\nnew\n```\n")
    '一\n```python\nnew\n```\n'
    """
    blocks = BLOCK.findall(page)
    if len(BLOCK.findall(translation)) != len(blocks):
        raise SystemExit(f"{PAGE.name} has {len(blocks)} blocks, its translation has not: translate what is new")
    remaining = iter(blocks)
    return BLOCK.sub(lambda _: next(remaining), translation)


if __name__ == "__main__":
    TRANSLATION.write_text(
        renewed(TRANSLATION.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")), encoding="utf-8"
    )
