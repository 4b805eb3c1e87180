"""NumPy's and SciPy's BLAS on one thread while a fit runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


@cache
def _blas() -> Any | None:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread, which many small products need: its threads wait for each other busily."""
    controller = _blas()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")
