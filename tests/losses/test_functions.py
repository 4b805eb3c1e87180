from __future__ import annotations

from math import e, inf, log
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.metrics import brier_score_loss, log_loss

from crosshead.losses import functions as f

RANDOM = np.random.default_rng(3)
SCORES = RANDOM.normal(scale=2, size=(30, 4))
TARGET = np.concatenate([np.arange(4), RANDOM.integers(0, 4, size=26)])
P, Q = RANDOM.dirichlet(np.ones(4), size=30), RANDOM.dirichlet(np.ones(4), size=30)


def test_softmax_and_its_logarithm_are_scipys() -> None:
    cube = RANDOM.normal(size=(2, 3, 4))
    for axis in (0, 1, -1):
        np.testing.assert_allclose(f.softmax(cube, axis=axis), scipy.special.softmax(cube, axis=axis))
        np.testing.assert_allclose(f.log_softmax(cube, axis=axis), scipy.special.log_softmax(cube, axis=axis))
    assert f.softmax(np.float32([1, 2])).dtype == np.float32
    assert f.log_softmax([1, 2]).dtype == np.float64


def test_teaching_numbers() -> None:
    np.testing.assert_allclose(f.softmax([1, 2, 3]), [0.0900, 0.2447, 0.6652], atol=5e-5)
    assert f.entropy([63 / 64, 1 / 64], base=2) == pytest.approx(0.1161, abs=5e-5)
    truth = [1.0, 0.0, 0.0]
    assert f.cross_entropy_of(truth, [0.5, 0.2, 0.3]) == pytest.approx(0.6931, abs=5e-5)
    assert f.cross_entropy_of(truth, [0.8, 0.1, 0.1]) == pytest.approx(0.2231, abs=5e-5)
    assert f.kl_divergence(truth, [0.8, 0.1, 0.1]) == pytest.approx(0.2231, abs=5e-5)
    with pytest.raises(ValueError, match=r"must sum to 1, but row 0 sums to 2\.0"):
        f.entropy([0.2, 0.3, 0.4, 0.6, 0.5])


def test_cross_entropy_is_scikit_learns_log_loss() -> None:
    expected = log_loss(TARGET, scipy.special.softmax(SCORES, axis=1))
    assert f.cross_entropy(SCORES, TARGET) == pytest.approx(expected, rel=1e-12)
    assert f.cross_entropy(SCORES, np.eye(4)[TARGET]) == pytest.approx(expected, rel=1e-12)
    assert f.nll(f.log_softmax(SCORES), TARGET) == pytest.approx(expected, rel=1e-12)
    assert f.cross_entropy_of(np.eye(4)[TARGET], f.softmax(SCORES)) == pytest.approx(expected, rel=1e-12)


def test_label_smoothing_moves_to_the_uniform_target() -> None:
    uniform = f.cross_entropy(SCORES, np.full((30, 4), 0.25))
    half = f.cross_entropy(SCORES, TARGET, label_smoothing=0.5)
    assert half == pytest.approx((f.cross_entropy(SCORES, TARGET) + uniform) / 2, rel=1e-12)
    assert f.cross_entropy(SCORES, TARGET, label_smoothing=1.0) == pytest.approx(uniform, rel=1e-12)


@pytest.mark.parametrize("base", [e, 2, 10, 3.5])
def test_entropies_are_scipys_in_every_base(base: float) -> None:
    each = {"base": base, "reduction": "none"}
    np.testing.assert_allclose(f.entropy(P, **each), scipy.stats.entropy(P, base=base, axis=1))
    np.testing.assert_allclose(f.kl_divergence(P, Q, **each), scipy.stats.entropy(P, Q, base=base, axis=1))
    np.testing.assert_allclose(f.cross_entropy_of(P, Q, **each), f.entropy(P, **each) + f.kl_divergence(P, Q, **each))
    assert f.cross_entropy(SCORES, TARGET, base=base) == pytest.approx(f.cross_entropy(SCORES, TARGET) / log(base))


def test_limits_of_the_logarithm() -> None:
    assert f.cross_entropy_of([1.0, 0.0], [0.0, 1.0]) == inf
    assert f.kl_divergence([0.5, 0.5], [1.0, 0.0]) == inf
    assert f.kl_divergence([1.0, 0.0], [1.0, 0.0]) == 0
    assert f.binary_cross_entropy([[0.0], [1.0]], [[1], [1]], reduction="none").tolist() == [inf, 0]
    assert f.nll([0.0, -inf], 0) == 0
    assert f.nll([0.0, -inf], 1) == inf
    assert f.cross_entropy([0.0, 1e4], 0) == 1e4


