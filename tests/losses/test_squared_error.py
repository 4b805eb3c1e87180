from __future__ import annotations

import numpy as np
import pytest

from crosshead.losses import SquaredError


def test_numbers_done_by_hand() -> None:
    # (0.5 − 1)² + 0.25² + 0.25² and (2 − 0)² + (−1 − 1)² + 0.5²
    scores = np.array([[0.5, 0.25, 0.25], [2.0, -1.0, 0.5]])
    value, gradient = SquaredError().value_and_gradient(scores, [0, 1])
    np.testing.assert_array_equal(value, [0.375, 8.25])
    np.testing.assert_array_equal(gradient, [[-1, 0.5, 0.5], [4, -4, 1]])


def test_any_real_target_is_allowed() -> None:
    assert SquaredError().value(np.zeros((1, 2)), np.array([[3.0, -4.0]])) == 25


def test_best_constant_score_is_the_mean_target() -> None:
    target = np.array([0, 0, 0, 1])
    _, gradient = SquaredError().value_and_gradient(np.tile([0.75, 0.25], (4, 1)), target)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-15)


def test_targets_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0 is not finite"):
        SquaredError().value(np.zeros((1, 2)), np.array([[np.inf, 0]]))
