"""Files that are larger than the memory one would give them: mapped, and let go block by block."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from crosshead.data.dataset import row_blocks
from crosshead.data.mapped import release

MEGABYTE = 1 << 20
SMAPS = Path("/proc/self/smaps")


def resident(file: Path) -> int:
    """Bytes of a mapped file that this process holds."""
    entry = SMAPS.read_text().split(str(file))[1]
    return int(re.search(r"Rss:\s+(\d+) kB", entry)[1]) << 10  # type: ignore[index]


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(64, MEGABYTE // 8)))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.mark.skipif(not SMAPS.exists(), reason="reads Linux's /proc")
def test_reading_a_mapped_file_holds_no_more_than_a_block(rows: np.ndarray, tmp_path: Path) -> None:
    total, held = 0.0, []
    for first, last in row_blocks(rows):
        held.append(resident(tmp_path / "rows.npy"))
        total += float(rows[first:last].sum())
    held.append(resident(tmp_path / "rows.npy"))
    assert len(held) > 4
    assert max(held) <= 0.3 * rows.nbytes
    assert total == pytest.approx(float(np.asarray(rows).sum()), rel=1e-9)


def test_what_was_released_is_read_again(rows: np.ndarray) -> None:
    before = rows[3:9].copy()
    release(rows[3:9])
    release(rows[::2])
    np.testing.assert_array_equal(rows[3:9], before)


def test_what_may_have_been_written_to_stays(tmp_path: Path, rows: np.ndarray) -> None:
    private = np.load(tmp_path / "rows.npy", mmap_mode="c")
    private[:] = 1.0
    release(private)
    assert (private == 1.0).all()
    for_reading = private[:]
    for_reading.flags.writeable = False
    release(for_reading)
    assert (private == 1.0).all()
    plain = np.full((3, 2), 2.0)
    plain.flags.writeable = False
    release(plain)
    assert (plain == 2.0).all()
