from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, xlog1py, xlogy
from sklearn.metrics import log_loss

from crosshead.losses import Binary

RANDOM = np.random.default_rng(1)


def test_one_column_is_two_class_logistic_regression() -> None:
    scores, positive = RANDOM.normal(scale=2, size=(60, 1)), RANDOM.integers(0, 2, size=60)
    expected = log_loss(positive, expit(scores[:, 0]))
    assert Binary().value(scores, positive - 1).mean() == pytest.approx(expected, rel=1e-12)


def test_many_columns_are_separate_questions() -> None:
    scores, target = RANDOM.normal(scale=2, size=(9, 4)), RANDOM.uniform(size=(9, 4))
    p = expit(scores)
    value, gradient = Binary().value_and_gradient(scores, target)
    np.testing.assert_allclose(value, -(xlogy(target, p) + xlog1py(1 - target, -p)).sum(axis=1))
    np.testing.assert_allclose(gradient, p - target, atol=1e-15)


def test_an_index_is_one_against_the_rest_and_minus_one_none_at_all() -> None:
    scores = RANDOM.normal(size=(3, 3))
    rows = np.array([[0.0, 0, 1], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(Binary().value(scores, [2, -1, 0]), Binary().value(scores, rows))


def test_confident_answers_keep_their_small_losses() -> None:
    np.testing.assert_allclose(Binary().value(np.array([[50.0], [-50.0]]), [0, -1]), np.exp(-50), rtol=1e-12)


def test_probabilities_of_one_column_are_the_sigmoid() -> None:
    scores = RANDOM.normal(size=(5, 1))
    np.testing.assert_allclose(Binary().predict_proba(scores), expit(scores), rtol=1e-14)


def test_probabilities_of_many_columns_are_sigmoids_over_their_sum() -> None:
    scores = RANDOM.normal(size=(5, 3))
    p = expit(scores)
    np.testing.assert_allclose(Binary().predict_proba(scores), p / p.sum(axis=1, keepdims=True), rtol=1e-12)
    # Where every sigmoid underflows their ratios are still known: e⁻¹ to 1.
    low = Binary().predict_proba(np.array([[-1001.0, -1000.0]]))
    np.testing.assert_allclose(low[0, 0] / low[0, 1], np.exp(-1), rtol=1e-12)


def test_infimum_is_the_entropy_of_soft_answers() -> None:
    np.testing.assert_allclose(Binary().infimum(np.array([[0.5, 0.5, 1.0]])), 2 * np.log(2))
    np.testing.assert_array_equal(Binary().infimum(np.array([0, -1])), 0)


def test_targets_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 1 has an entry outside \[0, 1\]"):
        Binary().value(np.zeros((2, 2)), np.array([[0, 1], [0, 2]]))
    with pytest.raises(ValueError, match=r"target -2 in row 0 is outside -1\.\.1"):
        Binary().value(np.zeros((1, 2)), [-2])
