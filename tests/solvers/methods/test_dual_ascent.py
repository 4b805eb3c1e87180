"""Dual coordinate ascent: its kernel, the reference, one row in closed form, and the optima of other solvers."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from crosshead.engines import TrainingData, make_engine
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result, minimise
from crosshead.solvers.costs import dual_ascent_fits
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.smoothing import PathFollowing
from crosshead.solvers.plan import HINGE_SWEEPS
from crosshead.solvers.stages import Stages

KINKED = [name for name in LOSSES if not get_loss(name).smooth]
ENGINES = ["reference", *(["native"] if importlib.util.find_spec("crosshead._native") else [])]
native = pytest.mark.skipif("native" not in ENGINES, reason="the native engine is not built")
CLASSES = 4


def rows(n: int = 61, columns: int = 19, *, seed: int = 0, missing: bool = False, dtype: Any = np.float64) -> Any:
    """Overlapping classes; some weights are zero, some rows are zero."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, n).astype(np.int32)
    if missing:
        y[y == 2] = 0
    X = random.normal(size=(n, columns)) + 2 * np.eye(CLASSES, columns)[y] + 0.3
    X[::17] = 0
    s = random.integers(0, 4, n).astype(np.float64)
    return TrainingData(X.astype(dtype), y, CLASSES, s)


def objective_of(
    data: TrainingData, name: str, alpha: float, *, engine: str = "auto", fit_intercept: bool = True, **options: Any
) -> Objective:
    loss = get_loss(name, **options)
    return Objective(make_engine(engine, data), loss, ElasticNet(alpha), fit_intercept=fit_intercept)


def ascend_to(objective: Objective, tol: float, **options: Any) -> Result:
    """By dual ascent, however small the problem is."""
    start = np.zeros(objective.size)
    return minimise_with(Stages(HINGE_SWEEPS), objective, start, **{"tol": tol, "max_iter": 100, **options})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("case", ["plain", "missing class", "no bias", "single", "margin"])
def test_the_optimum_is_that_of_path_following(engine: str, name: str, case: str) -> None:
    data = rows(missing=case in ("missing class", "no bias"), dtype=np.float32 if case == "single" else np.float64)
    options = {"margin": 3.0} if case == "margin" else {}
    objective = objective_of(data, name, 0.05, engine=engine, fit_intercept=case != "no bias", **options)
    truth = minimise_with(PathFollowing(), objective, np.zeros(objective.size), tol=1e-6, max_iter=500)
    assert truth.status == "converged"
    result = ascend_to(objective, 1e-4)
    assert result.status == "converged"
    assert truth.value * (1 - 1e-6) <= result.value <= truth.value * (1 + 1.1e-4)
    assert result.bound <= truth.value


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
def test_small_gaps_are_left_to_path_following(name: str, alpha: float) -> None:
    """Sweeps in single precision end near 1e-6, and are slow where alpha is small; path following continues."""
    objective = objective_of(rows(300, dtype=np.float32), name, alpha)
    result = ascend_to(objective, 1e-7, max_iter=400)
    assert result.status == "converged"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("classes", [2, 7, 13])
