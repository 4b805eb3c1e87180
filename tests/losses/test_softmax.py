from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import log_loss

from crosshead.losses import Softmax

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(scale=3, size=(50, 5))
TARGET = RANDOM.integers(0, 5, size=50)


def test_mean_is_scikit_learns_log_loss() -> None:
    expected = log_loss(TARGET, scipy_softmax(SCORES, axis=1), labels=range(5))
    assert Softmax().value(SCORES, TARGET).mean() == pytest.approx(expected, rel=1e-12)


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes() -> None:
    np.testing.assert_allclose(Softmax().value(np.full((2, 7), -3.0), [0, 6]), np.log(7))


def test_probability_of_four_fifths_costs_minus_its_logarithm() -> None:
    assert Softmax().value(np.log([[0.8, 0.1, 0.1]]), [0])[0] == pytest.approx(0.2231, abs=5e-5)


def test_teaching_probabilities() -> None:
    p = Softmax().predict_proba(np.array([[1, 2, 3]]))
    np.testing.assert_allclose(p, [[0.0900, 0.2447, 0.6652]], atol=5e-5)


def test_distribution_of_one_class_equals_its_index() -> None:
    loss = Softmax()
    for by_row, by_index in zip(
        loss.value_and_gradient(SCORES, np.eye(5)[TARGET]),
        loss.value_and_gradient(SCORES, TARGET),
        strict=True,
    ):
        np.testing.assert_allclose(by_row, by_index, atol=1e-12)


def test_label_smoothing_is_a_smoothed_target() -> None:
    smoothed = np.full((50, 5), 0.02)
    smoothed[np.arange(50), TARGET] = 0.92
    expected = logsumexp(SCORES, axis=1) - (smoothed * SCORES).sum(axis=1)
    for target in (TARGET, np.eye(5)[TARGET]):
        value, gradient = Softmax(label_smoothing=0.1).value_and_gradient(SCORES, target)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient, scipy_softmax(SCORES, axis=1) - smoothed, atol=1e-12)


def test_infimum_with_label_smoothing() -> None:
    # Four classes, ε = 0.4: the target is (0.7, 0.1, 0.1, 0.1).
    entropy = -(0.7 * np.log(0.7) + 0.3 * np.log(0.1))
    loss = Softmax(label_smoothing=0.4)
    np.testing.assert_allclose(loss.infimum(np.eye(4)), entropy)
    np.testing.assert_allclose(loss.infimum(np.array([0, 3])), entropy)
    assert (loss.infimum(np.array([0, 1, 2])) < entropy).all()  # a bound where class 3 does not occur


def test_half_bounds_the_curvature_and_is_reached() -> None:
    curvature = Softmax().curvature(np.zeros((1, 2)), np.array([0]), np.ones(1))
    assert np.linalg.eigvalsh(curvature.classes).max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.2, 0.3], [0.5, 0.5]], "row 0 sums to 0.5"),
        ([[0.5, 0.5], [1.5, -0.5]], "row 1 has an entry outside"),
        ([[0.5, 0.5], [np.nan, 1]], "row 1 is not finite"),
    ],
)
def test_targets_that_are_no_probabilities_are_refused(rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Softmax().value(np.zeros((2, 2)), np.array(rows))


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, np.nan])
def test_label_smoothing_outside_the_unit_interval_is_refused(label_smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        Softmax(label_smoothing)
