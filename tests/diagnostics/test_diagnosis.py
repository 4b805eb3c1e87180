"""`crosshead.diagnostics.check`: what the command finds, from Python."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from crosshead.data import DataError, Dataset, load
from crosshead.diagnostics import check
from crosshead.losses import Hinge

KEYS = [
    *("initial_loss", "small_weights", "gradient", "overfit_few_rows", "scale", "constant_columns"),
    *("repeated_columns", "repeated_rows", "contradicting_rows", "classes"),
]


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    target = np.arange(60) % 3
    return generator.normal(size=(60, 4)) + 4 * np.eye(3, 4)[target], target


def test_arrays_and_a_data_set_are_checked_alike(rows):
    one, other = check(*rows, random_state=3), check(Dataset(*rows), random_state=3)
    assert [finding.key for finding in one.findings] == KEYS
    assert one.to_dict() == other.to_dict()
    assert one.passed
    assert (one.shape, one.n_classes) == ((60, 4), 3)
    assert one.counts == {"passed": 10, "warning": 0, "failed": 0}


def test_sparse_features_and_words_as_labels(rows):
    X, y = rows
    found = check(sparse.csr_array(X), np.array(["a", "b", "c"])[y], loss=Hinge(margin=2.0))
    assert found["initial_loss"].numbers["found"] == pytest.approx(4)
    assert found.passed


def test_columns_go_by_their_names(rows):
    X = np.column_stack([rows[0], np.ones(60)])
    found = check(X, rows[1], feature_names=["one", "two", "three", "four", "same"])
    assert found["constant_columns"].found == "1 of 5: same"
    assert found.passed  # a warning is no failure


def test_what_fails_is_told(rows):
    found = check(np.ones((20, 3)), np.arange(20) % 2)
    assert not found.passed
    assert found["overfit_few_rows"].status == "failed"
    assert found.to_dict()["failed"] == 1
    with pytest.raises(KeyError):
        found["fit"]


def test_scaling_comes_first(rows):
    X = 1e4 * rows[0]
    assert check(X, rows[1])["scale"].status == "warning"
    assert check(X, rows[1], scale="standard")["scale"].status == "passed"


def test_progress_is_told_in_words(rows):
    told: list[str] = []
    check(*rows, callback=told.append)
    assert told[0] == "checking features and labels"
    assert len(told) == 2


def test_test_rows_of_a_data_set_are_looked_at(rows):
    X, y = rows
    data = Dataset(X, y, test=Dataset(X[:1], np.array([7])))
    assert "only among the test rows: 7" in check(data)["classes"].found


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.eye(3), [1, 1, 1]), {}, "3 rows of one class only"),
        ((np.eye(3), [0, 1]), {}, "y has shape"),
        ((np.eye(3), None), {}, "no labels"),
        ((np.ones(3), [0, 1, 0]), {}, "expected \\(rows, features\\)"),
        ((np.eye(2), [0, 1]), {"scale": "minmax"}, "scaling 'minmax' is unknown"),
        ((np.eye(2), [0, 1]), {"loss": "perceptron"}, "unknown loss"),
        ((np.eye(2), [0, 1]), {"alpha": -1.0}, "alpha"),
    ],
)
def test_what_cannot_be_checked(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        check(*arguments, **options)


def test_a_data_set_has_labels_of_its_own():
    with pytest.raises(DataError, match="labels of its own"):
        check(load("iris"), np.zeros(150))


def test_no_rows_are_told() -> None:
    with pytest.raises(ValueError, match="there are no rows"):
        check(np.zeros((0, 2)), np.array([]))
