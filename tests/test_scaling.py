"""Scaling against scikit-learn's scalers, NumPy's own statistics, and repeated rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from crosshead.scaling import Scaler


@pytest.fixture(name="X")
def features_of_many_scales() -> np.ndarray:
    generator = np.random.default_rng(11)
    values = generator.normal(size=(300, 5)) * [1, 1e3, 1e-3, 7, 1] + [0, 1e6, 5, 0, 0.1]
    values[:, 4] = 0.1  # constant, and its mean is not exact in binary
    return values


@pytest.fixture(params=[1 << 22, 200])
def any_block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("crosshead.scaling.BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("any_block_size")
def test_standard_is_scikit_learns(X: np.ndarray) -> None:
    weight = np.random.default_rng(1).uniform(0.1, 3, 300)
    for sample_weight in (None, weight):
        scaler = Scaler.fit("standard", X, sample_weight)
        assert scaler.centre is not None
        assert scaler.scale is not None
        assert scaler.scale[4] == 1.0
        np.testing.assert_allclose(scaler.apply(X)[:, 4], 0.0, atol=1e-15)
        varying = X[:, :4]  # scikit-learn's weighted variance of a constant column may come out negative
        peer = StandardScaler().fit(varying, sample_weight=sample_weight)
        np.testing.assert_allclose(scaler.centre[:4], peer.mean_, rtol=1e-12)
        np.testing.assert_allclose(scaler.scale[:4], peer.scale_, rtol=1e-9)
        np.testing.assert_allclose(scaler.apply(X)[:, :4], peer.transform(varying), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("any_block_size")
def test_sparse_standard_divides_without_centring() -> None:
    generator = np.random.default_rng(4)
    dense = generator.normal(3, 1, size=(200, 6)) * (generator.random((200, 6)) < 0.4)
    dense[:, 2] = 0.0
    dense[:, 3] = 2.5
    features = sparse.csr_array(dense)
    weight = generator.uniform(0.5, 2, 200)
    dense[:, 5] = 1e6 + generator.normal(size=200)
    features = sparse.csr_array(dense)
    scaler = Scaler.fit("standard", features, weight)
    assert scaler.centre is None
    assert scaler.scale is not None
    mean = np.average(dense, axis=0, weights=weight)
    expected = np.sqrt(np.average((dense - mean) ** 2, axis=0, weights=weight))
    expected[[2, 3]] = 1.0
    np.testing.assert_allclose(scaler.scale, expected, rtol=1e-9)
    scaled = scaler.apply(features)
    assert scaled.format == "csr"
    np.testing.assert_allclose(scaled.toarray(), dense / expected, rtol=1e-9)
    np.testing.assert_array_equal(features.toarray(), dense)
    peer = StandardScaler(with_mean=False).fit(features)
    np.testing.assert_allclose(Scaler.fit("standard", features).scale[:5], peer.scale_[:5], rtol=1e-12)


def test_sparse_zeros_stored_and_absent_are_the_same() -> None:
    stored = sparse.csr_array(([0.0, 1.0, 2.0], [0, 1, 1], [0, 2, 3]), shape=(2, 2))
    absent = sparse.csr_array(stored.toarray())
    assert stored.nnz != absent.nnz
    np.testing.assert_array_equal(Scaler.fit("standard", stored).scale, Scaler.fit("standard", absent).scale)


@pytest.mark.usefixtures("any_block_size")
def test_maxabs_is_one_number_for_all_features() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 9)).astype(np.float32)
    pixels[17, 3] = 255
    scaler = Scaler.fit("maxabs", pixels)
    assert scaler.scale is not None
    assert scaler.scale.tolist() == [255.0]
    np.testing.assert_array_equal(scaler.apply(pixels), pixels / np.float32(255))
    negative = Scaler.fit("maxabs", -pixels)
    np.testing.assert_array_equal(negative.scale, scaler.scale)
    np.testing.assert_array_equal(scaler.apply(sparse.csr_array(pixels)).toarray(), scaler.apply(pixels))
    np.testing.assert_array_equal(Scaler.fit("maxabs", sparse.csr_array(pixels)).scale, scaler.scale)
    assert Scaler.fit("maxabs", np.zeros((2, 2))).scale == [1.0]
    assert Scaler.fit("maxabs", sparse.csr_array((2, 2))).scale == [1.0]


@pytest.mark.parametrize("kind", ["standard", "maxabs"])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_dtypes(kind: str, as_sparse: bool) -> None:
    values = np.arange(12.0).reshape(4, 3)
    for dtype, expected in (("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8")):
        features = values.astype(dtype)
        given_features = sparse.csr_array(features) if as_sparse else features
        assert Scaler.fit(kind, given_features).apply(given_features).dtype == expected


def test_float32_features_lose_nothing_to_a_large_mean() -> None:
    features = (1e6 + np.random.default_rng(0).integers(0, 8, (500, 2))).astype(np.float32)
    exact = features.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    np.testing.assert_allclose(Scaler.fit("standard", features).apply(features), expected, rtol=1e-6, atol=1e-6)


def test_none_returns_the_very_features(X: np.ndarray) -> None:
    assert Scaler.fit("none", X).apply(X) is X


def test_readonly_memory_maps(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.arange(6.0).reshape(3, 2))
    features = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert Scaler.fit("standard", features).apply(features).flags.writeable


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(any), st.sampled_from(["standard", "maxabs"]))
@settings(max_examples=40)
def test_a_weight_counts_repetitions(weight: list[int], kind: str) -> None:
    features = np.random.default_rng(8).normal(5, 2, size=(6, 3))
    repeated = np.repeat(features, weight, axis=0)
    for convert in (np.asarray, sparse.csr_array):
        weighted = Scaler.fit(kind, convert(features), np.array(weight))
        plain = Scaler.fit(kind, convert(repeated))
        np.testing.assert_allclose(weighted.scale, plain.scale, rtol=1e-12)
        if plain.centre is not None:
            np.testing.assert_allclose(weighted.centre, plain.centre, rtol=1e-12)


@pytest.mark.parametrize("kind", ["none", "standard", "maxabs"])
def test_round_trip_through_json(X: np.ndarray, kind: str) -> None:
    scaler = Scaler.fit(kind, X)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.apply(X), scaler.apply(X))
    assert again.kind == kind
    assert again.n_features == 5


def test_refusals(X: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scaling 'minmax' is unknown; choose none, standard or maxabs"):
        Scaler.fit("minmax", X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scaling None is unknown"):
        Scaler.from_dict({})
    with pytest.raises(ValueError, match="4 features per row, but the scaling was fitted to 5"):
        Scaler.fit("standard", X).apply(X[:, :4])
    with pytest.raises(ValueError, match="sparse features do not allow"):
        Scaler.fit("standard", X).apply(sparse.csr_array(X))
    for weight in (-np.ones(300), np.zeros(300), np.full(300, np.nan)):
        with pytest.raises(ValueError, match="sample_weight must be finite, not negative"):
            Scaler.fit("standard", X, weight)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(2,\), expected \(300,\)"):
        Scaler.fit("none", X, [1, 2])
    with pytest.raises(ValueError, match="at least one row"):
        Scaler.fit("standard", X[:0])
    for kind in ("standard", "maxabs"):
        for bad in (np.nan, np.inf, -np.inf):
            wrong = X.copy()
            wrong[5, 1] = bad
            for features in (wrong, sparse.csr_array(wrong)):
                with pytest.raises(ValueError, match="NaN or infinite"):
                    Scaler.fit(kind, features)