def test_one_row_is_maximised_in_closed_form(engine: str, name: str, classes: int) -> None:
    """One sweep over one row against SciPy's maximum of the dual over the row's residuals."""
    random = np.random.default_rng(classes)
    X, y = random.normal(size=(1, 3)), np.array([classes // 2], dtype=np.int32)
    objective = objective_of(TrainingData(X, y, classes), name, 0.3, engine=engine, fit_intercept=False)
    ascent = objective.dual.ascent()
    assert ascent is not None
    ascent.weight[:] = random.normal(size=(classes, 3))  # as if other rows had been there
    scores, others = ascent.weight @ X[0], np.arange(classes) != y[0]
    objective.dual.ascend(ascent, 1)
    curvature = float(X[0] @ X[0]) / 0.3

    def negative(r: Any) -> float:
        gain = float(r @ (scores[others] - scores[y[0]] + 1))
        return curvature / 2 * float(r @ r + r.sum() ** 2) - gain

    cap = [{"type": "ineq", "fun": lambda r: 1 - r.sum()}] if name == "crammer_singer" else []
    options = {"ftol": 1e-14, "maxiter": 500}
    best = optimize.minimize(
        negative, np.full(classes - 1, 0.5 / classes), bounds=[(0, 1)] * (classes - 1), constraints=cap,
        method="SLSQP", options=options,
    )  # fmt: skip
    found = ascent.residual[0]
    np.testing.assert_allclose(found[others], best.x, atol=1e-5)
    assert negative(found[others]) <= negative(best.x) + 1e-12
    assert found.sum() == pytest.approx(0, abs=1e-14)


@native
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("isa", ["plain", "avx2", "avx512"])
@pytest.mark.parametrize("columns", [1, 15, 16, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_is_its_twin(name: str, isa: str, columns: int, dtype: Any) -> None:
    """Row by row in one order: a sweep over a single row leaves no choice of it."""
    from crosshead import _native
    from crosshead.engines.native import NativeEngine

    if not _native.has_instruction_set(isa):
        pytest.skip(f"this processor has no {isa}")
    all_rows = rows(9, columns, dtype=dtype)
    for i in range(9):
        one = TrainingData(all_rows.features[i : i + 1], all_rows.target[i : i + 1], CLASSES)
        loss = get_loss(name)
        results = []
        for engine in (NativeEngine(one, instruction_set=isa), make_engine("reference", one)):
            objective = Objective(engine, loss, ElasticNet(0.1))
            ascent = objective.dual.ascent()
            ascent.weight[:] = np.random.default_rng(i).normal(size=ascent.weight.shape)
            for _ in range(3):
                objective.dual.ascend(ascent, 1)
            results.append((ascent.weight, ascent.bias, ascent.residual))
        tolerance = 1e-4 if dtype is np.float32 else 1e-11
        for ours, twin in zip(*results, strict=True):
            np.testing.assert_allclose(ours, twin, atol=tolerance * 10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
def test_every_sweep_raises_the_dual_and_stays_in_its_domain(engine: str, name: str) -> None:
    data = rows()
    objective = objective_of(data, name, 0.01, engine=engine, fit_intercept=False)
    ascent = objective.dual.ascent()
    assert ascent is not None
    last = -np.inf
    for _ in range(12):
        objective.dual.ascend(ascent, 1)
        weight, point = ascent.settle()
        conjugate = objective.loss.conjugate(ascent.residual, data.target)
        assert point.value == pytest.approx(-float(ascent.share @ conjugate), rel=1e-12)
        dual = point.value - 0.005 * float(np.vdot(weight, weight))
        assert dual >= last - 1e-12
        last = dual
    value = objective.evaluate(objective.pack(weight, np.zeros(CLASSES))).value
    assert last <= value


@native
def test_it_is_taken_for_hinges_on_dense_rows_with_an_l2_penalty_alone() -> None:
    data = rows(6000, dtype=np.float32)
    assert all(dual_ascent_fits(objective_of(data, name, 0.1).facts) == (name in KINKED) for name in LOSSES)
    assert not dual_ascent_fits(objective_of(data, "hinge", 0.0).facts)
    assert not dual_ascent_fits(objective_of(data, "hinge", 0.1, engine="reference").facts)
    lasso = Objective(make_engine("auto", data), get_loss("hinge"), ElasticNet(0.1, 0.5))
    assert not dual_ascent_fits(lasso.facts)


@native
@pytest.mark.parametrize("name", KINKED)
def test_the_result_is_the_same_with_any_number_of_threads(name: str) -> None:
    data = rows(700, dtype=np.float32)
    points = []
    for threads in (1, 2, 3):
        objective = Objective(make_engine("auto", data, threads), get_loss(name), ElasticNet(0.05))
        points.append(ascend_to(objective, 1e-3).point)
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])


@pytest.mark.parametrize("name", KINKED)
def test_a_start_that_is_better_is_kept(name: str) -> None:
    objective = objective_of(rows(), name, 0.05)
    best = ascend_to(objective, 1e-6)
    again = minimise(objective, best.point, tol=1e-12, max_iter=1)
    assert again.value <= best.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("scale", [1e-160, 1e-8, 1e-6, 1e6, 1e150])
def test_rows_of_any_size_leave_the_dual_point_in_its_domain(
    engine: str, name: str, fit_intercept: bool, scale: float
) -> None:
    """Where a row's curvature was 1e-16, the sums over the simplex cancelled, and a bound was above every value."""
    data = rows(41, 3)
    X = data.features.copy()
    X[::2] *= scale
    for features in (X, X * (X[:, :1] < 0), np.zeros_like(X)):
        mixed = TrainingData(features, data.target, CLASSES, data.sample_weight)
        for alpha in (1e-9, 1.0, 1e4):
            objective = objective_of(mixed, name, alpha, engine=engine, fit_intercept=fit_intercept)
            ascent = objective.dual.ascent()
            for _ in range(3):
                objective.dual.ascend(ascent, 2)
                weight, point = ascent.settle()
                assert np.isfinite(objective.loss.conjugate(ascent.residual, data.target)).all()
                zero = objective.evaluate(np.zeros(objective.size))
                there = objective.evaluate(objective.pack(weight, ascent.bias))
                bound = objective.certified_by(zero, point).bound
                assert not bound > min(zero.value, there.value if np.isfinite(there.value) else np.inf)
                ascent.follow_bias(point.bias_gradient)


def test_a_fit_on_rows_of_tiny_curvature_says_what_is_true() -> None:
    """It was called converged, with a bound of 3.5e15 beside a value of 1."""
    data = rows(41, 3)
    mixed = TrainingData(1e-6 * data.features, data.target, CLASSES, data.sample_weight)
    for name in KINKED:
        objective = objective_of(mixed, name, 1e3, fit_intercept=False)
        result = ascend_to(objective, 1e-6)
        assert result.status == "converged"
        assert result.value == pytest.approx(1.0 if name == "crammer_singer" else CLASSES - 1.0, rel=1e-6)
        assert result.bound <= result.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_no_number_moves_nothing_and_certifies_nothing(engine: str, name: str, broken: float) -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 40, 50).astype(np.int32)
    objective = objective_of(TrainingData(random.normal(size=(50, 3)), y, 40), name, 0.1, engine=engine)
    ascent = objective.dual.ascent()
    assert ascent is not None
    with np.errstate(invalid="ignore"):
        ascent.weight[3] = broken
        objective.dual.ascend(ascent, 2)
    assert not ascent.residual.any()
    ascent.residual[7, 5] = broken
    _, point = ascent.settle()
    assert np.isfinite(point.value)
    assert np.isfinite(point.weight_gradient).all()
    assert np.isfinite(ascent.weight).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", KINKED)
def test_one_class_and_one_row_and_labels_that_are_every_other(engine: str, name: str) -> None:
    """A single class has no violations, so that all weights stay zero; strided labels are read where they are."""
    X = np.random.default_rng(0).normal(size=(6, 2))
    single = objective_of(TrainingData(X, np.zeros(6, dtype=np.int32), 1), name, 0.1, engine=engine)
    ascent = single.dual.ascent()
    assert ascent is not None
    single.dual.ascend(ascent, 3)
    assert not ascent.settle()[0].any()
    labels = np.array([0, 9, 1, 9, 1, 9, 0, 9, 1, 9, 0, 9], dtype=np.int32)
    strided = objective_of(TrainingData(X, labels[::2], 2), name, 0.1, engine=engine)
    copied = objective_of(TrainingData(X, labels[::2].copy(), 2), name, 0.1, engine=engine)
    assert ascend_to(strided, 1e-3).value == ascend_to(copied, 1e-3).value
    alone = objective_of(TrainingData(X[:1], labels[:1], 2), name, 0.1, engine=engine, fit_intercept=False)
    assert ascend_to(alone, 1e-3).status == "converged"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_read_where_they_lie(engine: str, dtype: Any) -> None:
    """Backwards, within wider rows, all the same one, and read-only: what a copy gives."""
    wide = np.random.default_rng(0).normal(size=(12, 23)).astype(dtype)
    frozen = wide[:, :17].copy()
    frozen.flags.writeable = False
    y = (np.arange(12) % 3).astype(np.int32)
    for view in (wide[::-1, 3:20], wide[:, 5:], wide[::2][:, 1:3], np.broadcast_to(wide[:1], (12, 23)), frozen):
        found = []
        for features in (view, view.copy()):
            data = TrainingData(features, y[: len(features)], 3)
            objective = objective_of(data, "crammer_singer", 0.1, engine=engine)
            ascent = objective.dual.ascent()
            objective.dual.ascend(ascent, 4)
            found.append(ascent.residual)
        np.testing.assert_allclose(*found, atol=1e-5 if dtype is np.float32 else 1e-12)


@native
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("layout", ["columns", "every other row", "every other column"])
def test_the_memory_order_of_the_features_does_not_change_the_method(name: str, layout: str) -> None:
    """Rows are visited one by one, so that features whose rows are not contiguous are copied once."""
    data = rows(600)
    X = data.features
    if layout == "columns":
        stored = np.asfortranarray(X)
    elif layout == "every other row":
        stored = np.repeat(X, 2, axis=0)[::2]
    else:
        stored = np.repeat(X, 2, axis=1)[:, ::2]
    other = TrainingData(stored, data.target, CLASSES, data.sample_weight)
    mine, theirs = (ascend_to(objective_of(one, name, 0.01), 1e-4) for one in (data, other))
    assert mine.status == theirs.status == "converged"
    assert theirs.value == pytest.approx(mine.value, rel=1.1e-4)
    many = rows(6000)
    columns = TrainingData(np.asfortranarray(many.features), many.target, CLASSES)
    assert dual_ascent_fits(objective_of(columns, name, 0.01).facts)


@native
@pytest.mark.parametrize("name", KINKED)
def test_a_start_that_is_given_shortens_the_fit(name: str) -> None:
    """From the optimum beside a penalty that is a little stronger, and from the very optimum."""
    data = rows(3000)
    before = ascend_to(objective_of(data, name, 1.2e-3), 1e-4, max_iter=400)
    objective = objective_of(data, name, 1e-3)
    cold = ascend_to(objective, 1e-4)

    def from_(point: Any) -> Result:
        return minimise_with(Stages(HINGE_SWEEPS), objective, point, tol=1e-4, max_iter=100)

    warm = from_(before.point)
    again = from_(cold.point)
    assert cold.status == warm.status == again.status == "converged"
    assert warm.iterations < cold.iterations
    assert again.iterations < cold.iterations
