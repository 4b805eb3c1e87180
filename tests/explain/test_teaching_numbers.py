"""The examples that courses work by hand, with values derived without this package."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crosshead.explain import (
    explain,
    explain_flatten,
    explain_linear,
    explain_probabilities,
    explain_probability_samples,
    explain_samples,
)
from crosshead.losses import LOSSES


def test_flattening():
    features, weights, with_biases = explain_flatten((100, 4, 4), 7).step("flatten").lines
    assert (features.value, weights.value, with_biases.value) == (1600, 7 * 1600, 7 * 1600 + 7)
    assert explain_flatten((100, 4, 4), 7).title == "W is 7 × 1600"


def test_softmax_of_one_two_three():
    step = explain([1, 2, 3], 0, loss="softmax").step("probabilities")
    assert np.round(step.result, 4).tolist() == [0.0900, 0.2447, 0.6652]


@pytest.mark.parametrize(
    ("p", "loss", "printed", "predicted"),
    [
        ((0.1, 0.15, 0.05, 0.6, 0.1), -math.log(0.6), 0.5108, 3),
        ((0.15, 0.2, 0.4, 0.1, 0.15), -math.log(0.1), 2.3026, 2),
        ((0.05, 0.15, 0.4, 0.3, 0.1), -math.log(0.3), 1.2040, 2),
    ],
)
def test_log_loss_of_five_classes(p, loss, printed, predicted):
    explanation = explain_probabilities(p, 3)
    assert explanation.value == pytest.approx(loss, rel=1e-14)
    assert round(explanation.value, 4) == printed
    assert explanation.predicted == predicted


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match=r"must sum to 1, but these sum to 2\.0"):
        explain_probabilities((0.2, 0.3, 0.4, 0.6, 0.5), 3)


@pytest.mark.parametrize(("q", "printed"), [((0.5, 0.2, 0.3), 0.6931), ((0.8, 0.1, 0.1), 0.2231)])
def test_cross_entropy_against_a_distribution(q, printed):
    explanation = explain_probabilities(q, (1, 0, 0))
    assert explanation.value == pytest.approx(-math.log(q[0]), rel=1e-14)
    assert round(explanation.value, 4) == printed


def test_entropy_in_bits():
    explanation = explain_probabilities((63 / 64, 1 / 64), loss="entropy", base=2)
    assert explanation.value == pytest.approx(6 - 63 / 64 * math.log2(63), rel=1e-12)
    assert round(explanation.value, 4) == 0.1161
    assert explanation.unit == "bits"


MODELS = {
    1: ([[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]], (0.54 + 0.54 + 1.34) / 3, 0.8067, 0.4 * 0.4 * 0.1),
    2: ([[0.1, 0.2, 0.7], [0.1, 0.7, 0.2], [0.3, 0.4, 0.3]], (0.14 + 0.14 + 0.74) / 3, 0.3400, 0.7 * 0.7 * 0.3),
}
PRINTED = {1: (1.796, 4.135), 2: (0.833, 1.917)}


@pytest.mark.parametrize("model", MODELS)
def test_two_models_with_the_same_error(model):
    rows, squared, printed, likelihood = MODELS[model]
    mse = explain_probability_samples(rows, [2, 1, 0], loss="mse")
    assert mse.mean == pytest.approx(squared, rel=1e-12)
    assert round(mse.mean, 4) == printed
    assert mse.error == pytest.approx(1 / 3)
    bans, nats = (explain_probability_samples(rows, [2, 1, 0], base=base) for base in (10, math.e))
    assert bans.sum == pytest.approx(-math.log10(likelihood), rel=1e-12)
    assert nats.sum == pytest.approx(-math.log(likelihood), rel=1e-12)
    assert (round(bans.sum, 3), round(nats.sum, 3)) == PRINTED[model]


def test_three_hinges():
    samples = explain_samples([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], [0, 1, 2])
    assert samples.values == pytest.approx([2.9, 0, 12.9], rel=1e-12)
    assert samples[1].value == 0.0
    assert round(samples.mean, 4) == 5.2667
    assert samples.mean == pytest.approx(15.8 / 3)


@pytest.mark.parametrize("factor", [1, 2, 16])
def test_doubled_weights_keep_a_loss_of_zero(factor):
    weight = factor * np.array([[1.3], [4.9], [2.0]])
    assert explain_linear(weight, [1.0], 1, loss="hinge").value == 0.0


def test_the_squared_hinge_squares_each_term():
    explanation = explain([2.2, 2.5, -3.1], 2, loss="squared_hinge")
    assert [line.value for line in explanation.step("loss").lines] == pytest.approx([6.3**2, 6.6**2])
    assert explanation.value == pytest.approx(83.25)


def test_crammer_and_singer_count_the_worst():
    step = explain([2.2, 2.5, -3.1], 2, loss="crammer_singer").step("loss")
    assert step.result == pytest.approx(6.6)
    assert [line.note for line in step.lines] == ["does not count", "the one that counts"]


def test_equal_scores_but_unequal_penalties():
    explanation = explain_linear([[1, 0, 0, 0], [0.25] * 4], [1, 1, 1, 1])
    assert explanation.scores.tolist() == [1, 1]
    norms = {line.label: line.value for line in explanation.step("norms").lines}
    assert (norms["Σ w², class 0"], norms["Σ w², class 1"]) == (1, 0.25)
    assert (norms["Σ |w|, class 0"], norms["Σ |w|, class 1"]) == (1, 1)
    assert explanation.value is None


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_the_first_loss(count):
    assert explain(np.zeros(count), 1, loss="softmax").value == pytest.approx(math.log(count), rel=1e-14)
    assert explain(np.zeros(count), 1, loss="hinge").value == count - 1
    assert explain(np.full(count, 7.5), 1, loss="hinge").value == count - 1


@pytest.mark.parametrize("wrong", [10.0, 100.0])
def test_the_squared_error_of_a_softmax_stops_learning(wrong):
    scores = [-wrong, wrong]
    squared, cross_entropy = (explain(scores, 0, loss=loss) for loss in ("mse", "cross_entropy"))
    assert squared.value == pytest.approx(2)
    assert np.abs(squared.gradient).max() < 1e-7
    assert cross_entropy.gradient == pytest.approx([-1, 1])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_weight_gradient_is_finite_differences(loss):
    weight, x = np.array([[0.3, -1.0], [0.5, 0.25], [-0.7, 0.4]]), np.array([1.5, -0.75])
    explanation = explain_linear(weight, x, 2, loss=loss)
    found = {line.label: line.value for line in explanation.step("weight_gradient").lines}
    for c in range(3):
        for d in range(2):
            nudge = np.zeros_like(weight)
            nudge[c, d] = 1e-5
            above, below = (explain_linear(weight + sign * nudge, x, 2, loss=loss).value for sign in (1, -1))
            assert found[f"W[class {c}, x[{d}]]"] == pytest.approx((above - below) / 2e-5, abs=1e-8)


def test_binary_answers():
    assert explain_probabilities([0.8], 1, "bce").value == pytest.approx(-math.log(0.8))
    assert explain_probabilities([0.8], 0, "bce").value == pytest.approx(-math.log(0.2))
    many = explain_probabilities([0.8, 0.3, 0.5], [1, 0, 0.5], "bce", base=2)
    assert many.value == pytest.approx(-math.log2(0.8) - math.log2(0.7) + 1)


def test_a_confident_mistake_costs_infinitely_much():
    explanation = explain_probabilities([1.0, 0.0], 1)
    assert explanation.value == math.inf
    assert "∞" in explanation.to_text()
    assert explain_probabilities([1.0, 0.0], 0).value == 0.0
