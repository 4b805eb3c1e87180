"""The augmented Lagrangian of a hinge: its residuals against SciPy's, its derivatives against differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.costs import augmented_lagrangian_fits, lagrangian_passes

KINKED = [name for name in LOSSES if not get_loss(name).smooth]
CLASSES, ROWS, COLUMNS, ALPHA = 4, 23, 5, 0.1


def problem(name: str, *, fit_intercept: bool = True, missing: bool = False) -> tuple[Any, Any, Any]:
    """The Lagrangian of a small problem, with a point and residuals in the hinge's domain."""
    random = np.random.default_rng(3)
    y = random.integers(0, CLASSES - int(missing), ROWS).astype(np.int32)
    X, s = random.normal(size=(ROWS, COLUMNS)), random.integers(0, 4, ROWS).astype(np.float64)
    data = TrainingData(X, y, CLASSES, s)
    loss = get_loss(name, margin=1.5)
    objective = Objective(make_engine("auto", data), loss, ElasticNet(ALPHA), fit_intercept=fit_intercept)
    lagrangian = objective.dual.augmented
    assert lagrangian is not None
    point = 0.7 * random.normal(size=objective.size)
    if not fit_intercept:
        point[-CLASSES:] = 0
    center = random.uniform(0, 1 / CLASSES, size=(ROWS, CLASSES))
    center[np.arange(ROWS), y] = 0
    center[np.arange(ROWS), y] = -center.sum(axis=1)
    return lagrangian, point, center


def value(lagrangian: Any, point: Any, center: Any, width: float) -> float:
    """φ by its definition, at the residuals that are said to be the largest."""
    data = lagrangian.engine.data
    scores = lagrangian.scores(point)
    residual, _ = lagrangian.residuals(scores, center, width)
    rows, own = np.arange(ROWS), data.target
    violation = scores - scores[rows, own][:, None] + lagrangian.pieces.margin
    violation[rows, own] = 0
    change = residual - center
    if not lagrangian.pieces.worst:
        change[rows, own] = 0
    each = (residual * violation).sum(axis=1) - width / 2 * (change**2).sum(axis=1)
    weight = point[: CLASSES * COLUMNS]
    return float(data.weights @ each / data.total_weight + ALPHA / 2 * weight @ weight)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("width", [0.05, 3.0])
def test_residuals_are_the_largest_of_their_domain(name: str, width: float) -> None:
    lagrangian, point, center = problem(name)
    scores, own = lagrangian.scores(point), lagrangian.engine.data.target
    residual, active = lagrangian.residuals(scores, center, width)
    for i in range(0, ROWS, 4):
        others = np.arange(CLASSES) != own[i]
        violation = (scores[i] - scores[i, own[i]] + 1.5)[others]

        def negative(r: Any, i: int = i, others: Any = others, violation: Any = violation) -> float:
            change = r - center[i][others]
            own_change = change.sum() if name == "crammer_singer" else 0.0
            return float(-r @ violation + width / 2 * (change @ change + own_change**2))

        cap = [{"type": "ineq", "fun": lambda r: 1 - r.sum()}] if name == "crammer_singer" else []
        best = optimize.minimize(
            negative, np.full(CLASSES - 1, 0.5 / CLASSES), bounds=[(0, 1)] * (CLASSES - 1), constraints=cap,
            method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(residual[i][others], best.x, atol=1e-5)
        inside = (best.x > 1e-4) & (best.x < 1 - 1e-4)
        assert active[i][others][inside].all()


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gradient_and_slope_are_differences_of_values(name: str, fit_intercept: bool) -> None:
    lagrangian, point, center = problem(name, fit_intercept=fit_intercept)
    width, step = 0.8, np.random.default_rng(0).normal(size=len(point))
    if not fit_intercept:
        step[-CLASSES:] = 0
    here = lagrangian.at(point, lagrangian.scores(point), center, width)
    h = 1e-5
    ahead, behind = (value(lagrangian, point + sign * h * step, center, width) for sign in (1, -1))
    assert float(here.gradient @ step) == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)
    slope = lagrangian.slope(point, step, center, width)
    scores, moved = lagrangian.scores(point), lagrangian.moved(step)
    assert slope(scores, moved, 0.0) == pytest.approx(float(here.gradient @ step), rel=1e-9)
    there = point + 0.3 * step
    after = lagrangian.at(there, lagrangian.scores(there), center, width)
    assert slope(scores, moved, 0.3) == pytest.approx(float(after.gradient @ step), rel=1e-9)


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("case", ["bias", "no bias", "missing class"])
def test_the_hessian_is_a_difference_of_gradients_and_its_factor_the_inverse(name: str, case: str) -> None:
    fit_intercept = case != "no bias"
    lagrangian, point, center = problem(name, fit_intercept=fit_intercept, missing=case == "missing class")
    width, step = 2.0, np.random.default_rng(1).normal(size=len(point))
    weight, bias = step[: CLASSES * COLUMNS].reshape(CLASSES, -1), step[-CLASSES:]
    weight -= weight.mean(axis=0)
    bias[:] = bias - bias.mean() if fit_intercept else 0.0
    here = lagrangian.at(point, lagrangian.scores(point), center, width)
    factored = lagrangian.factored(here, width, 0)
    assert factored is not None
    counted: list[int] = []
    hessian = lagrangian.hessian(here, width, factored, count=lambda: counted.append(1))
    image = hessian.multiply(step)
    assert len(counted) == 1
    h = 1e-7
    ahead, behind = (
        lagrangian.at(p, lagrangian.scores(p), center, width).gradient for p in (point + h * step, point - h * step)
    )
    # A bias that rows do hold, however few, has no other curvature: with one, the last digits took hundreds of steps.
    atol = 1e-3 / width if case == "missing class" else 1e-6
    np.testing.assert_allclose(image, (ahead - behind) / (2 * h), atol=atol * np.abs(step).max())
    np.testing.assert_allclose(hessian.precondition(image), step, atol=1e-6)


@pytest.mark.parametrize("name", KINKED)
def test_both_parts_of_the_gap_and_the_dual_point(name: str) -> None:
    """F − D = complementarity + stationarity without a bias, where F and D are those of the objective."""
    lagrangian, point, center = problem(name, fit_intercept=False)
    loss = get_loss(name, margin=1.5)
    objective = Objective(lagrangian.engine, loss, ElasticNet(ALPHA), fit_intercept=False)
    here = lagrangian.at(point, lagrangian.scores(point), center, 0.4)
    value, G = objective.evaluate(point).value, here.dual.weight_gradient
    bound = here.dual.value - float(np.vdot(G, G)) / (2 * ALPHA)
    assert value - bound == pytest.approx(here.complementarity + here.stationarity, rel=1e-10)
    data = lagrangian.engine.data
    conjugate = loss.conjugate(here.residual, data.target)
    assert here.dual.value == pytest.approx(-float(data.weights @ conjugate) / data.total_weight, rel=1e-12)


def test_which_problems_have_one() -> None:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(30, 4)), (np.arange(30) % 3).astype(np.int32)
    data = TrainingData(X, y, 3)
    engine = make_engine("auto", data)
    for name in LOSSES:
        assert augmented_lagrangian_fits(Objective(engine, get_loss(name), ElasticNet(0.1)).facts) == (name in KINKED)
    facts = Objective(engine, get_loss("hinge"), ElasticNet(0.1)).facts
    assert np.isfinite(lagrangian_passes(facts))
    for change in ({"sparse": True}, {"n_classes": 1}, {"n_classes": 1 << 19}, {"l1": True}, {"l2": False}):
        assert np.isinf(lagrangian_passes(replace(facts, **change)))
