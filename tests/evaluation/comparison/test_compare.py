from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from crosshead.data import DataError, Predictions
from crosshead.evaluation import Evaluator, bootstrap_mean, compare, evaluate, mcnemar
from crosshead.evaluation.comparison.compare import Comparer, holm


@pytest.fixture
def models(predicted):
    p, y = predicted(230, 4)
    worse = np.random.default_rng(9).dirichlet(np.ones(4), 230)
    return {"good": p, "mixed": 0.5 * p + 0.5 * worse, "bad": worse}, y


def test_mcnemar_is_the_binomial_test():
    for b, c in [(0, 0), (0, 1), (3, 3), (2, 8), (121, 59), (1, 400)]:
        test = mcnemar(b, c)
        assert (test.only_first, test.only_second) == (b, c)
        if b + c:
            tail = stats.binom.cdf(min(b, c), b + c, 0.5)  # symmetric, so that both tails are the same
            assert test.exact == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
    # Agresti, Categorical Data Analysis: 101 vs 121 of 222 differ by (20 − 1)²/222
    assert mcnemar(101, 121).statistic == pytest.approx(19**2 / 222)
    assert mcnemar(101, 121).chi_squared == pytest.approx(stats.chi2.sf(19**2 / 222, 1))
    assert mcnemar(0, 0).exact == mcnemar(0, 0).chi_squared == mcnemar(3, 3).chi_squared == 1.0
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def test_pairs_and_their_counts(models):
    outputs, y = models
    found = compare(outputs, y, resamples=50)
    assert [(pair.first, pair.second) for pair in found.pairs] == [("good", "mixed"), ("good", "bad"), ("mixed", "bad")]
    for pair in found.pairs:
        first, second = outputs[pair.first].argmax(axis=1) == y, outputs[pair.second].argmax(axis=1) == y
        assert pair.both_right == (first & second).sum()
        assert pair.both_wrong == (~first & ~second).sum()
        assert (pair.mcnemar.only_first, pair.mcnemar.only_second) == ((first & ~second).sum(), (~first & second).sum())
    assert [pair.holm for pair in found.pairs] == holm([pair.mcnemar.exact for pair in found.pairs])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


def test_differences_are_paired(models):
    outputs, y = models
    found = compare({name: outputs[name] for name in ("good", "mixed")}, y, level=0.9, resamples=300, seed=4)
    one, two = outputs["good"], outputs["mixed"]
    rows = np.arange(len(y))
    loss = -np.log(two[rows, y]) + np.log(one[rows, y])
    alone = bootstrap_mean(loss, level=0.9, resamples=300, seed=4)  # of the differences themselves
    difference = found.pairs[0].differences["cross_entropy"]
    assert difference.estimate == pytest.approx(alone.estimate, rel=1e-10)
    assert difference.interval.lower == pytest.approx(alone.lower, rel=1e-9)
    assert difference.interval.upper == pytest.approx(alone.upper, rel=1e-9)
    unpaired = evaluate(two, y, level=0.9, resamples=300, seed=4).intervals["cross_entropy"]
    assert difference.interval.upper - difference.interval.lower < unpaired.upper - unpaired.lower
    assert difference.p_value == pytest.approx(2 / 301)  # no resample on the other side


def test_a_model_against_itself(models):
    outputs, y = models
    pair = compare({"a": outputs["good"], "b": outputs["good"].copy()}, y, resamples=40).pairs[0]
    assert pair.most_different == ()
    for difference in pair.differences.values():
        assert (difference.estimate, difference.interval.lower, difference.interval.upper) == (0.0, 0.0, 0.0)
        assert difference.p_value == 1.0


def test_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(3)
    small = 0
    for seed in range(200):
        y = np.zeros(80, dtype=int)
        one, two = (generator.uniform(0.05, 0.95, 80) for _ in range(2))
        outputs = {name: np.stack([p, 1 - p], axis=1) for name, p in (("one", one), ("two", two))}
        small += compare(outputs, y, resamples=100, seed=seed).pairs[0].differences["brier"].p_value < 0.1
    assert 8 <= small <= 36  # 20 expected, with a deviation of 4.2


