"""L-BFGS from the Hessian's blocks, against the optima of other libraries and methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.losses.softmax import Softmax
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers.costs import class_groups, keeps_scores
from crosshead.solvers.initial_curvature import BlockInverse
from crosshead.solvers.loop import Run, minimise_with
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.newton import Newton

LOSSES = [
    get_loss("softmax"),
    Softmax(label_smoothing=0.1),
    get_loss("binary"),
    get_loss("squared_error"),
    get_loss("squared_hinge"),
]


def digits(dtype: Any = np.float64) -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(dtype), y.astype(np.int32)


def objective_of(X: Any, y: Any, loss: Any, alpha: float, **options: Any) -> Objective:
    classes = y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    data = TrainingData(X, y, classes, options.pop("sample_weight", None))
    return Objective(make_engine(options.pop("engine", "auto"), data), loss, ElasticNet(alpha, 0.0), **options)


def run(method: Any, objective: Objective, tol: float = 1e-8, **options: Any) -> Any:
    return minimise_with(method, objective, np.zeros(objective.size), tol=tol, max_iter=200, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_optimum_of_scikit_learn(strength: float, dtype: Any) -> None:
    X, y = digits(dtype)
    objective = objective_of(X, y, get_loss("softmax"), strength / len(X))
    result = run(LBFGS(), objective, tol=1e-7)
    theirs = LogisticRegression(solver="newton-cholesky", C=1 / strength, tol=1e-9, max_iter=200)
    theirs.fit(X.astype(np.float64), y)
    truth = objective.evaluate(objective.pack(theirs.coef_, theirs.intercept_)).value
    assert result.status == "converged"
    assert result.value == pytest.approx(truth, rel=2e-7)
    assert result.bound <= truth


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("shift", [0.1, 10.0])
def test_a_start_that_moves_all_scores_alike_is_no_trap(loss: Any, shift: float) -> None:
    """What all classes have in common is held by the penalty alone; the blocks' inverses once took it to be fixed."""
    X, y = digits()
    objective = objective_of(X, y, loss, 1e-3)
    start = np.full(objective.size, shift)
    result = minimise_with(LBFGS(), objective, start, tol=1e-6, max_iter=200)
    assert result.status == "converged"


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_it_agrees_with_a_factorised_hessian(loss: Any, intercept: bool, engine: str) -> None:
    X, y = digits()
    X, y = X[::6, ::4], y[::6] % 4
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    objective = objective_of(X, y, loss, 1e-3, sample_weight=weight, fit_intercept=intercept, engine=engine)
    found, truth = run(LBFGS(), objective, 1e-9), run(Newton(), objective, 1e-9)
    assert found.status == truth.status == "converged"
    assert found.value == pytest.approx(truth.value, rel=3e-9)
    if not intercept:
        assert not objective.unpack(found.point)[1].any()


@pytest.mark.parametrize("loss", [get_loss("softmax"), get_loss("binary")], ids=repr)
def test_probabilities_as_targets(loss: Any) -> None:
    X, _ = digits()
    target = np.random.default_rng(0).dirichlet(np.ones(4), len(X))
    objective = objective_of(X, target, loss, 1e-2)
    assert run(LBFGS(), objective).status == "converged"


def test_a_class_without_rows() -> None:
    """Its bias falls without end; what is left is the problem of the other classes."""
    X, y = digits()
    with_gap = objective_of(X, np.where(y >= 5, y + 1, y).astype(np.int32), get_loss("softmax"), 1e-3)
    without = objective_of(X, y, get_loss("softmax"), 1e-3)
    found, truth = run(LBFGS(), with_gap), run(LBFGS(), without)
    assert found.status == "converged"
    assert found.value == pytest.approx(truth.value, rel=1e-7)
    np.testing.assert_allclose(with_gap.unpack(found.point)[0][5], 0, atol=1e-4)


@pytest.mark.parametrize("classes", [12, 40])
def test_classes_that_share_a_block(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    centres = random.normal(size=(classes, 20))
    y = random.integers(0, classes, 2000).astype(np.int32)
    objective = objective_of(centres[y] + random.normal(size=(2000, 20)), y, get_loss("softmax"), 1e-3)
    single = run(LBFGS(), objective)
    monkeypatch.setattr("crosshead.solvers.initial_curvature.class_groups", lambda facts: 4)
    shared = run(LBFGS(), objective)
    assert single.status == shared.status == "converged"
    assert shared.value == pytest.approx(single.value, rel=1e-7)


def test_blocks_are_built_where_they_are_worth_it() -> None:
    X, y = digits(np.float32)
    objective = objective_of(X, y, get_loss("softmax"), 1e-3)
    assert class_groups(objective.facts) == 10
    state = run_steps(objective, 3)
    assert isinstance(state.memory.initial, BlockInverse)
    few = objective_of(X[:, :4], y, get_loss("softmax"), 1e-3)
    assert keeps_scores(few.facts)  # few rows: four megabytes are always allowed
    wide = objective_of(np.tile(X, 40), y, get_loss("softmax"), 1e-3)
    assert class_groups(wide.facts) == 0


def run_steps(objective: Objective, steps: int) -> Any:
    run_, method = Run(objective, 1e-9, None, exact=False), LBFGS()
    state = method.start(run_, np.zeros(objective.size))
    for _ in range(steps):
        state = method.step(run_, state)
    return state


def test_the_gap_closes_as_soon_as_the_value_is_reached() -> None:
    """Many classes, an unpenalised bias: mixing would keep the bound away; the best bias closes it in one pass."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(80, 64))
    y = random.integers(0, 80, 6000).astype(np.int32)
    X = (centres[y] + 1.5 * random.normal(size=(6000, 64))).astype(np.float32)
    objective = objective_of(X, y, get_loss("softmax"), 1e-4)
    result = run(LBFGS(), objective, 1e-4)
    truth = run(LBFGS(), objective, 1e-9).value
    assert result.status == "converged"
    first = next(each for each in result.history if each.objective <= truth * (1 + 1e-4))
    assert result.passes <= first.passes + 8
