"""Parse JSON from untrusted sources, with a limit of its nesting."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 32
"""Limit of the nesting of a document. Ours have at most 6 levels; each level is one recursion."""


def parse_json(content: bytes | str, *, strict: bool = False) -> Any:
    """Parse a JSON document; ValueError if it is invalid or nested deeper than `DEEPEST`.

    If ``strict``, repeated names and numbers such as NaN, which programs treat differently, are errors too.

    Examples
    --------
    >>> parse_json(b'{"rows": 3}')
    {'rows': 3}
    """
    hooks: dict[str, Any] = {"object_pairs_hook": _once_each, "parse_constant": _refuse} if strict else {}
    try:
        document = json.loads(content, **hooks)
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error
    if too_deep(document):
        raise ValueError("brackets are nested too deep")
    return document


def too_deep(document: Any) -> bool:
    """Whether a document is nested deeper than `DEEPEST`, determined without recursion.

    Examples
    --------
    >>> too_deep({"a": [1, [2]]})
    False
    """
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")
