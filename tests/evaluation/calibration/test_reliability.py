from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from crosshead.evaluation import calibration_error, evaluate, reliability
from crosshead.evaluation.calibration import reliability as module


def two(confidence, hit):
    """Rows of two classes with these confidences in class 0; the target is 0 where it was hit."""
    confidence = np.asarray(confidence, dtype=float)
    return np.stack([confidence, 1 - confidence], axis=1), np.where(hit, 0, 1)


def test_a_case_by_hand():
    # (0.5, 0.75]: 0.6 and 0.7, one right; (0.75, 1]: 0.8, 0.9, 1.0, two right
    p, y = two([0.6, 0.7, 0.8, 0.9, 1.0], [True, False, True, False, True])
    table = reliability(p, y, bins=4)
    assert table.count.tolist() == [0, 0, 2, 3]
    np.testing.assert_allclose(table.confidence[2:], [0.65, 0.9])
    np.testing.assert_allclose(table.accuracy[2:], [0.5, 2 / 3])
    assert np.isnan(table.confidence[:2]).all()
    assert table.ece == pytest.approx(2 / 5 * 0.15 + 3 / 5 * (0.9 - 2 / 3))
    assert table.mce == pytest.approx(0.9 - 2 / 3)


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_certainty_has_a_bin_and_only_one(bins):
    p, y = two([1.0, 1.0, 1.0], [True, True, False])
    table = reliability(p, y, bins=bins)
    assert len(table.count) == len(table.lower) == bins
    assert table.count.tolist() == [0] * (bins - 1) + [3]
    assert table.ece == pytest.approx(1 / 3)


def test_edges_belong_to_the_bin_below():
    values = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    p, y = two(values, [True] * 6)
    table = reliability(p, y, bins=10)
    assert table.count.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    p, y = two([0.93, 0.57, 0.58], [True] * 3)  # 0.57·100 and 0.58·100 round to either side of 57 and 58
    assert np.flatnonzero(reliability(p, y, bins=100).count).tolist() == [56, 57, 92]


def test_bins_of_a_class_are_those_of_scikit_learn(predicted):
    p, y = predicted(500, 2)
    found = evaluate(p, y, bins=12)
    for label in (0, 1):
        frequency, mean = calibration_curve(y == label, p[:, label], n_bins=12)
        index = np.searchsorted(np.linspace(0, 1, 13)[1:-1], p[:, label])
        share = np.bincount(index, minlength=12)
        share = share[share > 0] / len(y)
        assert found.classwise.ece[label] == pytest.approx(share @ np.abs(frequency - mean), rel=1e-12)
    assert found.classwise.mean == pytest.approx(found.classwise.ece.mean())


def test_the_table_is_that_of_scikit_learn(predicted):
    p, y = predicted(500, 4)
    hit = p.argmax(axis=1) == y
    table = reliability(p, y, bins=10)
    accuracy, confidence = calibration_curve(hit, p.max(axis=1), n_bins=10)
    used = table.count > 0
    np.testing.assert_allclose(table.accuracy[used], accuracy)
    np.testing.assert_allclose(table.confidence[used], confidence)


def test_equal_mass(predicted):
    p, y = predicted(600, 5)
    table = reliability(p, y, bins=12, strategy="quantile")
    assert table.count.tolist() == [50] * 12
    order = np.argsort(p.max(axis=1), kind="stable")
    confidence, hit = p.max(axis=1)[order].reshape(12, 50), (p.argmax(axis=1) == y)[order].reshape(12, 50)
    np.testing.assert_allclose(table.confidence, confidence.mean(axis=1))
    np.testing.assert_allclose(table.accuracy, hit.mean(axis=1))
    np.testing.assert_array_equal(table.lower, confidence.min(axis=1))
    np.testing.assert_array_equal(table.upper, confidence.max(axis=1))
    expected = np.abs(confidence.mean(axis=1) - hit.mean(axis=1)).mean()
    assert calibration_error(p, y, bins=12, strategy="quantile") == pytest.approx(expected)


def test_equal_confidences_are_never_parted():
    p, y = two([0.6] * 2 + [1.0] * 8, [True] * 10)
    table = reliability(p, y, bins=5, strategy="quantile")
    assert table.count.tolist() == [2, 8]
    assert reliability(p, y, bins=3, strategy="quantile").count.sum() == 10
    order = np.random.default_rng(0).permutation(10)
    again = reliability(p[order], y[order], bins=5, strategy="quantile")
    assert again.count.tolist() == [2, 8]


def test_many_rows_are_kept_in_cells(predicted, monkeypatch):
    p, y = predicted(3000, 3, size=4.0)
    exact = evaluate(p, y).reliability_equal_mass
    monkeypatch.setattr(module, "EXACT_ROWS", 500)
    for block_rows in (200, 3000):
        cells = evaluate(p, y, block_rows=block_rows).reliability_equal_mass
        assert cells.count.sum() == 3000
        assert np.abs(cells.count - 200).max() <= 40  # a cell of like confidences is not parted
        assert cells.ece == pytest.approx(exact.ece, abs=2e-3)
        assert (np.diff(cells.confidence) > 0).all()
    certain, target = two([1.0] * 600 + [0.75] * 600, [True] * 1200)
    assert reliability(certain, target, bins=2, strategy="quantile").confidence.tolist() == [0.75, 1.0]


def test_what_is_calibrated_has_little_error(predicted):
    p, y = predicted(100_000, 4)
    assert calibration_error(p, y) < 0.005
    p, y = predicted(100_000, 4, sharpen=2.0)
    assert calibration_error(p, y) > 0.1
    assert evaluate(p, y).reliability.gap[-1] < 0  # too sure of itself


def test_an_unknown_strategy():
    with pytest.raises(ValueError, match="'uniform' or 'quantile', not 'even'"):
        reliability([[1.0]], [0], strategy="even")


def test_noise_is_what_calibrated_predictions_show(predicted):
    tables = [reliability(*predicted(400, 3, seed=seed)) for seed in range(200)]
    shown = np.mean([table.ece for table in tables])
    assert np.mean([table.ece_of_noise for table in tables]) == pytest.approx(shown, rel=0.05)
    below = np.mean([table.ece <= table.ece_by_chance(0.9, 500, 0) for table in tables])
    assert 0.84 < below < 0.96


def test_noise_by_hand():
    p, y = two([0.9] * 4, [True] * 4)
    table = reliability(p, y, bins=2)
    assert table.noise[1] == pytest.approx(np.sqrt(0.9 * 0.1 / 4))
    assert np.isnan(table.noise[0])
    weighted = reliability(p, y, bins=2, sample_weight=[3, 1, 1, 1])
    assert weighted.noise[1] == pytest.approx(np.sqrt(12 * 0.09) / 6)