@pytest.mark.parametrize("block", [None, 60])
def test_most_different_rows(models, monkeypatch, block):
    if block is not None:
        monkeypatch.setattr("crosshead.evaluation._checks.BLOCK_ELEMENTS", block)
    outputs, y = models
    pair = compare({"good": outputs["good"], "bad": outputs["bad"]}, y, most=7, resamples=20).pairs[0]
    rows = np.arange(len(y))
    difference = np.log(outputs["good"][rows, y]) - np.log(outputs["bad"][rows, y])
    expected = np.lexsort((rows, -np.abs(difference)))[:7]
    assert [row.row for row in pair.most_different] == expected.tolist()
    for row in pair.most_different:
        assert row.difference == pytest.approx(difference[row.row])
        assert row.second_cross_entropy - row.first_cross_entropy == pytest.approx(row.difference)
        assert row.target == y[row.row]
        assert row.first_predicted == outputs["good"][row.row].argmax()


def test_infinite_losses_differ_most():
    one = [[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]]
    two = [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]
    found = compare({"one": one, "two": two}, [1, 1, 1], resamples=20)
    pair = found.pairs[0]
    assert [row.row for row in pair.most_different] == [0, 1]  # in row 2 both are infinite: no difference
    assert pair.most_different[0].difference == -math.inf
    assert math.isnan(pair.differences["cross_entropy"].estimate)
    assert pair.differences["brier"].estimate < 0


def test_models_without_probabilities():
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    evaluators = {name: Evaluator(3, ["no", "yes"], loss="hinge", level=0.9, resamples=30) for name in ("a", "b")}
    comparer = Comparer(evaluators, most=5)
    comparer.add({"a": scores, "b": -scores}, np.array([0, 0, 1]))
    found = comparer.result()
    pair = found.pairs[0]
    assert set(pair.differences) == {"error"}
    assert [(row.row, row.difference) for row in pair.most_different] == [(0, 1.0), (1, -1.0), (2, -1.0)]
    assert pair.most_different[0].first_cross_entropy is None
    assert pair.most_different[0].second_predicted == "yes"


def predictions(p, y, names=None, classes=("a", "b")):
    return Predictions(np.array(p), np.array(classes), np.array(y), row_names=names, source="p.csv")


def test_predictions_whose_columns_stand_in_another_order():
    one = predictions([[0.25, 0.75], [0.5, 0.5]], [1, 0])
    two = predictions([[0.75, 0.25], [0.5, 0.5]], [0, 1], classes=("b", "a"))
    found = compare({"one": one, "two": two}, resamples=20)
    assert found.pairs[0].differences["cross_entropy"].estimate == 0.0
    assert found.evaluations["two"].classes.tolist() == ["a", "b"]
    assert found.evaluations["two"].error == 0.0


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({}, {"p": [[0.5, 0.5]], "y": [0]}, "2 rows in the one, 1 in the other"),
        ({}, {"y": [1, 0]}, "row 2 has label b in the one, a in the other"),
        (
            {"names": np.array(["x", "y"])},
            {"names": np.array(["x", "z"])},
            "row 2 is called y in the one, z in the other",
        ),
        ({"names": np.array(["x", "y"])}, {}, "one names its rows, the other does not"),
        ({}, {"classes": ("a", "c"), "y": [0, 0]}, "row 1 has label b"),
        ({"y": [0, 0]}, {"classes": ("a", "c"), "y": [0, 0]}, "p.csv: its classes are not those of the others"),
    ],
)
def test_other_rows_are_refused(one, two, message):
    base = {"p": [[0.5, 0.5], [0.25, 0.75]], "y": [1, 1]}
    with pytest.raises(DataError, match=message):
        compare({"one": predictions(**{**base, **one}), "two": predictions(**{**base, **two})})


def test_what_cannot_be_compared(models):
    outputs, y = models
    with pytest.raises(ValueError, match="at least two models"):
        compare({"one": outputs["good"]}, y)
    with pytest.raises(ValueError, match="at least two models"):
        compare({"one": predictions([[0.5, 0.5]], [0])})
    with pytest.raises(ValueError, match="the same rows and classes"):
        compare({"one": outputs["good"], "two": outputs["bad"][:-1]}, y)
    with pytest.raises(ValueError, match="need a target"):
        compare(outputs)
    with pytest.raises(ValueError, match="not both"):
        compare({"one": outputs["good"], "two": predictions([[0.5, 0.5]], [0])}, y)


def test_the_document(models):
    outputs, y = models
    document = compare(outputs, y, resamples=25, level=0.8, seed=6).to_dict()
    assert (document["rows"], document["level"], document["resamples"], document["seed"]) == (230, 0.8, 25, 6)
    assert set(document["models"]) == set(outputs)
    assert len(document["pairs"]) == 3
    assert set(document["pairs"][0]["differences"]) == {"error", "cross_entropy", "brier", "ece"}
