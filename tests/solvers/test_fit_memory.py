"""Arrays made within `fit_memory`: valid for as long as they live, whatever happens to them, on any thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from crosshead.engines import has_native
from crosshead.solvers.fit_memory import fit_memory

if not has_native():
    pytest.skip("the native module is not built", allow_module_level=True)

LARGE = 1 << 17  # numbers, more than a small array has


def handler_of(array: np.ndarray) -> str:
    core = np._core if hasattr(np, "_core") else np.core  # NumPy 2, or 1
    return str(core.multiarray.get_handler_name(array))  # type: ignore[attr-defined]


def numpys_own() -> str:
    return handler_of(np.empty(1))


def test_only_within_and_only_here() -> None:
    elsewhere: list[str] = []
    before = numpys_own()
    with fit_memory():
        assert numpys_own() == "crosshead"
        with fit_memory():
            pass
        assert numpys_own() == "crosshead"
        other = threading.Thread(target=lambda: elsewhere.append(numpys_own()))
        other.start()
        other.join()
    assert elsewhere == [before]
    assert numpys_own() == before != "crosshead"


def test_an_error_ends_it() -> None:
    before = numpys_own()
    with pytest.raises(KeyboardInterrupt), fit_memory():
        raise KeyboardInterrupt
    assert numpys_own() == before


@pytest.mark.parametrize("size", [0, 1, 7, LARGE // 2, LARGE, 3 * LARGE + 1])
def test_arrays_hold_what_they_should(size: int) -> None:
    """Zeros also in memory that was used before, room that grows and shrinks, and no end with the fit."""
    expected = np.arange(float(size))
    with fit_memory():
        for _ in range(3):
            dirty = np.empty(size)
            dirty[:] = np.nan
            del dirty
            assert not np.zeros(size).any()
        kept = np.arange(float(size))
        grown = np.arange(float(size))
        grown.resize(2 * size + 3, refcheck=False)
        np.testing.assert_array_equal(grown[:size], expected)
        assert not grown[size:].any()
        grown.resize(size // 2, refcheck=False)
        np.testing.assert_array_equal(grown, expected[: size // 2])
        assert np.zeros((0, size)).size == 0
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(grown, expected[: size // 2])
    kept.resize(size + 5, refcheck=False)
    np.testing.assert_array_equal(kept[:size], expected)


def test_large_arrays_lie_on_cache_lines() -> None:
    with fit_memory():
        assert all(np.empty(LARGE + k).ctypes.data % 64 == 0 for k in range(5))


def test_what_cannot_be_had_is_a_memory_error() -> None:
    with fit_memory(), pytest.raises(MemoryError):
        np.empty(1 << 57, dtype=np.uint8)


def test_arrays_from_many_threads() -> None:
    """Each thread fills arrays of its own lengths, keeps some, and finds them unchanged."""
    wrong: list[int] = []

    def work(number: int) -> None:
        random = np.random.default_rng(number)
        with fit_memory():
            kept: list[np.ndarray] = []
            for _ in range(150):
                kept.append(np.full(int(random.integers(LARGE // 4, 2 * LARGE)), number, dtype=np.float64))
                if len(kept) > 4:
                    kept.pop(int(random.integers(5)))
                if any((array != number).any() for array in (kept[0], kept[-1])):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


RESIDENT = """
from pathlib import Path
import numpy as np
from crosshead.solvers.fit_memory import fit_memory

def pages(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key + ":"))

def churn():
    # Vectors of a few lengths that come and go; never more than five of 4 MB are alive.
    random, alive = np.random.default_rng(0), []
    for _ in range(400):
        alive.append(np.ones(int(random.integers(1 << 17, 1 << 19))))
        if len(alive) > 4:
            alive.pop(int(random.integers(5)))

with fit_memory():
    np.random.default_rng(0).integers(9)
before = pages("VmRSS")
with fit_memory():
    churn()
    peak = pages("VmHWM") - before
print(peak, pages("VmRSS") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_what_is_kept_is_no_more_than_was_used() -> None:
    """In a process of its own, whose heap nothing else has used."""
    done = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True)
    peak, after = map(int, done.stdout.split())
    assert peak < 6 * 8 * (1 << 19)
    assert after < 3 * (1 << 20)


FIT = """
import warnings
from pathlib import Path
import numpy as np
from crosshead import LinearClassifier

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key + ":"))

def problem(rows, features, classes):
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, features)).astype(np.float32)
    y = random.integers(0, classes, rows)
    return centres[y] + 3 * random.standard_normal((rows, features), dtype=np.float32), y

warnings.simplefilter("ignore")
LinearClassifier(alpha=0.01, n_threads=1).fit(*problem(300, 40, 40))
X, y = problem(5_000, 400, 700)
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
LinearClassifier(alpha=1e-4, max_iter=6, n_threads=1).fit(X, y)
print((resident("VmHWM") - before) / (8 * 401 * 700))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_a_fit_holds_few_vectors_as_long_as_its_weights() -> None:
    """What is resident, holes in the heap and the kernels' own buffers included, in vectors of 8·P bytes."""
    done = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 28
