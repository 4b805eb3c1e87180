"""IDX files whose bytes are built by hand."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from crosshead.data import DataError, load


def idx_bytes(values: np.ndarray, code: int = 0x08, big: str = ">u1") -> bytes:
    header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(big).tobytes()


IMAGES = np.random.default_rng(5).integers(0, 256, (7, 3, 4))
LABELS = np.array([0, 1, 2, 9, 8, 7, 3])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("pattern", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
def test_mnists_own_files(tmp_path: Path, pattern: str, packed: bool) -> None:
    for part, n_rows in (("train", 7), ("t10k", 2)):
        for what, content in (("images", IMAGES), ("labels", LABELS)):
            raw = idx_bytes(content[:n_rows])
            name = pattern.format(part, what, content.ndim) + (".gz" if packed else "")
            (tmp_path / name).write_bytes(gzip.compress(raw) if packed else raw)
    data = load(tmp_path / (pattern.format("train", "images", 3) + (".gz" if packed else "")))
    np.testing.assert_array_equal(data.features, IMAGES.reshape(7, 12))
    assert data.features.dtype == np.float32
    np.testing.assert_array_equal(data.target, LABELS)
    assert data.encoding == {"kind": "array", "shape": [3, 4], "n_features": 12}
    assert data.test is not None
    np.testing.assert_array_equal(data.test.target, LABELS[:2])
    assert load(tmp_path / (pattern.format("t10k", "images", 3) + (".gz" if packed else ""))).test is None


def test_packed_images_with_unpacked_labels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    assert load(tmp_path / "train-images-idx3-ubyte.gz").test is None


@pytest.mark.parametrize(
    ("code", "big", "dtype"),
    [(0x09, ">i1", "f8"), (0x0B, ">i2", "f8"), (0x0C, ">i4", "f8"), (0x0D, ">f4", "f4"), (0x0E, ">f8", "f8")],
)
def test_other_value_types(tmp_path: Path, code: int, big: str, dtype: str) -> None:
    values = np.array([[-3, 100], [7, 0]])
    (tmp_path / "images-idx2").write_bytes(idx_bytes(values, code, big))
    (tmp_path / "labels-idx1").write_bytes(idx_bytes(np.array([1, 0])))
    data = load(tmp_path / "images-idx2")
    np.testing.assert_array_equal(data.features, values)
    assert data.features.dtype == dtype


@pytest.mark.parametrize("packed", [False, True])
def test_truncated_files_tell_bytes(tmp_path: Path, packed: bool) -> None:
    raw = idx_bytes(IMAGES)
    path = tmp_path / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    path.write_bytes(gzip.compress(raw[:50]) if packed else raw[:50])
    with pytest.raises(DataError, match=r"images-idx3-ubyte.*: truncated: expected 100 bytes, found 50"):
        load(path)
    path.write_bytes(gzip.compress(raw + b"xy") if packed else raw + b"xy")
    with pytest.raises(DataError, match=r"images-idx3-ubyte.*: damaged: expected 100 bytes, found 102"):
        load(path)
    if packed:
        path.write_bytes(gzip.compress(raw)[:-30])
        with pytest.raises(DataError, match=r"images-idx3-ubyte.*: truncated: expected 100 bytes, found \d+"):
            load(path)


def test_refusals(tmp_path: Path) -> None:
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    images.write_bytes(idx_bytes(IMAGES))
    with pytest.raises(DataError, match=r"no labels; put the file 'train-labels-idx1-ubyte' beside it"):
        load(images)
    assert load(images, target_required=False).target is None
    labels.write_bytes(idx_bytes(LABELS[:5]))
    with pytest.raises(DataError, match=r"idx3-ubyte has 7 rows but train-labels-idx1-ubyte has 5 labels"):
        load(images)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: .*these are labels; give the images file"):
        load(labels)
    labels.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: not an IDX file"):
        load(images)
    images.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"named like an IDX file but does not begin like one"):
        load(images)
    images.write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    with pytest.raises(DataError, match=r"truncated: expected at least 16 bytes, found 6"):
        load(images)
    images.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    with pytest.raises(DataError, match=rf"truncated: expected {16 + (2**32 - 1) ** 3} bytes, found 16"):
        load(images)
