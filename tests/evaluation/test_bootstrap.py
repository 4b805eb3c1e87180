from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from crosshead.evaluation import bootstrap as module
from crosshead.evaluation import bootstrap_mean, evaluate


def test_limits_are_those_of_scipy():
    values = np.random.default_rng(0).exponential(size=211)
    mine = bootstrap_mean(values, resamples=4000)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert mine.estimate == pytest.approx(values.mean())
    assert mine.lower == pytest.approx(theirs.low, abs=0.06 * width)
    assert mine.upper == pytest.approx(theirs.high, abs=0.06 * width)


def test_replicates_have_the_variance_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_mean(values, resamples=4000, level=0.6827)
    deviation = values.std() / math.sqrt(400)
    assert (interval.upper - interval.lower) / 2 == pytest.approx(deviation, rel=0.06)


def test_coverage():
    generator = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        wrong = generator.random(150) < 0.2
        interval = bootstrap_mean(wrong, resamples=200, level=0.9, seed=trial)
        covered += interval.lower <= 0.2 <= interval.upper
    assert 0.84 < covered / 300 < 0.95  # a binomial deviation of 1.7 % around 0.9, which it falls a little short of


@pytest.mark.parametrize("count", [60, 5000])
def test_blocks_do_not_matter(count, monkeypatch):
    monkeypatch.setattr(module, "GROUPS", 1024)
    generator = np.random.default_rng(0)
    values, weights = generator.normal(size=count), generator.random(count)
    options = {"sample_weight": weights, "resamples": 40}
    whole = bootstrap_mean(values, **options)
    for block_rows in (1, 7, 59, 4096):
        if count // block_rows < 3000:
            cut = bootstrap_mean(values, block_rows=block_rows, **options)
            assert (cut.lower, cut.upper) == (whole.lower, whole.upper)


def test_the_group_of_a_row_does_not_depend_on_where_a_block_begins():
    sums = module.GroupSums(10 * module.GROUPS, 1, seed=3)
    whole = sums.groups(0, 50)
    for first in range(9):
        np.testing.assert_array_equal(sums.groups(first, 50 - first), whole[first:])
    assert whole.max() < module.GROUPS
    assert len(set(whole.tolist())) > 45
    assert not np.array_equal(module.GroupSums(10 * module.GROUPS, 1, seed=4).groups(0, 50), whole)


def test_groups_of_rows_give_the_same_width(monkeypatch):
    # sorted on purpose: groups of every n-th row would leave out what differs between the two halves
    values = np.repeat([0.0, 1.0], 10_000)
    rows = bootstrap_mean(values, resamples=2000)
    monkeypatch.setattr(module, "GROUPS", 2048)
    groups = bootstrap_mean(values, resamples=2000)
    assert groups.upper - groups.lower == pytest.approx(rows.upper - rows.lower, rel=0.08)
    assert groups.estimate == rows.estimate == 0.5


def test_seeds():
    values = np.random.default_rng(0).normal(size=50)
    one, again, other = (bootstrap_mean(values, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_intervals_of_an_evaluation(predicted):
    p, y = predicted(300, 4)
    found = evaluate(p, y, level=0.9, resamples=400, seed=5)
    hit = p.argmax(axis=1) == y
    assert found.intervals["error"] == bootstrap_mean(~hit, level=0.9, resamples=400, seed=5)
    nll = -np.log(p[np.arange(300), y])
    alone = bootstrap_mean(nll, level=0.9, resamples=400, seed=5)
    assert found.intervals["cross_entropy"].lower == pytest.approx(alone.lower, rel=1e-12)
    assert found.intervals["cross_entropy"].upper == pytest.approx(alone.upper, rel=1e-12)
    for name, interval in found.intervals.items():
        assert interval.lower <= getattr(found, name) <= interval.upper
        assert interval.level == 0.9
    assert found.intervals["ece"].lower >= 0


def test_replicates_of_the_calibration_error_are_those_of_drawn_rows(predicted):
    p, y = predicted(60, 3)
    found = evaluate(p, y, level=0.9, resamples=7, seed=2)
    for number in range(7):
        generator = np.random.Generator(np.random.Philox(key=[2, module.DRAWING], counter=[0, 0, 0, number]))
        rows = generator.integers(0, 60, size=60)
        drawn = evaluate(p[rows], y[rows])
        for name in ("error", "cross_entropy", "brier", "ece"):
            assert found.replicates[name][number] == pytest.approx(getattr(drawn, name), rel=1e-10), name


def test_the_interval_of_a_calibration_error_reaches_the_truth(predicted):
    covered = 0
    for seed in range(60):
        p, y = predicted(400, 3, seed=seed)  # calibrated: the true error is 0, any estimate is above it
        interval = evaluate(p, y, level=0.95, resamples=100).intervals["ece"]
        covered += interval.lower == 0.0
    assert covered >= 54


def test_the_interval_of_a_real_calibration_error_leaves_zero_out(predicted):
    p, y = predicted(400, 3, sharpen=3.0)
    truth = evaluate(*predicted(200_000, 3, seed=1, sharpen=3.0)).ece
    interval = evaluate(p, y, level=0.95, resamples=200).intervals["ece"]
    assert 0.05 < interval.lower < truth < interval.upper


def test_no_mistake_is_no_proof_of_none():
    found = evaluate([[0.9, 0.1]] * 20, [0] * 20, level=0.95)
    assert found.intervals["error"].lower == 0.0
    assert found.intervals["error"].upper == pytest.approx(1 - 0.025 ** (1 / 20))  # Clopper and Pearson
    none_right = evaluate([[0.9, 0.1]] * 20, [1] * 20, level=0.95)
    assert none_right.intervals["error"].lower == pytest.approx(0.025 ** (1 / 20))


def test_rare_weight_is_survived():
    interval = bootstrap_mean([1.0, 2.0, 3.0], sample_weight=[0, 0, 1], resamples=50)
    assert (interval.lower, interval.upper) == (3.0, 3.0)  # resamples without the one row with weight do not count


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one row"),
        ([[1.0]], {}, "one number per row"),
        ([1.0, np.nan], {}, "the value of row 1 is NaN"),
        ([1.0], {"sample_weight": [1, 2]}, "as many weights"),
        ([1.0], {"sample_weight": [0]}, "sum to zero"),
        ([1.0], {"level": 1.0}, "between 0 and 1"),
        ([1.0], {"resamples": 0}, "positive"),
    ],
)
def test_what_cannot_be_resampled(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_mean(values, **options)
