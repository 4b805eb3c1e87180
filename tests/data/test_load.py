"""The one entrance: what it recognises, what it refuses, what it must not import; datasets and splits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import datasets

from crosshead.data import DataError, Dataset, fingerprint, load, split
from crosshead.data.dataset import row_blocks
from crosshead.data.errors import load_package


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_built_in_data(name: str) -> None:
    bunch = getattr(datasets, f"load_{name}")()
    data = load(name)
    np.testing.assert_array_equal(data.features, bunch.data)
    expected = bunch.target if name == "digits" else bunch.target_names[bunch.target]
    assert data.target.tolist() == expected.tolist()
    assert data.feature_names == list(bunch.feature_names)
    assert data.encoding["n_features"] == bunch.data.shape[1]


def test_unknown_sources(tmp_path: Path) -> None:
    (tmp_path / "flowers.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"flower\.csv: no such file or folder; did you mean .*s\.csv\?"):
        load(tmp_path / "flower.csv")
    with pytest.raises(DataError, match=r"iri: no such file or folder; did you mean iris\?"):
        load("iri")
    with pytest.raises(DataError, match=r"zzzz: no such file or folder; built in are digits"):
        load("zzzz")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv: the file is empty"):
        load(tmp_path / "empty.csv")
    (tmp_path / "a.docx").write_bytes(b"hello world")
    with pytest.raises(DataError, match=r"a\.docx: unknown kind of file; what can be read: .*\.parquet"):
        load(tmp_path / "a.docx")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"a\.pkl: pickled files can run code and are never read"):
        load(tmp_path / "a.pkl")
    (tmp_path / "a.csv").write_bytes(b"\x01\x00\x02" * 9)
    with pytest.raises(DataError, match=r"a\.csv: .*binary data"):
        load(tmp_path / "a.csv")


def test_options_that_do_not_apply(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"iris: --size is for images"):
        load("iris", size=3)
    with pytest.raises(DataError, match=r"iris: --target names a column or array"):
        load("iris", target="y")
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), y=[0, 1])
    with pytest.raises(DataError, match=r"a\.npz: --ignore names columns of a table"):
        load(tmp_path / "a.npz", ignore=["X"])


def test_a_file_comes_before_the_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").write_text("1 1:2\n0 1:3\n")
    assert load("iris").features.shape == (2, 1)


def test_importing_the_readers_imports_no_reader_library() -> None:
    program = (
        "import sys, crosshead.data, crosshead.scaling, crosshead.models\n"
        "print([name for name in ('pyarrow', 'PIL', 'sklearn', 'matplotlib', 'pandas', 'torch')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_named() -> None:
    with pytest.raises(
        DataError, match="reading clouds needs cloudlib_is_not_there, which is not installed: pip install 'cloudlib'"
    ):
        load_package("cloudlib_is_not_there", "cloudlib", "reading clouds")


# ---------------------------------------------------------------- fingerprints


def test_fingerprint_sees_every_change_and_no_layout() -> None:
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = np.array(["a", "b"] * 20)
    base = fingerprint(Dataset(X, y))
    assert base == fingerprint(Dataset(np.asfortranarray(X), y.astype("<U7")))
    assert base == fingerprint(Dataset(X.astype(">f8"), y))
    changed = X.copy()
    changed[39, 4] = np.nextafter(changed[39, 4], 9)
    assert (
        len(
            {
                base,
                fingerprint(Dataset(X)),
                fingerprint(Dataset(changed, y)),
                fingerprint(Dataset(X[::-1], y)),
                fingerprint(Dataset(X.astype(np.float32), y)),
                fingerprint(Dataset(X.reshape(20, 10), y)),
                fingerprint(Dataset(X, y[::-1])),
                fingerprint(Dataset(X, (y == "a").astype(np.int64))),
                fingerprint(Dataset(X, y == "a")),
                fingerprint(Dataset(sparse.csr_array(X), y)),
            }
        )
        == 10
    )


def test_fingerprint_of_sparse_rows_ignores_the_order_of_entries() -> None:
    straight = sparse.csr_array(([1.0, 2.0], [0, 2], [0, 2]), shape=(1, 3))
    turned = sparse.csr_array(([2.0, 1.0], [2, 0], [0, 2]), shape=(1, 3))
    assert fingerprint(Dataset(straight)) == fingerprint(Dataset(turned))
    assert turned.indices.tolist() == [2, 0]


def test_fingerprint_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(40, 5))
    for features in (X, sparse.csr_array(X)):
        whole = fingerprint(Dataset(features))
        with monkeypatch.context() as patch:
            patch.setattr("crosshead.data.dataset.BLOCK_BYTES", 100)
            assert len(list(row_blocks(features))) > 10
            assert fingerprint(Dataset(features)) == whole


# ---------------------------------------------------------------- splits


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
@settings(max_examples=80)
def test_split_is_a_stratified_partition(labels: list[int], fraction: float, seed: int) -> None:
    target = np.array(labels)
    rows = np.arange(target.size, dtype=np.float64)
    data = Dataset(rows[:, None], target, row_names=[str(row) for row in range(target.size)])
    training, held_out = split(data, fraction, seed)
    both = np.concatenate([training.features[:, 0], held_out.features[:, 0]])
    assert sorted(both.tolist()) == rows.tolist()
    assert held_out.n_rows == min(max(round(fraction * target.size), 1), target.size - 1)
    for part in (training, held_out):
        chosen = part.features[:, 0].astype(int)
        assert (np.diff(chosen) > 0).all()
        np.testing.assert_array_equal(part.target, target[chosen])
        assert part.row_names == [str(row) for row in chosen]
    again = split(data, fraction, seed)[1]
    np.testing.assert_array_equal(again.features, held_out.features)
    counts, n_classes = np.bincount(target), len(set(labels))
    if held_out.n_rows <= target.size - n_classes:
        assert set(training.target.tolist()) == set(labels)
        found = np.bincount(held_out.target, minlength=counts.size)
        allowed = np.minimum(counts * held_out.n_rows / target.size, counts - 1)
        assert (found >= np.floor(allowed) - 1e-9).all()


def test_split_of_sparse_and_unlabelled_rows() -> None:
    training, held_out = split(Dataset(sparse.csr_array(np.eye(10))), 0.3, seed=1)
    assert (training.n_rows, held_out.n_rows) == (7, 3)
    assert held_out.target is None
    first = split(Dataset(np.arange(100.0)[:, None]), 0.5, seed=1)[1].features
    second = split(Dataset(np.arange(100.0)[:, None]), 0.5, seed=2)[1].features
    assert not np.array_equal(first, second)


def test_split_refusals() -> None:
    with pytest.raises(DataError, match=r"fraction is 1\.0; it must lie between 0 and 1"):
        split(Dataset(np.eye(3)), 1.0, seed=0)
    with pytest.raises(DataError, match=r"tiny\.csv: 1 row\(s\) cannot be split"):
        split(Dataset(np.ones((1, 2)), source="tiny.csv"), 0.5, seed=0)


def test_neither_files_nor_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the source has no name"):
        load("")
    with pytest.raises(DataError, match="neither a file nor a folder but a pipe or device; save its content"):
        load("/dev/null")
