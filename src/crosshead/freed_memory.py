"""Freed memory goes back to the system, where the C library would keep it between what is still in use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    """The C library's malloc_trim; None where it has none (only glibc's keeps so much)."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


def give_back() -> None:
    """Return to the system what has been freed. It takes milliseconds: for where much has been freed.

    Example:
        >>> give_back()
    """
    trim = _trim()
    if trim is not None:
        trim(0)
