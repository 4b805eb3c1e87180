"""What decides the last bits of a training besides options and images: threads, and the programs that compute."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

THREADS, PROGRAMS = "threads", "programs"
MOST_THREADS = 1024
"""Threads that a checkpoint may ask for."""


class ResumeWarning(UserWarning):
    """A training goes on where something else than when it was begun decides its last bits."""


def surroundings() -> dict[str, Any]:
    """The number of PyTorch's threads, and the programs with the vector instructions that they use."""
    return {THREADS: torch.get_num_threads(), PROGRAMS: _programs()}


def go_on_in(found: Mapping[str, Any], place: str) -> None:
    """Take the threads of a training that was begun in the surroundings ``found``; warn of what is different.

    Sums over the parts of threads are rounded differently for each number of them, so the number is set, not asked
    for. Other programs cannot be set. A checkpoint without surroundings is taken as it is.
    """
    threads, programs = found.get(THREADS), found.get(PROGRAMS)
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
        raise ValueError(f"it was begun with {threads!r} threads")
    if threads is not None and threads != torch.get_num_threads():
        _warn(
            f"{place}: the training was begun with {_counted(threads)} and goes on so, not with "
            f"{torch.get_num_threads()}, to end with the weights of an unbroken run"
        )
        torch.set_num_threads(threads)
    if programs is not None and programs != _programs():
        _warn(
            f"{place}: the training was begun by {programs}, and goes on by {_programs()}; its weights may differ in "
            "their last digits from those of an unbroken run"
        )


@contextmanager
def threads_kept() -> Iterator[None]:
    """Afterwards PyTorch has as many threads as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _programs() -> str:
    kernels = "none"
    if find_spec("crosshead._native") is not None:
        from crosshead import _native

        kernels = _native.instruction_set()
    return f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}, kernels: {kernels})"


def _counted(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _warn(message: str) -> None:
    warnings.warn(message, ResumeWarning, stacklevel=6)
