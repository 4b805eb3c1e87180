from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from crosshead.evaluation.doubtful_labels import doubtful_labels
from crosshead.linear import out_of_fold_probabilities


def flipped(y: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is changed to another class, and which."""
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(y), round(share * len(y)), replace=False)
    noisy = y.copy()
    noisy[rows] = (y[rows] + generator.integers(1, y.max() + 1, len(rows))) % (y.max() + 1)
    return noisy, np.sort(rows)


def precision_and_recall(found, rows):
    hits = np.intersect1d(found, rows).size
    return hits / len(found), hits / len(rows)


def test_worked_by_hand():
    p = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.6, 0.2, 0.2],  # t_0 = (0.8 + 0.6 + 0.1) / 3 = 0.5
            [0.1, 0.7, 0.2],  # 0.7 ≥ t_1: labelled 0, belongs to 1
            [0.2, 0.6, 0.2],
            [0.3, 0.4, 0.3],  # t_1 = 0.5: belongs to nothing
            [0.1, 0.2, 0.7],
            [0.6, 0.1, 0.3],  # t_2 = 0.5; 0.6 ≥ t_0: labelled 2, belongs to 0
        ]
    )
    found = doubtful_labels(p, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(found.thresholds, [0.5, 0.5, 0.5])
    assert found.joint.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert (found.rows.tolist(), found.suggested.tolist()) == ([2, 6], [1, 0])  # margins -0.6 and -0.3
    np.testing.assert_allclose(found.given_probability, [0.1, 0.3])


def test_a_class_without_samples_is_never_suggested():
    found = doubtful_labels(np.array([[0.1, 0.2, 0.7], [0.1, 0.3, 0.6]]), [0, 1])
    assert np.isinf(found.thresholds[2])
    assert 2 not in found.suggested


@pytest.mark.parametrize(
    ("data", "share", "precision", "recall"),
    [(load_digits, 0.05, 0.95, 0.70), (load_digits, 0.15, 0.95, 0.70), (load_iris, 0.1, 0.80, 0.75)],
)
def test_flipped_labels_are_found(data, share, precision, recall):
    X, y = data(return_X_y=True)
    noisy, rows = flipped(y, share, seed=1)
    p, classes = out_of_fold_probabilities(
        X / X.max(), noisy, alpha=1e-3, cv=StratifiedKFold(5, shuffle=True, random_state=0)
    )
    np.testing.assert_array_equal(classes, np.unique(y))
    found = doubtful_labels(p, noisy)
    reached = precision_and_recall(found.rows, rows)
    assert reached[0] >= precision, reached
    assert reached[1] >= recall, reached
    right = np.isin(found.rows, rows)
    assert np.mean(found.suggested[right] == y[found.rows[right]]) > 0.95


def test_folds_are_those_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    folds = StratifiedKFold(4, shuffle=True, random_state=2)
    ours, _ = out_of_fold_probabilities(X, y, alpha=1e-2, tol=1e-9, cv=folds)
    theirs = np.empty_like(ours)
    for train, test in folds.split(X, y):
        peer = LogisticRegression(C=1 / (1e-2 * len(train)), tol=1e-10, max_iter=10_000).fit(X[train], y[train])
        theirs[test] = peer.predict_proba(X[test])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    again = cross_val_predict(LogisticRegression(C=1 / (1e-2 * 112.5), max_iter=10_000), X, y, cv=folds)
    assert np.mean(ours.argmax(axis=1) == again) > 0.99


def test_a_start_changes_the_way_and_not_the_optimum():
    X, y = load_iris(return_X_y=True)
    cold, _ = out_of_fold_probabilities(X, y, alpha=1e-2, tol=1e-9)
    start = np.ones((3, 4)), np.zeros(3)
    warm, _ = out_of_fold_probabilities(X, y, alpha=1e-2, tol=1e-9, start=start)
    np.testing.assert_allclose(warm, cold, atol=1e-4)


def test_folds_that_are_no_partition_and_losses_without_probabilities():
    X, y = load_iris(return_X_y=True)
    rows = np.arange(150)
    with pytest.raises(ValueError, match="held out twice"):
        out_of_fold_probabilities(X, y, cv=[(rows, rows), (rows, rows)])
    with pytest.raises(ValueError, match="never held out"):
        out_of_fold_probabilities(X, y, cv=[(rows, rows[:10])])
    with pytest.raises(ValueError, match="no probabilities"):
        out_of_fold_probabilities(X, y, loss="hinge")


@pytest.mark.parametrize(
    ("p", "target", "message"),
    [
        ([[0.5, 0.6]], [0], "row 1 is not a distribution"),
        ([[0.5, 0.5], [1.5, -0.5]], [0, 1], "row 2 is not a distribution"),
        ([[0.5, 0.5]], [2], "row 1: class index 2"),
        ([[0.5, 0.5]], [0, 1], "expected 1 class indices"),
        ([[1.0]], [0], "C ≥ 2"),
    ],
)
def test_what_does_not_fit_is_refused(p, target, message):
    with pytest.raises(ValueError, match=message):
        doubtful_labels(np.array(p), np.array(target))
