from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from sklearn.base import clone

from crosshead.evaluation import TemperatureScaler, cross_fit, evaluate, log_loss
from crosshead.evaluation.calibration.cross_fitting import fold_of_rows


def slope(scores, target, sharpness, weight=None):
    """d/du of the mean cross-entropy of softmax(u z)."""
    p = softmax(sharpness * scores, axis=1)
    own = scores[np.arange(len(target)), target]
    return np.average((p * scores).sum(axis=1) - own, weights=weight)


@pytest.mark.parametrize(("rows", "classes", "size"), [(7, 2, 1.0), (500, 10, 5.0), (33, 3, 1e4), (333, 10, 1e-4)])
def test_the_minimum_is_that_of_a_bracketing_search(predicted, rows, classes, size):
    p, y = predicted(rows, classes, sharpen=1.0, size=1.5)
    scores = size * np.log(p) + 3
    scaler = TemperatureScaler().fit(scores, y)
    root = brentq(lambda u: slope(scores, y, u), 1e-9 / size, 1e2 / size, xtol=1e-300, rtol=1e-14)
    assert scaler.temperature_ * root == pytest.approx(1, abs=1e-10)
    expected = -log_softmax(scores / scaler.temperature_, axis=1)[np.arange(rows), y].mean()
    assert scaler.cross_entropy_ == pytest.approx(expected, rel=1e-12)


def test_a_closed_form():
    # sure at 9 to 1, and right k times in n: the best probability is k/n, so T = ln 9 / ln(k/(n − k))
    scores = np.log([[0.9, 0.1]] * 11)
    for right in (6, 8, 10):
        target = np.array([0] * right + [1] * (11 - right))
        scaler = TemperatureScaler().fit(scores, target)
        assert scaler.temperature_ == pytest.approx(math.log(9) / math.log(right / (11 - right)), rel=1e-10)
        np.testing.assert_allclose(scaler.predict_proba(scores)[0], [right / 11, 1 - right / 11], rtol=1e-10)


def test_what_is_calibrated_stays_so_and_what_was_sharpened_is_undone(predicted):
    p, y = predicted(60_000, 5)
    assert TemperatureScaler().fit(np.log(p), y).temperature_ == pytest.approx(1, abs=0.02)
    sharp, y = predicted(60_000, 5, sharpen=3.0)
    scaler = TemperatureScaler().fit(np.log(np.maximum(sharp, 1e-300)), y)
    assert scaler.temperature_ == pytest.approx(3, abs=0.06)
    assert evaluate(scaler.predict_proba(np.log(np.maximum(sharp, 1e-300))), y).ece < 0.01


def test_scikit_learn_finds_the_same(predicted):
    calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")
    p, y = predicted(500, 4, sharpen=2.0)
    theirs = calibration._TemperatureScaling().fit(np.log(p), y)
    assert TemperatureScaler().fit(np.log(p), y).temperature_ == pytest.approx(1 / theirs.beta_, rel=1e-4)


def test_shifting_scores_changes_nothing_and_scaling_them_scales(predicted):
    p, y = predicted(80, 3)
    scores = np.log(p)
    first = TemperatureScaler().fit(scores, y).temperature_
    shifted = scores + np.random.default_rng(0).normal(size=(80, 1)) * 100
    assert TemperatureScaler().fit(shifted, y).temperature_ == pytest.approx(first, rel=1e-10)
    assert TemperatureScaler().fit(7 * scores, y).temperature_ == pytest.approx(7 * first, rel=1e-10)


def test_weights_repeat_rows(predicted):
    p, y = predicted(60, 3)
    times = np.random.default_rng(0).integers(0, 4, 60)
    weighted = TemperatureScaler().fit(np.log(p), y, sample_weight=times).temperature_
    repeated = TemperatureScaler().fit(np.repeat(np.log(p), times, axis=0), np.repeat(y, times)).temperature_
    assert weighted == pytest.approx(repeated, rel=1e-10)


