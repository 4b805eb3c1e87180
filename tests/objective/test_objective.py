"""The objective: value and gradient from their definitions, certificates at the edges, sampling for the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet

VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("softmax", {"label_smoothing": 0.1}),
    ("hinge", {"smoothing": 0.5}),
    ("crammer_singer", {"smoothing": 0.8}),
]


def problem(
    loss: Any,
    *,
    alpha: float = 0.1,
    l1_ratio: float = 0.0,
    fit_intercept: bool = True,
    weighted: bool = True,
    dtype: Any = np.float64,
    rows: int = 60,
    sparsely: bool = False,
) -> Objective:
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, 4)).astype(dtype) + 1
    y = random.integers(0, 3, rows).astype(np.int32)
    s = random.uniform(0, 3, size=rows) if weighted else None
    stored = sparse.csr_matrix(X) if sparsely else X
    engine = make_engine("auto", TrainingData(stored, y, 3, s))
    return Objective(engine, loss, ElasticNet(alpha, l1_ratio), fit_intercept=fit_intercept)


def point_for(objective: Objective, seed: int = 0) -> Any:
    point = np.random.default_rng(seed).normal(size=objective.size)
    if not objective.fit_intercept:
        objective.unpack(point)[1][:] = 0
    return point


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.6])
def test_gradient_matches_differences_of_the_surrogate(variant: Any, fit_intercept: bool, l1_ratio: float) -> None:
    name, parameters = variant
    objective = problem(get_loss(name, **parameters), l1_ratio=l1_ratio, fit_intercept=fit_intercept)
    point, step = point_for(objective), 1e-6
    gradient = objective.evaluate(point).gradient
    l1 = np.zeros(objective.size)
    l1[:12] = 0.1 * l1_ratio * np.sign(point[:12])  # which the gradient leaves out
    for k in range(objective.size if fit_intercept else 12):
        ahead, behind = point.copy(), point.copy()
        ahead[k] += step
        behind[k] -= step
        slope = (objective.evaluate(ahead).surrogate - objective.evaluate(behind).surrogate) / (2 * step)
        assert gradient[k] + l1[k] == pytest.approx(slope, abs=2e-7)
    if not fit_intercept:
        assert not gradient[12:].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_two_is_the_row_twice(name: str) -> None:
    random = np.random.default_rng(1)
    X, y = random.normal(size=(30, 4)), random.integers(0, 3, 30).astype(np.int32)
    counts = random.integers(0, 4, 30)
    counts[:3], y[:3] = 1, [0, 1, 2]
    weighted = TrainingData(X, y, 3, counts.astype(np.float64))
    again = np.repeat(np.arange(30), counts)
    repeated = TrainingData(X[again], y[again], 3)
    loss, penalty = get_loss(name), ElasticNet(0.05, 0.3)
    one, other = (Objective(make_engine("auto", data), loss, penalty) for data in (weighted, repeated))
    point = point_for(one)
    left, right = one.evaluate(point), other.evaluate(point)
    assert left.value == pytest.approx(right.value, rel=1e-13)
    assert left.bound == pytest.approx(right.bound, rel=1e-11)
    np.testing.assert_allclose(left.gradient, right.gradient, rtol=1e-11, atol=1e-14)
    assert one.floor == other.floor


@pytest.mark.parametrize("name", LOSSES)
def test_the_size_of_the_weights_does_not_matter(name: str) -> None:
    one = problem(get_loss(name))
    data = one.engine.data
    scaled = TrainingData(data.features, data.target, 3, 1e6 * data.weights)
    other = Objective(make_engine("auto", scaled), one.loss, one.penalty)
    point = point_for(one)
    left, right = one.evaluate(point), other.evaluate(point)
    assert left.value == pytest.approx(right.value, rel=1e-12)
    assert left.bound == pytest.approx(right.bound, rel=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_alpha_zero_has_no_bound(name: str) -> None:
    objective = problem(get_loss(name), alpha=0.0)
    evaluation = objective.evaluate(point_for(objective))
    assert not objective.has_certificate
    assert evaluation.bound == evaluation.surrogate_bound == -np.inf
    assert np.isfinite(evaluation.value)


@pytest.mark.parametrize("name", LOSSES)
def test_single_precision_is_marked_as_such(name: str) -> None:
    single, double = problem(get_loss(name), dtype=np.float32), problem(get_loss(name))
    point = point_for(single)
    assert single.inexact_passes
    assert not double.inexact_passes
    assert not single.evaluate(point, exact=False).exact
    assert single.evaluate(point, exact=True).exact
    assert double.evaluate(point, exact=False).exact
    assert single.evaluate(point, exact=False).value == pytest.approx(single.evaluate(point).value, rel=1e-5)


@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_smoothed_relatives_certify_the_loss_itself(name: str) -> None:
    objective = problem(get_loss(name))
    point = point_for(objective)
    sharp = objective.evaluate(point)
    assert not objective.smooth
    for width in (1.0, 0.01):
        smoothed = objective.smoothed(width)
        evaluation = smoothed.evaluate(point)
        assert smoothed.smooth
        assert evaluation.value == pytest.approx(sharp.value, rel=1e-13)
        wrong = 2 if name == "hinge" else 1  # the smoothing hides at most μ/2 for each
        assert sharp.value - wrong * width / 2 <= evaluation.surrogate <= sharp.value + 1e-14
        assert smoothed.moments is objective.moments  # shared: no second pass


def test_moving_the_bias_brings_the_residuals_towards_balance() -> None:
    objective = problem(get_loss("softmax"))
    evaluation = objective.evaluate(0.2 * point_for(objective))
    moved = evaluation
    for _ in range(8):
        moved = objective.evaluate(objective.move_bias(moved))
    before, after = (np.abs(objective.unpack(e.gradient)[1]).max() for e in (evaluation, moved))
    assert after < 1e-3 * before
    np.testing.assert_array_equal(moved.point[:12], evaluation.point[:12])


def test_the_infimum_of_the_loss_is_the_floor() -> None:
    assert problem(get_loss("softmax")).floor == 0
    e, classes = 0.1, 3
    keep, rest = 1 - e + e / classes, e / classes
    entropy = -keep * np.log(keep) - 2 * rest * np.log(rest)
    smoothed = problem(get_loss("softmax", label_smoothing=e))
    assert smoothed.floor == pytest.approx(entropy, rel=1e-13)
    assert problem(get_loss("softmax", label_smoothing=e), alpha=1e9).evaluate(np.zeros(15)).bound <= np.log(3)


def test_probabilities_are_refused_where_they_mean_nothing() -> None:
    rows = np.full((4, 3), 1 / 3)
    engine = make_engine("auto", TrainingData(np.ones((4, 2)), rows, 3))
    for name in LOSSES:
        if get_loss(name).accepts_probabilities:
            Objective(engine, get_loss(name), ElasticNet(1.0))
        else:
            with pytest.raises(ValueError, match=f"the loss '{name}' needs class labels"):
                Objective(engine, get_loss(name), ElasticNet(1.0))


def test_packing_is_the_inverse_of_unpacking() -> None:
    objective = problem(get_loss("softmax"))
    point = point_for(objective)
    W, b = objective.unpack(point)
    assert W.shape == (3, 4)
    assert np.shares_memory(W, point)
    np.testing.assert_array_equal(objective.pack(W, b), point)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_point_that_is_no_number_is_never_a_better_one(variant: Any, broken: float, alpha: float) -> None:
    """Comparisons within a hinge took NaN for a margin that is met: a loss of zero."""
    name, parameters = variant
    objective = problem(get_loss(name, **parameters), alpha=alpha)
    for place in (0, objective.size - 1):
        point = point_for(objective)
        point[place] = broken
        with np.errstate(invalid="ignore"):
            evaluation = objective.evaluate(point)
        assert not evaluation.value < np.inf
        assert not evaluation.surrogate < np.inf
        assert not evaluation.bound > objective.evaluate(point_for(objective)).value


def test_another_penalty_has_a_program_of_its_own() -> None:
    """Whatever was computed before: only what the data alone decide is shared."""
    objective = problem(get_loss("hinge"), l1_ratio=0.5)
    assert objective.dual.program.l1_weight == 0.05
    assert objective.moments is not None
    other = objective.with_penalty(ElasticNet(7.0, 1.0))
    assert (other.dual.program.l1_weight, other.dual.program.l2_weight) == (7.0, 0.0)
    assert other.moments is objective.moments
    assert (objective.dual.program.l1_weight, objective.dual.program.l2_weight) == (0.05, 0.05)
