from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import sparse

from crosshead.diagnostics import learning
from crosshead.losses import LOSSES, Softmax

KEYS = [
    *("initial_loss", "small_weights", "gradient", "overfit_few_rows", "scale", "constant_columns"),
    *("repeated_columns", "repeated_rows", "contradicting_rows", "classes"),
]


def checked(crosshead, source, *arguments, code=0):
    result = crosshead("check", source, *arguments, "--json")
    assert result.code == code, result.err
    document = json.loads(result.out)
    return {finding["check"]: finding for finding in document["checks"]}


def save(folder, X, y, name="d.npz"):
    np.savez(folder / name, X=np.asarray(X), y=np.asarray(y))
    return name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_healthy_data(crosshead, tmp_path, blobs, loss, engine):
    found = checked(crosshead, save(tmp_path, *blobs), "--loss", loss, "--engine", engine, "--threads", "1")
    assert list(found) == KEYS
    assert {finding["status"] for finding in found.values()} == {"passed"}
    expected = {
        "softmax": math.log(3),
        "binary": 3 * math.log(2),
        "hinge": 2,
        "squared_hinge": 2,
        "crammer_singer": 1,
        "squared_error": 1,
    }[loss]
    assert found["initial_loss"]["numbers"]["found"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("arguments", [[], ["--no-intercept"], ["--l1-ratio", "1"], ["--alpha", "0"]])
def test_options_of_training(crosshead, arguments):
    found = checked(crosshead, "iris", "--scale", "standard", *arguments)
    assert found["gradient"]["status"] == found["overfit_few_rows"]["status"] == "passed"


def test_the_text(crosshead):
    result = crosshead("check", "iris", "--loss", "hinge")
    lines = result.out.splitlines()
    assert result.code == 0
    assert lines[0] == "passed   first loss, W = 0: 2, expected C − 1 = 2"
    assert "warning  repeated rows: 1 of 150 equal an earlier row: row 143" in lines
    assert any(line.startswith("         it means: ") for line in lines)
    assert any(line.startswith("         what to do: ") for line in lines)
    assert lines[-1] == "9 passed, 1 with a warning, 0 failed"


def test_columns(crosshead, tmp_path):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(40, 5))
    X[:, 1] = 7
    X[:, 3] = X[:, 0]
    X[:, 4] *= 1e5
    found = checked(crosshead, save(tmp_path, X, np.arange(40) % 2))
    assert found["constant_columns"]["numbers"]["columns"] == [1]
    assert found["repeated_columns"]["numbers"]["columns"] == [3]
    assert found["scale"]["status"] == found["small_weights"]["status"] == "warning"
    assert found["scale"]["numbers"]["largest"] == pytest.approx(np.abs(X).max())
    spread = X[:, [0, 2, 4]].std(axis=0)
    assert found["scale"]["numbers"]["spread_ratio"] == pytest.approx(spread.max() / spread.min())
    scaled = checked(crosshead, "d.npz", "--scale", "standard")
    assert scaled["scale"]["status"] == scaled["small_weights"]["status"] == "passed"


def test_columns_go_by_their_names(crosshead, tmp_path):
    rows = "".join(f"{k},5,{k * k},{'ab'[k % 2]}\n" for k in range(12))
    (tmp_path / "t.csv").write_text(f"one,same,two,target\n{rows}")
    assert checked(crosshead, "t.csv")["constant_columns"]["found"] == "1 of 3: same"


def test_sparse_features_are_judged_alike(crosshead, tmp_path):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(40, 6)) * (generator.random((40, 6)) < 0.6) + np.eye(40, 6)
    X[:, 2] = 0
    X[:, 5] = X[:, 1]
    X[:, 0] = np.arange(1, 41)  # no other rows are equal
    X[30] = X[3]
    y = np.arange(40) % 2
    sparse.save_npz(tmp_path / "X.npz", sparse.csr_array(X))
    np.save(tmp_path / "y.npy", y)
    one, other = checked(crosshead, "X.npz,y.npy"), checked(crosshead, save(tmp_path, X, y))
    for key in KEYS[4:]:
        assert one[key]["found"] == other[key]["found"]
    assert one["repeated_columns"]["numbers"]["columns"] == [5]
    assert one["contradicting_rows"]["numbers"]["rows"] == [31]
    assert one["initial_loss"]["status"] == one["gradient"]["status"] == "passed"


