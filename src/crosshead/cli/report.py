"""`crosshead report`: one page about a model, or about predictions of any tool."""

from __future__ import annotations


def report() -> int:
    """Write a page."""
    return 0
