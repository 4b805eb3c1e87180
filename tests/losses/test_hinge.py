from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import hinge_loss

from crosshead.losses import CrammerSinger, Hinge, SquaredHinge

# Three pictures (cat, car, frog) scored by a classifier under training, margin 1.
SCORES = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
TARGET = np.array([0, 1, 2])
RANDOM = np.random.default_rng(2)


def test_teaching_numbers() -> None:
    value = Hinge().value(SCORES, TARGET)
    np.testing.assert_allclose(value, [2.9, 0, 12.9], atol=1e-12)
    assert value.mean() == pytest.approx(5.2667, abs=5e-5)
    np.testing.assert_allclose(SquaredHinge().value(SCORES, TARGET), [2.9**2, 0, 6.3**2 + 6.6**2], atol=1e-12)
    np.testing.assert_allclose(CrammerSinger().value(SCORES, TARGET), [2.9, 0, 6.6], atol=1e-12)


def test_teaching_gradient() -> None:
    _, gradient = Hinge().value_and_gradient(SCORES, TARGET)
    np.testing.assert_array_equal(gradient, [[-1, 1, 0], [0, 0, 0], [1, 1, -2]])
    _, gradient = CrammerSinger().value_and_gradient(SCORES, TARGET)
    np.testing.assert_array_equal(gradient, [[-1, 1, 0], [0, 0, 0], [0, 1, -1]])
    _, gradient = SquaredHinge().value_and_gradient(SCORES, TARGET)
    np.testing.assert_allclose(gradient[2], [12.6, 13.2, -25.8])


def test_equal_scores_cost_one_margin_for_each_wrong_class() -> None:
    scores = np.full((1, 10), 0.3)
    assert Hinge().value(scores, [4]) == pytest.approx(9)
    assert Hinge(margin=2.0).value(scores, [4]) == pytest.approx(18)
    assert CrammerSinger().value(scores, [4]) == pytest.approx(1)


def test_crammer_singer_is_scikit_learns_hinge_loss() -> None:
    scores, target = RANDOM.normal(size=(40, 4)), RANDOM.integers(0, 4, size=40)
    expected = hinge_loss(target, scores, labels=range(4))
    assert CrammerSinger().value(scores, target).mean() == pytest.approx(expected, rel=1e-12)


def test_two_classes_make_the_binary_hinge() -> None:
    scores, target = RANDOM.normal(size=(40, 2)), RANDOM.integers(0, 2, size=40)
    expected = hinge_loss(target, scores[:, 1] - scores[:, 0], labels=[0, 1])
    for loss in (Hinge(), CrammerSinger()):
        assert loss.value(scores, target).mean() == pytest.approx(expected, rel=1e-12)


def test_smoothed_hinge_in_its_three_pieces() -> None:
    violation = np.array([-0.5, 0.1, 2.0])
    scores = np.column_stack([np.zeros(3), violation - 1])  # class 0, margin 1
    value, gradient = Hinge(smoothing=0.4).value_and_gradient(scores, [0, 0, 0])
    np.testing.assert_allclose(value, [0, 0.01 / 0.8, 2 - 0.2], atol=1e-15)
    np.testing.assert_allclose(gradient[:, 1], [0, 0.25, 1])
    np.testing.assert_allclose(gradient[:, 0], [0, -0.25, -1])


@pytest.mark.parametrize("smoothing", [0.05, 0.5, 3.0])
def test_crammer_singer_projection_against_a_general_optimiser(smoothing: float) -> None:
    scores = RANDOM.normal(size=(6, 5))
    value, gradient = CrammerSinger(smoothing=smoothing).value_and_gradient(scores, np.zeros(6, dtype=int))
    for i in range(6):
        m = scores[i, 1:] - scores[i, 0] + 1
        best = minimize(
            lambda r, m=m: smoothing / 2 * r @ r - r @ m,
            np.full(4, 0.2),
            jac=lambda r, m=m: smoothing * r - m,
            bounds=[(0, 1)] * 4,
            constraints={"type": "ineq", "fun": lambda r: 1 - r.sum(), "jac": lambda r: -np.ones(4)},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert value[i] == pytest.approx(-best.fun, abs=1e-9)
        np.testing.assert_allclose(gradient[i, 1:], best.x, atol=1e-5)


def test_ties_share_the_smoothed_crammer_singer_residual() -> None:
    _, gradient = CrammerSinger(smoothing=0.1).value_and_gradient(np.array([[0.0, 5, 5, -9]]), [0])
    np.testing.assert_allclose(gradient, [[-1, 0.5, 0.5, 0]], atol=1e-15)


def test_vanishing_smoothing_gives_the_hinge_even_in_single_precision() -> None:
    scores = np.array([[0, 1e4, -1e4, 3]], dtype=np.float32)
    for loss in (Hinge(), CrammerSinger()):
        expected, direction = loss.value_and_gradient(scores, [0])
        value, gradient = loss.smoothed(1e-30).value_and_gradient(scores, [0])
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(gradient, direction)


def test_conjugate_domains() -> None:
    target = [0]
    inside = np.array([[-1.5, 1.0, 0.5]])
    assert Hinge(margin=2.0).conjugate(inside, target) == pytest.approx(-3)
    assert SquaredHinge().conjugate(inside, target) == pytest.approx(0.25 - 1 + 0.0625 - 0.5)
    assert np.isposinf(CrammerSinger().conjugate(inside, target))  # its residuals sum to at most one
    assert CrammerSinger(margin=2.0).conjugate(inside / 1.5, target) == pytest.approx(-2)
    for outside in ([[-1.1, 1.1, 0]], [[0.1, -0.1, 0]], [[-0.4, 0.5, 0]]):
        for loss in (Hinge(), CrammerSinger()):
            assert np.isposinf(loss.conjugate(np.array(outside), target))
    assert np.isfinite(SquaredHinge().conjugate(np.array([[-1.1, 1.1, 0]]), target))


def test_largest_curvature_of_the_squared_hinge_is_twice_the_number_of_classes() -> None:
    curvature = SquaredHinge().curvature(np.zeros((1, 6)), np.array([0]), np.ones(1))
    assert np.linalg.eigvalsh(curvature.classes).max() == pytest.approx(12)


@pytest.mark.parametrize("margin", [0.0, -1.0, np.inf, np.nan])
def test_margins_that_are_not_positive_are_refused(margin: float) -> None:
    for hinge in (Hinge, SquaredHinge, CrammerSinger):
        with pytest.raises(ValueError, match="margin must be positive"):
            hinge(margin=margin)


@pytest.mark.parametrize("smoothing", [-0.1, np.inf, np.nan, 1e-60])
def test_unusable_smoothings_are_refused(smoothing: float) -> None:
    for hinge in (Hinge, CrammerSinger):
        with pytest.raises(ValueError, match="smoothing must be"):
            hinge(smoothing=smoothing)
