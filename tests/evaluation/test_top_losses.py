from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from crosshead.evaluation.top_losses import top_losses


@pytest.fixture
def scores():
    return np.random.default_rng(3).normal(size=(997, 7)) * 3


def test_the_largest_of_all_whatever_the_blocks(scores):
    target = np.arange(997) % 7
    loss = -log_softmax(scores, axis=1)[np.arange(997), target]
    order = np.argsort(-loss, kind="stable")[:50]
    for step in (1, 13, 997, 2000):
        blocks = ((first, scores[first : first + step]) for first in range(0, 997, step))
        found = top_losses(blocks, target, 50)
        np.testing.assert_array_equal(found.rows, order)
        np.testing.assert_allclose(found.loss, loss[order])
        np.testing.assert_allclose(found.share, loss[order] / loss.sum())
        np.testing.assert_allclose(found.probability, np.exp(-loss[order]))
        assert (found.n_rows, found.total_loss) == (997, pytest.approx(loss.sum()))
        np.testing.assert_array_equal(found.predicted, scores[order].argmax(axis=1))


def test_probabilities_give_the_same(scores):
    p = np.exp(log_softmax(scores, axis=1))
    target = np.arange(997) % 7
    one, other = top_losses(scores, target, 9), top_losses(p, target, 9, probabilities=True)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_allclose(one.loss, other.loss)


def test_no_probabilities_where_the_loss_has_none():
    found = top_losses([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], [0, 1, 2], 5, loss="squared_hinge")
    assert found.probability is None
    np.testing.assert_allclose(found.loss, [6.3**2 + 6.6**2, 2.9**2, 0])
    assert len(found) == 3


def test_equal_losses_keep_the_order_of_rows():
    found = top_losses(np.zeros((9, 3)), np.zeros(9, dtype=int), 4)
    assert found.rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.share, 1 / 9)


def test_a_probability_of_zero_takes_the_whole_loss():
    p = np.array([[0.0, 1.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    found = top_losses(p, [0, 0, 0, 0], 4, probabilities=True)
    assert np.isinf(found.total_loss)
    assert found.share.tolist() == [0.5, 0.5, 0, 0]


def test_no_loss_at_all_has_no_shares():
    found = top_losses(np.eye(3), [0, 1, 2], 2, probabilities=True)
    assert found.share.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        ([[0.0, 1.0]], [2], "row 1: class index 2 is outside 0 … 1"),
        ([[0.0, 1.0]], ["a"], "class indices"),
        ([[0.0, 1.0], [0.0, np.nan]], [0, 1], "row 2 has a score that is NaN"),
        ([[0.0, 1.0]], [0, 1], "1 rows of scores for 2 labels"),
        ([[0.0, 1.0], [1.0, 0.0]], [0], "row 2 has no label"),
        ([0.0, 1.0], [0], "expected"),
    ],
)
def test_what_does_not_fit_is_refused(scores, target, message):
    with pytest.raises(ValueError, match=message):
        top_losses(scores, target)


def test_memory_does_not_grow_with_rows():
    import tracemalloc

    def peak(rows):
        block = np.random.default_rng(0).normal(size=(1000, 20))
        target = np.zeros(rows, dtype=np.int32)
        tracemalloc.start()
        top_losses(((first, block) for first in range(0, rows, 1000)), target, 10)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(60_000) < 1.1 * peak(6_000)
