"""The environment of a training: threads and program versions, on which the last bits of its weights depend."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

try:
    from crosshead import _native
except ImportError:  # built without a C++ compiler
    _native = None  # type: ignore[assignment]

THREADS, PROGRAMS = "threads", "programs"
MAX_THREADS = 1024
"""Threads that a checkpoint may ask for."""


class ResumeWarning(UserWarning):
    """A resumed training was begun with another number of threads, or by another version of PyTorch or crosshead."""


def environment() -> dict[str, Any]:
    """The number of PyTorch's threads, and the versions and instruction sets of the programs that compute."""
    return {THREADS: torch.get_num_threads(), PROGRAMS: _programs()}


def restore_environment(saved: Mapping[str, Any], name: str) -> None:
    """Set the number of threads to that of the ``saved`` environment; warn of it, and of other programs.

    Sums are split over threads and rounded differently for each number of threads, so the saved number is used. Other
    programs cannot be restored. An empty environment changes nothing. ``name`` begins the warnings. Raises ValueError
    for a number of threads that cannot be.
    """
    threads, programs = saved.get(THREADS), saved.get(PROGRAMS)
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MAX_THREADS):
        raise ValueError(f"it was begun with {threads!r} threads")
    if threads is not None and threads != torch.get_num_threads():
        _warn(
            f"{name}: the training was begun with {_counted(threads)} and goes on so, not with "
            f"{torch.get_num_threads()}, to end with the weights of an unbroken run"
        )
        torch.set_num_threads(threads)
    if programs is not None and programs != _programs():
        _warn(
            f"{name}: the training was begun by {programs}, and goes on by {_programs()}; its weights may differ in "
            "their last digits from those of an unbroken run"
        )


@contextmanager
def preserved_thread_count() -> Iterator[None]:
    """Restore PyTorch's number of threads at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _programs() -> str:
    kernels = "none" if _native is None else _native.instruction_set()
    return f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}, kernels: {kernels})"


def _counted(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _warn(message: str) -> None:
    warnings.warn(message, ResumeWarning, stacklevel=6)
