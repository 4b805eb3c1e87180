"""Where a fit's large arrays lie: in pages of their own, which the next arrays use again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@contextmanager
def fit_memory() -> Iterator[None]:
    """Within it NumPy's arrays of 512 KiB and more leave no holes in the heap; without the native module, nothing.

    Only in this thread's context (NumPy's NEP 49). Arrays made within may outlive it.

    Example:
        >>> import numpy as np
        >>> with fit_memory():
        ...     long = np.ones(1 << 17)
        >>> float(long.sum())
        131072.0
    """
    native = _native()
    if native is None:
        yield
        return
    before = native.begin_fit_memory()
    try:
        yield
    finally:
        native.end_fit_memory(before)


@cache
def _native() -> Any | None:
    return import_module("crosshead._native") if find_spec("crosshead._native") is not None else None
