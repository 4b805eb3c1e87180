"""Every measure against scikit-learn's, against closed forms, and against itself in blocks."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from sklearn import metrics

from crosshead.evaluation import (
    Evaluator,
    brier_score,
    classification_error,
    confusion_matrix,
    evaluate,
    log_likelihood,
    log_loss,
    mean_loss,
    per_class,
    top_k_error,
)
from crosshead.evaluation.metrics.row_outcomes import outcomes_of_scores
from crosshead.losses import LOSSES, get_loss


@pytest.fixture
def sample(predicted):
    p, y = predicted(357, 7)
    y[y == 3] = 4  # a class without rows
    return p, y


def test_scikit_learn_agrees(sample):
    p, y = sample
    labels = np.arange(7)
    found = evaluate(p, y, top_k=3)
    assert found.error == pytest.approx(1 - metrics.accuracy_score(y, p.argmax(axis=1)), abs=1e-15)
    assert found.cross_entropy == pytest.approx(metrics.log_loss(y, p, labels=labels), rel=1e-12)
    assert found.brier == pytest.approx(7 * metrics.mean_squared_error(np.eye(7)[y], p), rel=1e-12)
    assert found.top_k_error == pytest.approx(1 - metrics.top_k_accuracy_score(y, p, k=3, labels=labels), abs=1e-15)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, p.argmax(axis=1), labels=labels))
    expected = metrics.precision_recall_fscore_support(y, p.argmax(axis=1), labels=labels, zero_division=np.nan)
    measures = found.per_class
    for mine, theirs in zip((measures.precision, measures.recall, measures.f1, measures.rows), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)
    assert found.per_class.wrong.sum() == found.wrong


def test_single_measures_are_those_of_the_whole(sample):
    p, y = sample
    weight = np.random.default_rng(1).random(len(y))
    found = evaluate(p, y, sample_weight=weight, top_k=2)
    options = {"sample_weight": weight}
    assert classification_error(p, y, **options) == pytest.approx(found.error, rel=1e-13)
    assert top_k_error(p, y, 2, **options) == pytest.approx(found.top_k_error, rel=1e-13)
    assert log_loss(p, y, **options) == pytest.approx(found.cross_entropy, rel=1e-13)
    assert log_likelihood(p, y, **options) == pytest.approx(found.log_likelihood, rel=1e-13)
    assert brier_score(p, y, **options) == pytest.approx(found.brier, rel=1e-13)
    np.testing.assert_array_equal(confusion_matrix(p.argmax(axis=1), y, 7), evaluate(p, y).confusion)


@pytest.mark.parametrize("block_rows", [1, 13, 356, 357, 1000])
def test_blocks_do_not_matter(sample, block_rows):
    p, y = sample
    weight = np.random.default_rng(1).random(len(y))
    whole = evaluate(p, y, sample_weight=weight, level=0.9, resamples=50)
    cut = evaluate(p, y, sample_weight=weight, level=0.9, resamples=50, block_rows=block_rows)
    for name in ("error", "cross_entropy", "brier", "ece", "ece_equal_mass", "mce", "top_k_error", "log_likelihood"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), rel=1e-12), name
    np.testing.assert_allclose(cut.classwise.ece, whole.classwise.ece, rtol=1e-12)
    np.testing.assert_array_equal(cut.confusion, whole.confusion)
    for name, replicates in whole.replicates.items():
        np.testing.assert_array_equal(cut.replicates[name], replicates)  # sums of groups grow row by row


def test_weights_repeat_rows(sample):
    p, y = sample
    times = np.random.default_rng(3).integers(0, 4, len(y))
    weighted = evaluate(p, y, sample_weight=times)
    repeated = evaluate(np.repeat(p, times, axis=0), np.repeat(y, times))
    for name in ("weight", "error", "cross_entropy", "brier", "ece", "mce", "log_likelihood", "top_k_error"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-12), name
    np.testing.assert_array_equal(weighted.confusion, repeated.confusion)
    np.testing.assert_allclose(weighted.per_class.f1, repeated.per_class.f1, rtol=1e-14)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_scores_of_every_loss(predicted, loss):
    scores = np.log(predicted(51, 4)[0]) + 1
    y = predicted(51, 4)[1]
    found = evaluate(scores, y, loss=loss)
    assert found.mean_loss == pytest.approx(get_loss(loss).value(scores, y).mean(), rel=1e-13)
    assert mean_loss(scores, y, loss) == pytest.approx(found.mean_loss, rel=1e-13)
    assert found.has_probabilities is get_loss(loss).has_probabilities
    if found.has_probabilities:
        p = get_loss(loss).predict_proba(scores)
        assert found.cross_entropy == pytest.approx(log_loss(p, y), rel=1e-12)
        assert found.ece == pytest.approx(evaluate(p, y).ece, rel=1e-9)
    else:
        assert found.brier is found.ece is found.mce is found.ece_equal_mass is found.log_likelihood is None
        assert found.cross_entropy_bits is None
        assert "ece" not in found.to_dict()


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_temperature_divides_scores(predicted, loss):
    p, y = predicted(40, 3)
    found = evaluate(3 * np.log(p), y, loss=loss, temperature=3.0)
    assert found.cross_entropy == pytest.approx(log_loss(p, y), rel=1e-12)


def test_scores_know_what_probabilities_round_away():
    scores = np.array([[1000.0, 0.0], [40.0, 41.0 + 1e-15]])
    found = evaluate(scores, [1, 1], loss="softmax")
    assert found.cross_entropy == pytest.approx((1000 + math.log1p(math.exp(-1))) / 2, rel=1e-12)
    assert found.impossible == 0
    nearly = np.array([[1.0, 1.0 + 2e-16]]) * 1e-3
    assert evaluate(nearly, [1], loss="softmax").error == float(nearly[0].argmax() != 1)


def test_probability_zero_costs_infinitely_much():
    found = evaluate([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [0, 0, 1, 1], level=0.95)
    assert found.cross_entropy == math.inf
    assert (found.impossible, found.first_impossible) == (2, 2)
    assert found.log_likelihood == -math.inf
    assert found.intervals["cross_entropy"].upper == math.inf
    assert log_loss([[1.0, 0.0]], [1]) == math.inf
    assert log_loss([[1.0, 0.0], [0.5, 0.5]], [1, 0], sample_weight=[0, 1]) == pytest.approx(math.log(2))
    without = evaluate([[1.0, 0.0], [0.5, 0.5]], [1, 0], sample_weight=[0, 1])
    assert (without.impossible, without.cross_entropy) == (0, pytest.approx(math.log(2)))


def test_a_certain_and_right_prediction_costs_a_plain_zero():
    assert math.copysign(1, log_loss([[1.0, 0.0]], [0])) == 1.0
    assert math.copysign(1, evaluate([[800.0, 0.0]], [0], loss="softmax").cross_entropy) == 1.0


def test_ties_go_to_the_lower_index():
    scores = np.array([[0.25, 0.25, 0.25, 0.25]] * 4)
    assert outcomes_of_scores(scores, np.arange(4)).rank.tolist() == [0, 1, 2, 3]
    assert [top_k_error(scores, np.arange(4), k) for k in (1, 2, 3, 4)] == [0.75, 0.5, 0.25, 0.0]
    assert classification_error(scores, np.arange(4)) == 0.75
    assert evaluate(scores, np.arange(4), top_k=4).top_k_error is None


def test_labels_in_place_of_indices():
    p = [[0.25, 0.75], [0.75, 0.25]]
    assert evaluate(p, ["yes", "no"], classes=["no", "yes"]).error == 0.0
    assert evaluate(p, [12, 3], classes=["3", "12"]).error == 0.0
    with pytest.raises(ValueError, match="label maybe in row 1 is not one of the classes no, yes"):
        evaluate(p, ["yes", "maybe"], classes=["no", "yes"])


def test_one_row_and_one_class():
    found = evaluate([[1.0]], [0], level=0.95)
    assert (found.error, found.cross_entropy, found.ece, found.brier) == (0.0, 0.0, 0.0, 0.0)
    assert found.confusion.tolist() == [[1]]


def test_many_classes_have_a_sparse_confusion():
    n = 1500
    generator = np.random.default_rng(0)
    y = generator.integers(0, n, 64)
    scores = generator.normal(size=(64, n))
    scores[:32, :][np.arange(32), y[:32]] += 20
    found = evaluate(scores, y, loss="softmax", block_rows=5)
    assert found.confusion.shape == (n, n)
    assert found.confusion.sum() == 64
    assert found.confusion.diagonal().sum() == 64 - found.wrong
    dense = per_class(np.asarray(found.confusion.todense()))
    np.testing.assert_array_equal(found.per_class.recall, dense.recall)
    assert "confusion" not in found.to_dict()


def test_memory_mapped_rows(tmp_path, sample):
    p, y = sample
    np.save(tmp_path / "p.npy", p.astype(np.float32))
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    found = evaluate(mapped, np.load(tmp_path / "y.npy", mmap_mode="r"), block_rows=10)
    assert found.cross_entropy == pytest.approx(log_loss(p, y), rel=1e-5)


@pytest.mark.parametrize(
    ("p", "y", "options", "message"),
    [
        ([[0.5, np.nan]], [0], {}, "the probability in row 0, column 1 is NaN"),
        ([[0.5, 0.5], [1.5, -0.5]], [0, 0], {}, "the probability in row 1, column 1 is negative, -0.5"),
        ([[0.5, 0.5], [0.5, 0.6]], [0, 0], {}, "row 1 of the probabilities sums to 1.1, not to 1 within 1e-06"),
        ([[0.5, np.inf]], [0], {}, "sums to inf"),
        ([[0.5, 0.5]], [2], {}, r"target 2 in row 0 is outside 0..1"),
        ([[0.5, 0.5]], [-1], {}, r"target -1 in row 0 is outside 0..1"),
        ([[0.5, 0.5]], ["a"], {}, "need `classes`"),
        ([[0.5, 0.5]], [0, 1], {}, r"1 rows need a target of shape \(1,\)"),
        ([0.5, 0.5], [0], {}, "shape"),
        (np.zeros((0, 2)), [], {}, "at least one"),
        ([[0.5, 0.5]], [0], {"sample_weight": [-1]}, "the weight of row 0 is -1.0"),
        ([[0.5, 0.5]], [0], {"sample_weight": [0]}, "the weights sum to zero"),
        ([[0.5, 0.5]], [0], {"sample_weight": [1, 1]}, "need weights of shape"),
        ([[0.5, 0.5]], [0], {"classes": ["a", "a"]}, "distinct classes"),
        ([[0.5, 0.5]], [0], {"level": 95}, "level of an interval"),
        ([[0.5, 0.5]], [0], {"level": 0.9, "resamples": 0}, "resamples must be positive"),
        ([[0.5, 0.5]], [0], {"level": 0.9, "seed": -1}, "the seed must lie between"),
        ([[0.5, 0.5]], [0], {"bins": 0}, "bins must be at least 1"),
        ([[0.5, 0.5]], [0], {"temperature": 2.0}, "a temperature is for scores"),
        ([[0.5, np.inf]], [0], {"loss": "hinge"}, "the score in row 0, column 1 is inf"),
        ([[0.5, 0.5]], [0], {"loss": "hinge", "temperature": 0.0}, "temperature must be positive"),
        ([[0.5, 0.5]], [0], {"loss": "logit"}, "unknown loss"),
    ],
)
def test_what_cannot_be_evaluated(p, y, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(p, y, **options)


def test_the_row_is_named_across_blocks(predicted):
    p, y = predicted(20, 3)
    p[17] = 0.5
    with pytest.raises(ValueError, match=r"row 17 of the probabilities sums to 1\.5"):
        evaluate(p, y, block_rows=6)
    with pytest.raises(ValueError, match="row 17 of the probabilities"):
        log_loss(p, y)


def test_float32_sums_are_allowed_to_be_rounded():
    p = np.array([[0.3, 0.30004, 0.4]], dtype=np.float32)
    assert evaluate(p, [2]).error == 0.0
    with pytest.raises(ValueError, match="within 1e-06"):
        evaluate(p.astype(np.float64), [2])
    assert evaluate(p.astype(np.float64), [2], tolerance=1e-3).error == 0.0


def test_rows_that_were_announced_must_come():
    evaluator = Evaluator(3, [0, 1])
    evaluator.add(np.array([[0.5, 0.5]]), np.array([0]))
    with pytest.raises(ValueError, match="3 rows were announced, but 1 came"):
        evaluator.result()


def test_the_document_has_everything(sample):
    p, y = sample
    document = evaluate(p, y, level=0.9, resamples=30).to_dict()
    assert set(document) >= {"rows", "error", "top_k", "cross_entropy_nats", "cross_entropy_bits", "brier", "ece"}
    assert set(document["intervals"]) == {"error", "top_k_error", "cross_entropy", "brier", "ece"}
    assert [entry["class"] for entry in document["by_class"]] == list(range(7))
    assert set(document["by_class"][0]) == {"class", "rows", "errors", "precision", "recall", "f1", "ece"}
    assert sum(entry["count"] for entry in document["reliability"]) == len(y)
    assert np.sum(document["confusion"]) == len(y)


def test_memory_does_not_grow_with_the_rows(tmp_path, predicted, monkeypatch):
    monkeypatch.setattr("crosshead.evaluation._checks.BLOCK_ELEMENTS", 1 << 13)
    monkeypatch.setattr("crosshead.evaluation.calibration.reliability.EXACT_ROWS", 1 << 10)
    monkeypatch.setattr("crosshead.evaluation.bootstrap.GROUPS", 1 << 10)
    monkeypatch.setattr("crosshead.evaluation.bootstrap.BATCH_ELEMENTS", 1 << 14)
    p, y = predicted(60_000, 20)
    np.save(tmp_path / "p.npy", p)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    peaks = []
    for rows in (15_000, 60_000):
        tracemalloc.start()
        evaluate(mapped[:rows], y[:rows], level=0.9, resamples=30)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.05 + 100_000
    assert peaks[1] < 4 * 2**20  # the probabilities are 9.2 MiB
