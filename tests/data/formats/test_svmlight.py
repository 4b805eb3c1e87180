"""The svmlight format against files that scikit-learn wrote."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

from crosshead.data import DataError, load


@pytest.fixture
def rows() -> tuple[sparse.csr_array, np.ndarray]:
    generator = np.random.default_rng(3)
    X = sparse.csr_array(sparse.random_array((20, 9), density=0.4, rng=generator))
    return X, generator.integers(-1, 3, 20)


@pytest.mark.parametrize("zero_based", [False, True])
@pytest.mark.parametrize("name", ["a.svm", "a.libsvm", "a.svmlight", "a.txt", "a.svm.gz", "a.data"])
def test_round_trip(tmp_path: Path, rows: tuple[sparse.csr_array, np.ndarray], name: str, zero_based: bool) -> None:
    X, y = rows
    plain = tmp_path / "plain"
    dump_svmlight_file(X, y, str(plain), zero_based=zero_based, comment="written elsewhere")
    content = plain.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    data = load(tmp_path / name)
    assert sparse.issparse(data.features)
    assert data.features.format == "csr"
    assert data.features.dtype == np.float64
    np.testing.assert_allclose(data.features.toarray(), X.toarray(), rtol=1e-15)
    np.testing.assert_array_equal(data.target, y)
    assert data.encoding == {"kind": "svmlight", "first_index": 0 if zero_based else 1, "n_features": 9}


def test_later_data_have_the_width_and_first_index_of_training(tmp_path: Path) -> None:
    (tmp_path / "train.svm").write_text("1 0:1 4:2\n0 2:3\n")
    encoding = load(tmp_path / "train.svm").encoding
    (tmp_path / "test.svm").write_text("1 1:7\n0\n")
    data = load(tmp_path / "test.svm", encoding=encoding)
    assert data.features.toarray().tolist() == [[0, 7, 0, 0, 0], [0, 0, 0, 0, 0]]
    (tmp_path / "wide.svm").write_text("1 1:7\n0 3:1 5:1\n")
    with pytest.raises(DataError, match=r"wide\.svm: row 2 has feature index 5, but training had 5 features"):
        load(tmp_path / "wide.svm", encoding=encoding)
    (tmp_path / "one.svm").write_text("1 1:7 2:1\n")
    encoding = load(tmp_path / "one.svm").encoding
    with pytest.raises(DataError, match=r"train\.svm: row 1 has feature index 0; in training .* began at 1"):
        load(tmp_path / "train.svm", encoding=encoding)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1:2\nabc 1:2\n", r"line 2: 'abc' is not one number for a label"),
        ("1 1:2\n0,1 1:2\n", r"line 2: '0,1' is not one number for a label"),
        ("# head\n1 1:2\n1 x:4\n", r"line 3: 'x:4' is not index:value"),
        ("1 1:2 2:\n", r"line 1: '2:' is not index:value"),
        (f"1 {'9' * 5000}:2\n1 1:2\n", r"line 1: '9{80}' is not index:value"),
        ("1 1:2\n2 3:1 2:1\n", r"line 2: index 2 follows 3: indices must increase"),
        ("1 1:2\n2 2:1 3:nan\n", r"NaN at row 2, index 3"),
        ("1 1:2\n2 2:inf\n", r"an infinite value at row 2, index 2"),
        ("1\n0\n", r"0 features"),
        ("1.5 1:2\n", r"label 'label' is 1\.5 at row 1: labels are floats"),
        ("# nothing\n", r"the file has no rows"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.svm").write_text(text)
    with pytest.raises(DataError, match=r"bad\.svm: " + message) as caught:
        load(tmp_path / "bad.svm")
    assert "\n" not in str(caught.value)


def test_indices_in_messages_are_the_files_own(tmp_path: Path) -> None:
    (tmp_path / "bad.svm").write_text("1 1:2 7:nan\n")
    with pytest.raises(DataError, match="NaN at row 1, index 7"):
        load(tmp_path / "bad.svm")
