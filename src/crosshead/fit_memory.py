"""Where a fit's large arrays lie: in pages of their own, used again by the next of their size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def fit_memory() -> Iterator[None]:
    """Within it NumPy's arrays of 256 KiB and more leave no holes in the heap; without the native module, nothing.

    Only in this thread's context (NumPy's NEP 49). Arrays made within may outlive it.

    Example:
        >>> import numpy as np
        >>> with fit_memory():
        ...     long = np.ones(1 << 17)
        >>> float(long.sum())
        131072.0
    """
    if find_spec("crosshead._native") is None:
        yield
        return
    from crosshead import _native

    before = _native.begin_fit_memory()
    try:
        yield
    finally:
        _native.end_fit_memory(before)
