"""The number of threads: the argument, else OMP_NUM_THREADS, else the CPUs available; and BLAS on one thread."""

from __future__ import annotations

import math
import os
import re
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

MAX_THREADS = 1 << 16
"""More than the CPUs of any machine; an engine creates no more threads than it has work for."""


def resolve_threads(n_threads: int | None = None) -> int:
    """Resolve ``n_threads`` to a number of threads.

    None means OMP_NUM_THREADS if it is set, else `available_cpus()`. Negative numbers count back from the
    available CPUs, as scikit-learn's ``n_jobs`` does: −1 is all of them, −2 all but one.

    Raises ValueError for 0, for more than `MAX_THREADS`, and for anything but whole numbers.

    >>> resolve_threads(3)
    3
    """
    if n_threads is None:
        return _from_environment() or available_cpus()
    if not _is_whole(n_threads):
        raise ValueError(f"n_threads must be None or a whole number, not {n_threads!r}")
    if n_threads == 0:
        raise ValueError("n_threads must not be 0; use None for the default or a positive number")
    if n_threads > MAX_THREADS:
        raise ValueError(f"n_threads is {n_threads}; it must be at most {MAX_THREADS}")
    return int(n_threads) if n_threads > 0 else max(1, available_cpus() + 1 + int(n_threads))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Real) and float(value).is_integer()


def available_cpus() -> int:
    """The number of CPUs this process may use: its affinity mask, and the CPU quota of its control group if any."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def _from_environment() -> int | None:
    """The first number in OMP_NUM_THREADS, at most `MAX_THREADS`; None if it is not a positive whole number."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip().lstrip("0")
    if not re.fullmatch(r"[1-9][0-9]*", text):
        return None
    return min(int(text[:9]), MAX_THREADS)  # nine digits exceed MAX_THREADS already


def _quota(path: Path) -> float | None:
    try:
        limit, period = path.read_text().split()[:2]
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


@cache
def _blas() -> Any | None:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread: for many small products its threads would mostly wait for each other."""
    controller = _blas()
    return nullcontext() if controller is None else controller.limit(limits=1, user_api="blas")
