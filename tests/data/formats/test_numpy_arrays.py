"""NumPy's files: round trips, aliases, memory mapping, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from crosshead.data import DataError, load
from crosshead.data.checks import Place as PlaceOf
from crosshead.data.checks import as_features, as_labels, feature_dtype


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2])


def test_npz_with_test_rows(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    np.savez_compressed(tmp_path / "a.npz", X=X, y=y, Xt=X[:2], yt=y[:2])
    data = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.features, X)
    np.testing.assert_array_equal(data.target, y)
    assert data.test is not None
    np.testing.assert_array_equal(data.test.features, X[:2])
    assert data.encoding == {"kind": "array", "n_features": 3}
    assert data.test.encoding == data.encoding


def test_npz_of_images_is_flattened_and_the_shape_kept(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=[1, 0], x_test=images, y_test=[0, 1])
    data = load(tmp_path / "a.npz")
    assert data.features.shape == (2, 20)
    assert data.features.dtype == np.float32
    assert data.features[1, 3] == images[1, 0, 3]
    assert data.encoding["shape"] == [4, 5]
    assert data.test is not None


def test_npz_target_names_the_label_array(tmp_path: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = arrays
    np.savez(tmp_path / "a.npz", X=X, coarse=y, fine=y + 5)
    np.testing.assert_array_equal(load(tmp_path / "a.npz", target="fine").target, y + 5)
    with pytest.raises(DataError, match=r"a\.npz: no array 'coarce'; found 'X', 'coarse', 'fine'"):
        load(tmp_path / "a.npz", target="coarce")


def test_npz_without_labels_serves_prediction_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.ones((2, 3)))
    with pytest.raises(DataError, match=r"a\.npz: no array of labels; found 'X'"):
        load(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz", encoding={"kind": "array", "n_features": 3}).target is None
    with pytest.raises(DataError, match=r"a\.npz: 3 features per row, but training had 4"):
        load(tmp_path / "a.npz", encoding={"kind": "array", "n_features": 4})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": np.ones((2, 2)), "y": [0, 1]}, r"no array of features; found 'a', 'y'"),
        ({"x": np.ones((2, 2)), "data": np.ones((2, 2)), "y": [0, 1]}, r"several arrays.*'x', 'data'.*'X'"),
        ({"X": np.ones((3, 2)), "y": [0, 1]}, r"X has 3 rows but y has 2 labels"),
        ({"X": np.ones((2, 0)), "y": [0, 1]}, r"'X' has 0 features"),
        ({"X": np.ones((0, 2)), "y": []}, r"'X' has no rows"),
        ({"X": np.ones(3), "y": [0, 1, 0]}, r"'X' has shape \(3,\); features need rows and columns"),
        ({"X": np.array([["a"], ["b"]]), "y": [0, 1]}, r"'X' holds text, not numbers"),
        ({"X": np.ones((2, 2)) * 1j, "y": [0, 1]}, r"'X' holds complex numbers"),
        ({"X": np.ones((2, 2)), "y": [0.5, 1]}, r"'y' is 0\.5 at row 1: labels are floats.*regression"),
        ({"X": np.ones((2, 2)), "y": [0, np.nan]}, r"'y' is NaN at row 2"),
        ({"X": np.ones((2, 2)), "y": ["a", ""]}, r"'y' is empty at row 2"),
        ({"X": np.ones((2, 2)), "y": np.eye(2)}, r"'y' have shape \(2, 2\)"),
        ({"X": np.ones((2, 2)), "y": [0, 1], "Xt": np.ones((2, 3)), "yt": [0, 1]}, r"2 features.*Xt has 3"),
        ({"X": np.ones((2, 2)), "y": [0, 1], "Xt": np.ones((2, 2))}, r"'Xt' has no labels"),
        ({"X": np.array([[1.0, 2.0], [3.0, np.nan]]), "y": [0, 1]}, r"NaN at row 2, column 2"),
        ({"X": np.array([[1.0, -np.inf], [3.0, 1.0]]), "y": [0, 1]}, r"infinite value at row 1, column 2"),
    ],
)
def test_npz_refusals(tmp_path: Path, members: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **members)
    with pytest.raises(DataError, match=r"a\.npz.*" + message) as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), y=objects)
    with pytest.raises(DataError, match=r"a\.npz: array 'y' holds Python objects.*pickle"):
        load(tmp_path / "a.npz")
    np.save(tmp_path / "X.npy", np.ones((2, 2)))
    np.save(tmp_path / "y.npy", objects)
    with pytest.raises(DataError, match=r"y\.npy.* holds Python objects.*pickle"):
        load(tmp_path / "X.npy")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_npz(tmp_path: Path, share: float) -> None:
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, X=np.random.default_rng(0).normal(size=(50, 8)), y=np.arange(50))
    content = whole.read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"cut\.npz.*truncated"):
        load(tmp_path / "cut.npz")


def test_damaged_member_of_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((50, 8)), y=np.arange(50))
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"a\.npz: array 'X' cannot be read"):
        load(path)


def test_zip_that_is_no_npz(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.png", b"x")
    with pytest.raises(DataError, match=r"a\.zip: a zip archive without arrays; unpack it"):
        load(tmp_path / "a.zip")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy_pair_stays_memory_mapped(tmp_path: Path, dtype: type[np.floating]) -> None:
    X = np.random.default_rng(1).normal(size=(5, 3)).astype(dtype)
    np.save(tmp_path / "X_train.npy", X)
    np.save(tmp_path / "y_train.npy", np.array([b"a", b"b", b"a", b"b", b"a"]))
    sibling = load(tmp_path / "X_train.npy")
    named = load(f"{tmp_path / 'X_train.npy'},{tmp_path / 'y_train.npy'}")
    for data in (sibling, named):
        base = data.features if isinstance(data.features, np.memmap) else data.features.base
        assert isinstance(base, np.memmap)
        assert data.features.dtype == dtype
        np.testing.assert_array_equal(data.features, X)
        assert data.target.tolist() == ["a", "b", "a", "b", "a"]
    assert sibling.fingerprint() == named.fingerprint()


def test_npy_refusals(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.ones((4, 2)))
    with pytest.raises(DataError, match=r"X\.npy: no labels; put them beside it as 'y\.npy'"):
        load(tmp_path / "X.npy")
    np.save(tmp_path / "y.npy", np.arange(3))
    with pytest.raises(DataError, match=r"X\.npy has 4 rows but y\.npy has 3 labels"):
        load(tmp_path / "X.npy")
    content = (tmp_path / "X.npy").read_bytes()
    (tmp_path / "X.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match=rf"X\.npy: truncated: expected {len(content)} bytes, found {len(content) - 8}"):
        load(tmp_path / "X.npy")
    with pytest.raises(DataError, match=r"none\.npy: no such file"):
        load(f"{tmp_path / 'none.npy'},{tmp_path / 'y.npy'}")
    (tmp_path / "fake.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"fake\.npy: named \.npy but does not begin like"):
        load(tmp_path / "fake.npy")


def test_sparse_npz_with_labels_beside_it(tmp_path: Path) -> None:
    dense = np.array([[0, 2.5, 0], [1, 0, 0]], dtype=np.float32)
    sparse.save_npz(tmp_path / "X.npz", sparse.csr_matrix(dense))
    np.save(tmp_path / "y.npy", np.array([True, False]))
    data = load(tmp_path / "X.npz")
    assert sparse.issparse(data.features)
    assert data.features.format == "csr"
    assert data.features.dtype == np.float32
    np.testing.assert_array_equal(data.features.toarray(), dense)
    assert data.target.dtype == bool
    dense[1, 0] = np.inf
    sparse.save_npz(tmp_path / "X.npz", sparse.csr_matrix(dense))
    with pytest.raises(DataError, match=r"X\.npz: an infinite value at row 2, column 1"):
        load(tmp_path / "X.npz")


def test_a_bad_value_late_in_a_long_file_is_found_at_its_row() -> None:
    from crosshead.data import checks

    X = np.zeros((300_000, 4), dtype=np.float32)
    X[277_777, 3] = np.nan
    with pytest.raises(DataError, match=r"NaN at row 277778, column 4"):
        checks.check_finite(X, PlaceOf("x"))


@given(hnp.arrays(st.sampled_from(["?", "u1", "f2", "f4", "i2", "i4", "f8", ">f4", ">i2"]), (3, 2)))
@settings(max_examples=60)
def test_every_dtype_is_kept_exactly(values: np.ndarray) -> None:
    features, _ = as_features(values, "X", "x")
    assert features.dtype in (np.float32, np.float64)
    assert features.dtype.isnative
    np.testing.assert_array_equal(features, values.astype(np.float64))


def test_longdouble_and_small_types() -> None:
    assert feature_dtype(np.dtype(np.longdouble)) == np.float64
    assert feature_dtype(np.dtype(np.float16)) == np.float32


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=8))
@settings(max_examples=40)
def test_integral_floats_are_the_integers_they_write(labels: list[int]) -> None:
    assert as_labels(np.array(labels, dtype=np.float64), "y", PlaceOf("x")).tolist() == labels


def test_label_types() -> None:
    assert as_labels(np.array([True, False]), "y", PlaceOf("x")).dtype == bool
    assert as_labels(np.array([[1], [2]], dtype=np.uint8), "y", PlaceOf("x")).tolist() == [1, 2]
    with pytest.raises(DataError, match="exceed the largest"):
        as_labels(np.array([2**64 - 1], dtype=np.uint64), "y", PlaceOf("x"))
    with pytest.raises(DataError, match="hold dates"):
        as_labels(np.array(["2020-01-01"], dtype="M8[D]"), "y", PlaceOf("x"))
    with pytest.raises(DataError, match="not UTF-8"):
        as_labels(np.array([b"\xff"]), "y", PlaceOf("x"))
