"""Numbers of well-known teaching material, worked out by hand; where it prints a wrong one, the right one is here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crosshead.evaluation import (
    brier_score,
    classification_error,
    compare,
    evaluate,
    log_likelihood,
    log_loss,
    mean_loss,
)
from crosshead.losses.functions import entropy

MODEL_1 = [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]
MODEL_2 = [[0.1, 0.2, 0.7], [0.1, 0.7, 0.2], [0.3, 0.4, 0.3]]
TRUE = [2, 1, 0]

HINGES = [[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]


@pytest.mark.parametrize(
    ("model", "error", "squared", "bans", "nats"),
    [(MODEL_1, 1 / 3, 0.8067, 1.796, 4.135), (MODEL_2, 1 / 3, 0.3400, 0.833, 1.917)],
)
def test_three_samples_two_models(model, error, squared, bans, nats):
    assert classification_error(model, TRUE) == pytest.approx(error, abs=1e-12)
    assert brier_score(model, TRUE) == pytest.approx(squared, abs=5e-5)
    assert -log_likelihood(model, TRUE, base=10) == pytest.approx(bans, abs=5e-4)
    assert 3 * log_loss(model, TRUE, base=10) == pytest.approx(bans, abs=5e-4)
    assert -log_likelihood(model, TRUE) == pytest.approx(nats, abs=5e-4)
    assert 3 * log_loss(model, TRUE, base=2) == pytest.approx(nats / math.log(2), abs=1e-3)
    found = evaluate(model, TRUE)
    assert (found.error, found.brier) == pytest.approx((error, squared), abs=5e-5)
    assert -found.log_likelihood == pytest.approx(nats, abs=5e-4)


def test_the_sum_often_printed_takes_the_wrong_logarithm():
    wrong = -math.log10(0.7) - math.log10(0.7) - math.log10(0.4)
    right = -math.log10(0.7) - math.log10(0.7) - math.log10(0.3)
    assert (round(wrong, 3), round(right, 3)) == (0.708, 0.833)  # printed as 0.697, from rounded terms
    assert -log_likelihood(MODEL_2, TRUE, base=10) == pytest.approx(right)


def test_both_models_side_by_side():
    found = compare({"model 1": MODEL_1, "model 2": MODEL_2}, TRUE)
    assert [model.error for model in found.evaluations.values()] == pytest.approx([1 / 3, 1 / 3])
    (pair,) = found.pairs
    assert (pair.both_right, pair.both_wrong, pair.mcnemar.exact) == (2, 1, 1.0)
    assert pair.differences["brier"].estimate == pytest.approx(0.34 - 0.8067, abs=5e-5)
    assert pair.most_different[0].row == 2
    assert pair.most_different[0].difference == pytest.approx(math.log(0.1) - math.log(0.3))


def test_cross_entropies_of_single_samples():
    rows = [[0.1, 0.15, 0.05, 0.6, 0.1], [0.15, 0.2, 0.4, 0.1, 0.15], [0.05, 0.15, 0.4, 0.3, 0.1]]
    losses = [log_loss([row], [3]) for row in rows]
    assert losses == pytest.approx([0.5108, 2.3026, 1.2040], abs=5e-5)
    assert evaluate([rows[1]], [3]).confusion[3].tolist() == [0, 0, 1, 0, 0]  # the third class is predicted


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match=r"^row 0 of the probabilities sums to 2, not to 1 within 1e-06$"):
        log_loss([[0.2, 0.3, 0.4, 0.6, 0.5]], [3])
    with pytest.raises(ValueError, match=r"row 1 of the probabilities sums to 2"):
        evaluate([[0.2, 0.2, 0.2, 0.2, 0.2], [0.2, 0.3, 0.4, 0.6, 0.5]], [3, 3])


def test_one_certain_class():
    assert log_loss([[0.5, 0.2, 0.3]], [0]) == pytest.approx(0.6931, abs=5e-5)
    assert log_loss([[0.8, 0.1, 0.1]], [0]) == pytest.approx(0.2231, abs=5e-5)


def test_entropy_often_printed_as_0_1164():
    assert entropy([63 / 64, 1 / 64], base=2) == pytest.approx(0.1161, abs=5e-5)


def test_hinges():
    assert [mean_loss([row], [target]) for target, row in enumerate(HINGES)] == pytest.approx([2.9, 0.0, 12.9])
    assert mean_loss(HINGES, [0, 1, 2]) == pytest.approx(5.2667, abs=5e-5)
    assert mean_loss([HINGES[2]], [2], "squared_hinge") == pytest.approx(6.3**2 + 6.6**2)
    assert mean_loss(np.zeros((4, 10)), [0, 1, 2, 9]) == 9.0
    assert evaluate(HINGES, [0, 1, 2], loss="hinge").mean_loss == pytest.approx(5.2667, abs=5e-5)


def test_the_initial_loss():
    assert log_loss(np.full((3, 7), 1 / 7), [0, 3, 6]) == pytest.approx(math.log(7))