def test_minus_zero_is_zero(crosshead, tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[4], X[9] = [0.0, 1.0, 2.0], [-0.0, 1.0, 2.0]
    assert checked(crosshead, save(tmp_path, X, np.arange(20) % 2))["repeated_rows"]["numbers"]["rows"] == [10]


def test_rows_that_contradict_each_other_cannot_be_learnt(crosshead, tmp_path):
    X = np.tile([[1.0, 2.0, 3.0, 4.0]], (20, 1))
    found = checked(crosshead, save(tmp_path, X, np.arange(20) % 2), code=1)
    assert found["overfit_few_rows"]["status"] == "failed"
    assert found["contradicting_rows"]["numbers"]["count"] == 10
    assert "labels may be wrong" in found["contradicting_rows"]["advice"]
    assert crosshead("check", "d.npz").out.splitlines()[-1].endswith("1 failed")


def test_classes(crosshead, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.array([0] * 30 + [1] * 26 + [3] * 4)
    np.savez(tmp_path / "c.npz", X=X, y=y, Xt=X[:2], yt=[0, 9])
    found = checked(crosshead, "c.npz")["classes"]
    assert found["status"] == "warning"
    assert found["numbers"]["few"] == ["3"]
    assert found["numbers"]["missing"] == [2]
    assert found["numbers"]["only_in_test"] == ["9"]
    assert found["numbers"]["rows_by_class"] == {"0": 30, "1": 26, "3": 4}
    assert found["numbers"]["majority_error"] == 0.5
    assert "few rows of 3 (4 rows); no rows of 2; only among the test rows: 9" in found["found"]


@pytest.mark.parametrize(("labels", "missing"), [([1, 2, 4], [3]), ([2, 3, 4], []), ([0, 1], []), ([-1, 1], [])])
def test_numberings(crosshead, tmp_path, labels, missing):
    y = np.repeat(labels, 8)
    X = np.random.default_rng(0).normal(size=(len(y), 2))
    assert checked(crosshead, save(tmp_path, X, y))["classes"]["numbers"]["missing"] == missing


def test_a_wrong_gradient_is_found(crosshead, monkeypatch):
    def wrong(self, scores, target):
        value, gradient = right(self, scores, target)
        return value, 1.001 * gradient

    right = Softmax.value_and_gradient
    monkeypatch.setattr(Softmax, "value_and_gradient", wrong)
    found = checked(crosshead, "iris", "--engine", "reference", code=1)
    assert found["gradient"]["status"] == "failed"
    assert found["gradient"]["numbers"]["largest_relative_difference"] == pytest.approx(1e-3, rel=0.1)
    assert "does not reach the optimum" in found["gradient"]["meaning"]


def test_a_wrong_first_loss_is_found(crosshead, monkeypatch):
    monkeypatch.setattr(learning, "equal_scores_loss", lambda learning: 1.0)
    assert checked(crosshead, "iris", code=1)["initial_loss"]["status"] == "failed"


@pytest.mark.parametrize("columns", [1, 2])
def test_few_features(crosshead, tmp_path, columns):
    X = np.random.default_rng(0).normal(size=(30, columns))
    assert checked(crosshead, save(tmp_path, X, np.arange(30) % 3))["overfit_few_rows"]["status"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "no such file"),
        (["iris", "--loss", "perceptron"], "--loss perceptron: choose one of"),
        (["iris", "--alpha", "-1"], "--alpha -1"),
        (["iris", "--seed", "-1"], "--seed -1"),
        (["iris", "--scale", "minmax"], "--scale minmax"),
        (["one.npz"], "one class only"),
        (["nan.npz"], "NaN at row 2"),
    ],
)
def test_what_cannot_be_checked(crosshead, tmp_path, arguments, message):
    save(tmp_path, np.eye(3), [1, 1, 1], "one.npz")
    save(tmp_path, [[1.0, 2.0], [np.nan, 1.0]], [0, 1], "nan.npz")
    result = crosshead("check", *arguments)
    assert result.code == 2
    assert message in result.line


@pytest.mark.parametrize(("factor", "dtype"), [(1e300, "f8"), (1e306, "f8"), (1e36, "f4")])
def test_features_whose_squares_are_no_numbers(crosshead, tmp_path, blobs, factor, dtype):
    """No warning, and the failure is that of `crosshead fit`; all other checks still tell something."""
    X, y = np.array(blobs[0]), blobs[1]
    X[:, 3] = np.arange(len(X)) / 100
    spread = X.std(axis=0)
    X[:, :3] *= factor
    source = save(tmp_path, X.astype(dtype), y)
    found = checked(crosshead, source, code=1)
    assert crosshead("check", source).err == ""
    assert found["scale"]["status"] == "failed"
    assert found["scale"]["numbers"]["spread_ratio"] == pytest.approx(spread[:3].max() / spread[3] * factor, rel=1e-5)
    others = [found[key]["status"] for key in KEYS if key not in ("scale", "small_weights")]
    assert set(others) == {"passed"}
    assert crosshead("fit", source).code == 2


def test_features_whose_squares_vanish(crosshead, tmp_path, blobs):
    found = checked(crosshead, save(tmp_path, blobs[0] * 1e-300, blobs[1]))
    assert crosshead("check", "d.npz").err == ""
    assert found["scale"]["status"] == "warning"
    spread = blobs[0].std(axis=0)
    assert found["scale"]["numbers"]["spread_ratio"] == pytest.approx(spread.max() / spread.min())
    assert {finding["status"] for key, finding in found.items() if key != "scale"} == {"passed"}