def test_binary_cross_entropy_sums_the_answers_of_a_sample() -> None:
    p, y = RANDOM.uniform(size=(20, 3)), RANDOM.integers(0, 2, size=(20, 3))
    expected = sum(log_loss(y[:, c], p[:, c]) for c in range(3))
    assert f.binary_cross_entropy(p, y) == pytest.approx(expected, rel=1e-12)
    assert f.binary_cross_entropy(p[0], y[0]) == f.binary_cross_entropy(p[:1], y[:1])


def test_mean_squared_error_is_the_brier_score() -> None:
    expected = sum(brier_score_loss(rows, P[:, c]) for c, rows in enumerate(np.eye(4)[TARGET].T))
    assert f.mean_squared_error(P, TARGET) == pytest.approx(expected, rel=1e-12)
    assert f.mean_squared_error([0.0, 1.0], 0) == 2  # the worst there is


def test_classification_error_counts_rows_whose_best_is_not_the_target() -> None:
    scores = [[3.0, 1.0], [0.2, 0.1], [0.0, 5.0], [1.0, 1.0]]
    assert f.classification_error(scores, [0, 1, 1, 0]) == 0.25
    assert f.classification_error(scores, [0, 1, 1, 0], reduction="none").tolist() == [0, 1, 0, 0]
    assert f.classification_error([0.1, 0.9], 1) == 0


@pytest.mark.parametrize("target", [2, [2], [0, 0, 1, 0], [[0.0, 0.0, 1.0, 0.0]], np.int64(2)])
def test_one_dimension_is_one_sample(target: Any) -> None:
    assert f.cross_entropy(SCORES[0], target) == f.cross_entropy(SCORES[:1], [2])


def test_reductions() -> None:
    losses = f.cross_entropy(SCORES, TARGET, reduction="none")
    assert losses.shape == (30,)
    assert f.cross_entropy(SCORES, TARGET, reduction="sum") == pytest.approx(losses.sum())
    assert f.cross_entropy(SCORES, TARGET) == pytest.approx(losses.mean())
    assert f.cross_entropy(np.zeros((0, 3)), [], reduction="sum") == 0
    with pytest.raises(ValueError, match="no samples to average"):
        f.cross_entropy(np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match="reduction must be"):
        f.cross_entropy(SCORES, TARGET, reduction="avg")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.5], [0.7, 0.7]], "row 1 sums to 1.4"),
        ([1.2, -0.2], "row 0 contains -0.2"),
        ([[0.5, np.nan]], "NaN in row 0"),
        ([0.5, 0.5 + 3e-6], "sums to 1.000003"),
        (np.float32([0.5, 0.501]), "sums to 1.001"),
        ([[[0.5, 0.5]]], "must have shape"),
    ],
)
def test_vectors_that_are_no_distribution_are_refused(probabilities: Any, message: str) -> None:
    for function in (f.entropy, lambda p: f.mean_squared_error(p, 0), lambda p: f.cross_entropy_of(p, p)):
        with pytest.raises(ValueError, match=message):
            function(probabilities)


def test_rounded_probabilities_are_accepted() -> None:
    assert f.entropy([1 / 3, 1 / 3, 1 / 3 + 5e-7]) == pytest.approx(log(3), abs=1e-6)
    assert f.entropy(np.full(1000, 1e-3, dtype=np.float32)) == pytest.approx(log(1000), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: f.nll(SCORES, TARGET), r"exp\(log-probabilities\) must sum to 1"),
        (lambda: f.cross_entropy([np.nan, 0.0], 0), "NaN in row 0"),
        (lambda: f.softmax([np.nan, 0.0]), "NaN"),
        (lambda: f.softmax(3.0), "at least one dimension"),
        (lambda: f.cross_entropy(SCORES, TARGET + 1), r"target 4 in row \d+ is outside 0\.\.3"),
        (lambda: f.cross_entropy(SCORES, TARGET[:5]), "class indices of shape"),
        (lambda: f.cross_entropy(SCORES, P[:, :3] / P[:, :3].sum(axis=1, keepdims=True)), "must have shape"),
        (lambda: f.cross_entropy([0.0, 1.0], [0.2, 0.2]), "target probabilities must sum to 1"),
        (lambda: f.cross_entropy([0.0, 1.0], 0, label_smoothing=2.0), "label_smoothing"),
        (lambda: f.entropy(P, base=1), "base of the logarithm"),
        (lambda: f.entropy(P, base=np.inf), "base of the logarithm"),
        (lambda: f.kl_divergence(P, Q[:5]), "same shape"),
        (lambda: f.binary_cross_entropy([1.5], [1]), "row 0 contains 1.5"),
        (lambda: f.binary_cross_entropy([0.5, 0.5], [1]), "same shape"),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
