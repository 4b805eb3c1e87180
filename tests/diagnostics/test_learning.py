from __future__ import annotations

import numpy as np
import pytest

from crosshead.diagnostics.learning import INITIAL, by_turns, independent_rows
from crosshead.losses import LOSSES


def test_every_loss_has_its_first_value():
    assert set(INITIAL) == set(LOSSES)


def test_rows_come_by_turns():
    indices = np.array([2, 2, 2, 2, 0, 0, 1])
    order = by_turns(indices, seed=3)
    assert sorted(order.tolist()) == list(range(7))
    assert indices[order].tolist() == [0, 1, 2, 0, 2, 2, 2]


@pytest.mark.parametrize(("intercept", "kept"), [(True, [0, 1, 3]), (False, [0, 3])])
def test_independent_rows(intercept, kept):
    features = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [1.0, 0.0], [5.0, 5.0]])
    found = independent_rows(features, np.array([0, 0, 0, 1, 0]), 20, intercept)
    assert found == kept
    assert independent_rows(features, np.array([0, 0, 0, 1, 0]), 2, intercept) == kept[:2]


def test_equal_rows_of_two_classes_are_taken_all_the_same():
    assert independent_rows(np.ones((4, 3)), np.array([0, 0, 1, 1]), 20, True) == [0, 2]
