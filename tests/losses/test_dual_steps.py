"""One row's best residual: its optimality, by each loss's own gradient and conjugate; and what is contained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosshead.losses import LOSSES, get_loss
from crosshead.losses.protocol import Loss

SMOOTH = [name for name in LOSSES if get_loss(name).smooth]
SOFT = [name for name in LOSSES if get_loss(name).accepts_probabilities]


def rows_of(loss: Loss, seed: int, classes: int, spread: float, n: int = 7) -> tuple[Any, Any, Any]:
    """Scores, targets and residuals in the domain, those of other scores."""
    random = np.random.default_rng(seed)
    scores = spread * random.normal(size=(n, classes))
    target = random.integers(0, classes, n)
    residual = loss.value_and_gradient(spread * random.normal(size=(n, classes)), target)[1]
    return scores, target, residual


def gain(loss: Loss, after: Any, residual: Any, scores: Any, target: Any, curvature: Any) -> Any:
    """What the dual objective of each row gains, by its definition."""
    step = after - residual
    linear = (step * scores).sum(axis=1) - curvature / 2 * (step * step).sum(axis=1)
    return linear - loss.conjugate(after, target) + loss.conjugate(residual, target)


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(1, 6),
    spread=st.floats(0.01, 30.0),
    log_curvature=st.floats(-6.0, 5.0),
)
def test_the_residual_is_the_gradient_at_the_scores_it_leads_to(
    name: str, seed: int, classes: int, spread: float, log_curvature: float
) -> None:
    """r = ∇ℓ(z − q(r − r₀)): to rounding, and near it for the softmax loss.

    Where its rows are very steep, it may go but a part of the way.
    """
    loss = get_loss(name)
    scores, target, residual = rows_of(loss, seed, classes, spread)
    q = np.full(len(scores), 10.0**log_curvature)
    after = loss.dual_step(residual, scores, target, q)
    assert np.isfinite(loss.conjugate(after, target)).all()
    there = scores - q[:, None] * (after - residual)
    error = np.abs(loss.value_and_gradient(there, target)[1] - after).max()
    if name != "softmax":
        assert error <= 1e-7 * max(1.0, spread)
    elif log_curvature <= 2:
        assert error <= 0.11
    gained = gain(loss, after, residual, scores, target, q)
    assert (gained >= -1e-8 * (1 + spread)).all()


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("curvature", [0.01, 1.0, 100.0])
def test_no_other_residual_in_the_domain_gains_much_more(name: str, curvature: float) -> None:
    loss = get_loss(name)
    scores, target, residual = rows_of(loss, 3, 4, 2.0)
    q = np.full(len(scores), curvature)
    best = gain(loss, loss.dual_step(residual, scores, target, q), residual, scores, target, q)
    assert (best >= -1e-9).all()
    slack = 0.02 * best + 1e-9 if name == "softmax" else 1e-9 * (1 + np.abs(best))
    random = np.random.default_rng(0)
    for _ in range(300):
        other = loss.value_and_gradient(scores + 3 * random.normal(size=scores.shape), target)[1]
        share = random.random() ** 3
        mixed = (1 - share) * residual + share * other
        assert (gain(loss, mixed, residual, scores, target, q) <= best + slack).all()


@pytest.mark.parametrize("name", SOFT)
def test_rows_of_probabilities_are_targets_as_well(name: str) -> None:
    loss = get_loss(name)
    random = np.random.default_rng(0)
    target = random.dirichlet(np.ones(5), 9)
    scores = random.normal(size=(9, 5))
    residual = loss.value_and_gradient(random.normal(size=(9, 5)), target)[1]
    q = np.geomspace(0.01, 100, 9)
    after = loss.dual_step(residual, scores, target, q)
    there = scores - q[:, None] * (after - residual)
    np.testing.assert_allclose(loss.value_and_gradient(there, target)[1], after, atol=0.05)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e300, -3.0])
def test_what_is_contained_lies_in_the_domain(name: str, broken: float) -> None:
    loss = get_loss(name)
    _, target, residual = rows_of(loss, 1, 4, 1.0)
    inside = residual.copy()
    loss.clip_to_domain(inside, target)
    np.testing.assert_allclose(inside, residual, atol=1e-12)
    residual[2, (target[2] + 1) % 4] = broken
    residual[3] = broken
    with np.errstate(over="ignore"):
        loss.clip_to_domain(residual, target)
        conjugate = loss.conjugate(residual, target)
    assert np.isfinite(residual).all()
    assert (conjugate > -np.inf).all()
    if name != "squared_error" or abs(broken) < 1e100 or not np.isfinite(broken):
        assert np.isfinite(conjugate).all()


def test_smoothed_hinges_have_no_step() -> None:
    assert [get_loss(name, smoothing=0.5).has_dual_step for name in ("hinge", "crammer_singer")] == [False, False]
    assert all(get_loss(name).has_dual_step for name in LOSSES)


def test_a_far_row_does_not_swing_to_and_fro() -> None:
    """Newton's steps at a curvature of 100 went back and forth between the ends of the bracket."""
    scores, before = np.array([[-6.0, 9.0, 0.5]]), np.array([[0.9, 0.001, 0.5]])
    loss, target = get_loss("binary"), np.array([0])
    residual = before - np.eye(3)[[0]]
    after = loss.dual_step(residual, scores, target, np.array([100.0]))
    there = scores - 100 * (after - residual)
    np.testing.assert_allclose(loss.value_and_gradient(there, target)[1], after, atol=1e-9)