def test_blocks_do_not_matter(predicted, monkeypatch):
    p, y = predicted(60, 3)
    whole = TemperatureScaler().fit(np.log(p), y).temperature_
    monkeypatch.setattr("crosshead.evaluation._checks.BLOCK_ELEMENTS", 21)
    assert TemperatureScaler().fit(np.log(p), y).temperature_ == pytest.approx(whole, rel=1e-12)


def test_no_temperature_is_best():
    scores = np.array([[2.0, 1.0], [0.0, 3.0]])
    with pytest.raises(ValueError, match="every row is right"):
        TemperatureScaler().fit(scores, [0, 1])
    with pytest.raises(ValueError, match="no better than chance"):
        TemperatureScaler().fit(scores, [1, 0])
    with pytest.raises(ValueError, match=r"no better than chance|every row is right"):
        TemperatureScaler().fit(np.zeros((3, 2)), [0, 1, 1])


def test_barely_beaten_by_one_row():
    # one wrong row among many: the sharpest finite answer, found from far away
    scores = np.array([[1000.0, 0.0]] * 999 + [[1e-3, 0.0]])
    target = np.array([0] * 999 + [1])
    scaler = TemperatureScaler().fit(scores, target)
    assert slope(scores, target, 1 / scaler.temperature_) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        ([[0.0, -np.inf]], [0], "the score in row 0, column 1 is -inf"),
        ([[0.0, 1.0]], [2], "outside 0..1"),
        ([[0.0, 1.0]], [0, 1], "shape"),
    ],
)
def test_what_cannot_be_fitted(scores, target, message):
    with pytest.raises(ValueError, match=message):
        TemperatureScaler().fit(scores, target)


def test_it_is_an_estimator(predicted):
    p, y = predicted(50, 3)
    scaler = clone(TemperatureScaler())
    with pytest.raises(ValueError, match="not fitted"):
        scaler.transform(p)
    np.testing.assert_allclose(scaler.fit_transform(np.log(p), y), np.log(p) / scaler.temperature_)
    with pytest.raises(ValueError, match="2 classes, but the temperature was fitted on 3"):
        scaler.predict_proba(p[:, :2])


def test_cross_fitting_judges_no_row_by_its_own_temperature(predicted):
    p, y = predicted(101, 3, sharpen=3.0)
    scores = np.log(p)
    found = cross_fit(scores, y, folds=4, seed=3)
    fold = fold_of_rows(y, 4, 3)
    scaled = np.empty_like(scores)
    for number in range(4):
        own = fold == number
        temperature = TemperatureScaler().fit(scores[~own], y[~own]).temperature_
        assert found.temperatures[number] == temperature
        scaled[own] = softmax(scores[own] / temperature, axis=1)
    assert found.after.cross_entropy == pytest.approx(log_loss(scaled, y), rel=1e-12)
    assert found.before.cross_entropy == pytest.approx(log_loss(p, y), rel=1e-12)
    on_its_own_rows = TemperatureScaler().fit(scores, y).cross_entropy_
    assert on_its_own_rows < found.after.cross_entropy < found.before.cross_entropy
    assert found.after.error == found.before.error


def test_folds_hold_every_class():
    target = np.array([0] * 7 + [1] * 5 + [2] * 3)
    fold = fold_of_rows(target, 3, seed=0)
    for label in range(3):
        assert np.ptp(np.bincount(fold[target == label], minlength=3)) <= 1
    with pytest.raises(ValueError, match="there are 15 rows"):
        cross_fit(np.zeros((15, 3)), target, folds=16)


@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e200, 1e300])
def test_the_temperature_follows_the_size_of_the_scores(factor: float) -> None:
    """Squares of such scores are none: Newton's steps must not need them."""
    generator = np.random.default_rng(3)
    target = np.arange(90) % 3
    scores = generator.normal(size=(90, 3)) + np.eye(3)[target]
    plain = TemperatureScaler().fit(scores, target)
    other = TemperatureScaler().fit(scores * factor, target)
    assert other.temperature_ == pytest.approx(plain.temperature_ * factor, rel=1e-12)
    assert other.cross_entropy_ == pytest.approx(plain.cross_entropy_, rel=1e-12)
