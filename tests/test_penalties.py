from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar

from crosshead.penalties import ElasticNet, l1, l2

PENALTIES = [ElasticNet(0.7, ratio) for ratio in (0.0, 0.4, 1.0)] + [ElasticNet(0.0), ElasticNet(3.0, 0.9)]
every = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


def weights(seed: int, scale: float = 1.0) -> Any:
    W = np.random.default_rng(seed).normal(scale=scale, size=(3, 4))
    W[0, :2] = 0
    return W


def test_value_by_hand() -> None:
    W = np.array([[3.0, -4.0]])
    assert l1(2.0).value(W) == 14
    assert l2(2.0).value(W) == 25
    assert ElasticNet(2.0, 0.5).value(W) == pytest.approx(7 + 12.5)
    assert ElasticNet(2.0, 0.5).smooth_value(W) == 12.5


@every
def test_gradient_of_the_smooth_part(penalty: ElasticNet) -> None:
    W, D = weights(1), weights(2)
    slope = (penalty.smooth_value(W + 1e-5 * D) - penalty.smooth_value(W - 1e-5 * D)) / 2e-5
    assert np.vdot(penalty.gradient(W), D) == pytest.approx(slope, abs=1e-8)


@every
@pytest.mark.parametrize("step", [0.3, np.array([[0.1], [1.0], [5.0]])], ids=["number", "array"])
def test_prox_minimises_what_defines_it(penalty: ElasticNet, step: Any) -> None:
    W = weights(3, scale=2.0)
    found = penalty.prox(W, step)
    steps = np.broadcast_to(step, W.shape)
    for index in np.ndindex(W.shape):

        def cost(v: float, index: Any = index) -> float:
            return float(steps[index] * penalty.value(np.array([v])) + (v - W[index]) ** 2 / 2)

        best = minimize_scalar(cost, bounds=(-10, 10), method="bounded", options={"xatol": 1e-10})
        assert cost(found[index]) <= best.fun + 1e-12
        assert found[index] == pytest.approx(best.x, abs=1e-5)


@every
def test_prox_splits_into_the_l1_threshold_and_a_shrinkage(penalty: ElasticNet) -> None:
    W = weights(4)
    thresholded = penalty.prox_l1(W, 0.5)
    cut = 0.5 * penalty.alpha * penalty.l1_ratio
    assert ((thresholded == 0) == (np.abs(W) <= cut)).all()
    np.testing.assert_allclose(np.abs(W - thresholded)[thresholded != 0], cut, atol=1e-15)
    assert thresholded is not W


@every
def test_distance_vanishes_exactly_at_a_prox(penalty: ElasticNet) -> None:
    W = weights(5, scale=2.0)
    V = penalty.prox(W, 0.5)  # −(V − W)/0.5 is a subgradient of R at V
    assert penalty.subdifferential_distance(V, (V - W) / 0.5) == pytest.approx(0, abs=1e-12)


def test_distance_by_hand() -> None:
    # ∂R = {½·1 + ½·2} at 2, [−½, ½] at 0: −G = 4.5 and 3.5 are 3 and 3 away, −G = 0.5 none.
    W, G = np.array([2.0, 0.0, 0.0]), np.array([-4.5, -3.5, -0.5])
    assert ElasticNet(1.0, 0.5).subdifferential_distance(W, G) == pytest.approx(np.sqrt(18))


@every
def test_conjugate_is_the_supremum(penalty: ElasticNet) -> None:
    for G in (weights(6, scale=3.0), weights(6, scale=0.2), np.zeros((3, 4))):
        expected = 0.0
        for g in G.ravel():
            # R*(−g) = sup_w −g·w − R(w), over a range that contains the maximiser if there is one
            best = minimize_scalar(
                lambda w, g=g: float(g * w + penalty.value(np.array([w]))),
                bounds=(-100, 100),
                method="bounded",
                options={"xatol": 1e-9},
            )
            expected = inf if abs(best.x) > 99 and best.fun < -1e-6 else expected - best.fun
            if expected == inf:
                break
        assert penalty.conjugate(G) == pytest.approx(expected, abs=1e-6)


@every
@pytest.mark.parametrize("seed", range(6))
def test_best_bound_is_the_best_over_a_fine_grid(penalty: ElasticNet, seed: int) -> None:
    random = np.random.default_rng(seed)
    G, floor = weights(seed, scale=10 ** random.uniform(-2, 1)), random.normal()
    value = floor + random.choice([-0.5, 0.3, 4.0])
    grid = [
        t * value + (1 - t) * floor - penalty.conjugate(t * G)
        for t in np.concatenate([[0], np.geomspace(1e-4, 1, 4000)])
    ]
    bound = penalty.best_bound(value, G, floor)
    assert max(grid) - 1e-12 <= bound
    assert bound <= max(grid) + 1e-3 * abs(value - floor)


def test_best_bound_of_lasso_scales_to_the_boundary() -> None:
    G = np.array([[4.0, -1.0]])
    assert l1(2.0).best_bound(10.0, G, 2.0) == 6  # θ = ½
    assert l1(4.0).best_bound(10.0, G, 2.0) == 10
    assert l1(2.0).best_bound(1.0, G, 2.0) == 2


def test_best_bound_of_ridge_in_closed_form() -> None:
    # max θ·3 − θ²·‖G‖²/(2α) with ‖G‖² = 25 and α = 2 is at θ = 6/25.
    assert l2(2.0).best_bound(3.0, np.array([3.0, 4.0]), 0.0) == pytest.approx(9 / 25)


def test_best_bound_without_a_penalty() -> None:
    assert l2(0.0).best_bound(3.0, np.zeros(2), 1.0) == 3
    assert l2(0.0).best_bound(3.0, np.ones(2), 1.0) == 1  # only residuals of zero are feasible


@every
@pytest.mark.parametrize(("value", "G"), [(-inf, 1.0), (np.nan, 1.0), (2.0, np.nan), (2.0, inf)])
def test_best_bound_falls_back_to_the_floor(penalty: ElasticNet, value: float, G: float) -> None:
    assert penalty.best_bound(value, np.array([G, 0.0]), 1.0) == 1.0


@pytest.mark.parametrize("l1_ratio", [1e-12, 1 - 1e-12, 0.5])
def test_best_bound_at_extreme_mixtures(l1_ratio: float) -> None:
    G = weights(9)
    near, exact = ElasticNet(0.5, l1_ratio), ElasticNet(0.5, round(l1_ratio, 6))
    assert near.best_bound(2.0, G, 0.5) == pytest.approx(exact.best_bound(2.0, G, 0.5), abs=1e-6)


def test_lasso_conjugate_agrees_with_its_linear_program() -> None:
    # sup ⟨−G, W⟩ − α‖W‖₁ is 0 where |G| ≤ α, else unbounded.
    for g in (0.5, 2.0):
        program = linprog([g + 1, -g + 1], bounds=[(0, None)] * 2)  # w = w₊ − w₋, α = 1
        assert (program.status == 3) == (l1(1.0).conjugate(np.array([g])) == inf)


@pytest.mark.parametrize("alpha", [-1.0, inf, np.nan])
def test_alpha_must_be_a_usable_number(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be finite and not negative"):
        ElasticNet(alpha)


@pytest.mark.parametrize("l1_ratio", [-0.1, 1.1, np.nan])
def test_l1_ratio_must_lie_in_the_unit_interval(l1_ratio: float) -> None:
    with pytest.raises(ValueError, match="l1_ratio"):
        ElasticNet(1.0, l1_ratio)
