"""Memory of a fit's large arrays: in pages of their own, which later arrays reuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@contextmanager
def fit_memory() -> Iterator[None]:
    """Context in which NumPy arrays of 512 KiB and more do not fragment the heap; no effect without the native module.

    It applies to the context of this thread (NumPy's NEP 49). Arrays created in it may outlive it.

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
