"""The optimum on the face of an interior-point solution, against linear programs solved by HiGHS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosshead.curvature.program_face import optimum_on_face
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.loop import Run
from crosshead.solvers.methods.interior_point import InteriorPoint

KINKED = [name for name in LOSSES if not get_loss(name).smooth]


def state_at(name: str, l1_ratio: float, tol: float) -> tuple[Objective, Any]:
    """An objective, and the method's state at a gap of about ``tol``."""
    random = np.random.default_rng(5)
    y = random.integers(0, 4, 120).astype(np.int32)
    X = (random.normal(size=(120, 6)) + np.eye(4, 6)[y]) * [1, 0.03, 20, 1, 1, 5]
    objective = Objective(make_engine("auto", TrainingData(X, y, 4)), get_loss(name), ElasticNet(3e-3, l1_ratio))
    run, method = Run(objective, tol, None, exact=True), InteriorPoint()
    state = method.start(run, np.zeros(objective.size))
    while run.gap > tol:
        state = method.step(run, state)
    return objective, state


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_it_closes_the_gap_that_the_method_has_left(name: str, l1_ratio: float) -> None:
    objective, state = state_at(name, l1_ratio, 1e-8)
    program = state.program
    found = optimum_on_face(
        program, state.loss.slack, state.loss.dual, state.weights.slack, state.weights.dual, state.theta
    )
    assert found is not None
    theta, residual = found
    value = objective.evaluate(objective.pack(*program.leave(theta))).value
    bound = objective.certificate.bound(objective.penalty, program.dual_point(residual))
    assert bound <= value * (1 + 1e-13)
    assert value - bound <= 1e-11 * value


def test_a_face_with_too_many_unknowns_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, state = state_at("hinge", 0.5, 1e-2)
    monkeypatch.setattr("crosshead.curvature.program_face.MAX_UNKNOWNS", 10)
    groups, weights = state.loss, state.weights
    found = optimum_on_face(state.program, groups.slack, groups.dual, weights.slack, weights.dual, state.theta)
    assert found is None
