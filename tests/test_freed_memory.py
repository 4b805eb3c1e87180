"""What has been freed below what is still in use leaves the process, where the C library can do that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosshead import freed_memory

STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(freed_memory._trim() is None or not STATUS.is_file(), reason="needs glibc and /proc")
def test_holes_go_back() -> None:
    """Arrays of 100 kB lie on the heap; every tenth stays."""
    arrays = [np.ones(12_500) for _ in range(400)]
    full = anonymous_bytes()
    kept = arrays[::10]
    del arrays
    freed_memory.give_back()
    assert full - anonymous_bytes() > 0.7 * 360 * 100_000
    assert all(array.all() for array in kept)


def test_where_there_is_nothing_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "_trim", lambda: None)
    freed_memory.give_back()
