"""Dual ascent over sparse rows and for smooth losses: its kernel, its reference, other solvers' optima."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead import LinearClassifier, regularisation_path
from crosshead.engines import TrainingData, make_engine
from crosshead.engines.dual_ascent import Ascent
from crosshead.losses import LOSSES, get_loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet
from crosshead.solvers import Result, minimise
from crosshead.solvers.continuation import Carried
from crosshead.solvers.costs import dual_ascent_fits
from crosshead.solvers.loop import minimise_with
from crosshead.solvers.methods.dual_ascent import DualAscent
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.newton import Newton
from crosshead.solvers.plan import HINGE_SWEEPS, SPARSE_SWEEPS, choose
from crosshead.solvers.stages import Stages

SMOOTH = [name for name in LOSSES if get_loss(name).smooth]
ENGINES = ["reference", *(["native"] if importlib.util.find_spec("crosshead._native") else [])]
native = pytest.mark.skipif("native" not in ENGINES, reason="the native engine is not built")
CLASSES = 4


def texts(
    n: int = 83,
    columns: int = 40,
    classes: int = CLASSES,
    *,
    seed: int = 0,
    dtype: Any = np.float64,
    wide: bool = False,
) -> TrainingData:
    """Short rows of few entries, some of them empty, of length one; some weights are zero."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n).astype(np.int32)
    X = sparse.random(n, columns, 0.15, format="lil", random_state=random, data_rvs=random.random)
    X[np.arange(n), y] = 0.5
    X[::19] = 0
    X = X.tocsr()
    norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X = (sparse.diags(1 / np.where(norms > 0, norms, 1)) @ X).tocsr().astype(dtype)
    if wide:
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return TrainingData(X, y, classes, random.integers(0, 4, n).astype(np.float64))


def objective_of(
    data: TrainingData, name: str, alpha: float, *, engine: str = "auto", fit_intercept: bool = True, **options: Any
) -> Objective:
    loss = get_loss(name, **options)
    return Objective(make_engine(engine, data), loss, ElasticNet(alpha), fit_intercept=fit_intercept)


def ascend_to(objective: Objective, tol: float, start: Any = None, **options: Any) -> Result:
    """By dual ascent, however small the problem is."""
    start = np.zeros(objective.size) if start is None else start
    return minimise_with(Stages(SPARSE_SWEEPS), objective, start, **{"tol": tol, "max_iter": 200, **options})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("case", ["plain", "no bias", "single", "wide indices", "dense", "strong", "weak"])
def test_the_optimum_is_newtons(engine: str, name: str, case: str) -> None:
    data = texts(dtype=np.float32 if case == "single" else np.float64, wide=case == "wide indices")
    if case == "dense":
        data = TrainingData(data.features.toarray(), data.target, CLASSES, data.sample_weight)
    alpha = {"strong": 1.0, "weak": 1e-3}.get(case, 0.02)
    objective = objective_of(data, name, alpha, engine=engine, fit_intercept=case != "no bias")
    truth = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=100)
    assert truth.status == "converged"
    result = ascend_to(objective, 1e-5)
    assert result.status == "converged"
    assert truth.value * (1 - 1e-9) <= result.value <= truth.value * (1 + 1.1e-5)
    assert result.bound <= truth.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_hinges_on_sparse_rows_are_those_on_dense_ones(engine: str, name: str) -> None:
    data = texts()
    dense = TrainingData(data.features.toarray(), data.target, CLASSES, data.sample_weight)
    values = []
    for each in (data, dense):
        objective = objective_of(each, name, 0.02, engine=engine)
        result = minimise_with(Stages(HINGE_SWEEPS), objective, np.zeros(objective.size), tol=1e-4, max_iter=200)
        assert result.status == "converged"
        values.append(result.value)
    assert values[0] == pytest.approx(values[1], rel=2e-4)


@native
@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("isa", ["plain", "avx2", "avx512"])
@pytest.mark.parametrize("classes", [1, 2, 7, 16, 33, 150])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_is_its_twin(name: str, isa: str, classes: int, dtype: Any) -> None:
    """Row by row in one order: a sweep over a single row leaves no choice of it."""
    from crosshead import _native
    from crosshead.engines.native import NativeEngine

    if not _native.has_instruction_set(isa):
        pytest.skip(f"this processor has no {isa}")
    every = texts(4, classes + 9, classes, dtype=dtype, wide=classes % 2 == 0)
    for i in range(4):
        one = TrainingData(every.features[i : i + 1], every.target[i : i + 1], classes)
        found = []
        for engine in (NativeEngine(one, instruction_set=isa), make_engine("reference", one)):
            objective = Objective(engine, get_loss(name), ElasticNet(0.1))
            ascent = objective.dual.ascent()
            assert ascent is not None
            ascent.weight[:, :classes] = np.random.default_rng(i).normal(size=(classes + 9, classes))
            for _ in range(3):
                objective.dual.ascend(ascent, 1)
                ascent.waiting[:] = 0
            found.append((ascent.weight[:, :classes], ascent.bias, ascent.residual))
        for ours, twin in zip(*found, strict=True):
            np.testing.assert_allclose(ours, twin, atol=1e-3 if dtype is np.float32 else 1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("alpha", [0.5, 0.01, 1e-5])
def test_every_sweep_raises_the_dual_and_stays_in_its_domain(engine: str, name: str, alpha: float) -> None:
    data = texts()
    objective = objective_of(data, name, alpha, engine=engine, fit_intercept=False)
    ascent = objective.dual.ascent()
    assert ascent is not None
    last = -np.inf
    for _ in range(8):
        objective.dual.ascend(ascent, 1)
        weight, point = ascent.settle()
        conjugate = objective.loss.conjugate(ascent.residual, data.target)
        assert point.value == pytest.approx(-float(ascent.share @ conjugate), rel=1e-12)
        dual = point.value - alpha / 2 * float(np.vdot(weight, weight))
        assert dual >= last - 1e-9 * (1 + abs(dual))
        last = dual
    value = objective.evaluate(objective.pack(weight, np.zeros(CLASSES))).value
    assert last <= value * (1 + 1e-12)


@native
@pytest.mark.parametrize("name", ["softmax", "binary", "squared_error"])
def test_rows_of_probabilities_are_targets_as_well(name: str) -> None:
    data = texts(200, 60)
    target = np.random.default_rng(1).dirichlet(np.ones(CLASSES), 200)
    objective = objective_of(TrainingData(data.features, target, CLASSES), name, 0.01)
    truth = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=100)
    assert ascend_to(objective, 1e-5).value == pytest.approx(truth.value, rel=1.1e-5)


@native
def test_label_smoothing_and_absent_classes() -> None:
    data = texts(200, 60)
    few = TrainingData(data.features, np.where(data.target == 1, 0, data.target).astype(np.int32), CLASSES)
    objective = objective_of(few, "softmax", 0.01, label_smoothing=0.1)
    truth = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=100)
    assert ascend_to(objective, 1e-5).value == pytest.approx(truth.value, rel=1.1e-5)
    one_column = TrainingData(data.features, np.where(data.target == 1, 0, -1).astype(np.int32), 1)
    objective = objective_of(one_column, "binary", 0.01)
    truth = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-9, max_iter=100)
    assert ascend_to(objective, 1e-5).value == pytest.approx(truth.value, rel=1.1e-5)


@native
def test_it_is_taken_for_sparse_rows_with_an_l2_penalty() -> None:
    data = texts(6000, 300, dtype=np.float32)
    assert all(dual_ascent_fits(objective_of(data, name, 0.1).facts) for name in LOSSES)
    assert not dual_ascent_fits(objective_of(data, "softmax", 0.0).facts)
    assert not dual_ascent_fits(objective_of(data, "softmax", 0.1, engine="reference").facts)
    assert not dual_ascent_fits(Objective(make_engine("auto", data), get_loss("softmax"), ElasticNet(0.1, 0.5)).facts)
    dense = TrainingData(data.features.toarray(), data.target, CLASSES)
    assert not dual_ascent_fits(objective_of(dense, "softmax", 0.1).facts)
    assert choose(objective_of(data, "softmax", 0.1).facts, Carried()).stages[0].method is DualAscent
    result = minimise(objective_of(data, "softmax", 1 / 6000), np.zeros(CLASSES * 301), tol=1e-4)
    assert result.status == "converged"
    assert result.passes <= 10


@native
def test_too_many_residuals_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosshead.solvers.costs.MAX_RESIDUALS", 1000)
    data = texts(6000, 300, dtype=np.float32)
    assert not dual_ascent_fits(objective_of(data, "softmax", 0.01).facts)
    assert minimise(objective_of(data, "softmax", 0.01), np.zeros(CLASSES * 301), tol=1e-4).status == "converged"


@native
def test_where_it_is_slow_another_method_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows a hundred times as long, each sweep closes little of the gap."""
    data = texts(300, 40)
    long = TrainingData(300 * data.features, data.target, CLASSES, data.sample_weight)
    objective = objective_of(long, "softmax", 1e-4)
    taken: list[int] = []
    start = LBFGS.start

    def noted(self: Any, run: Any, point: Any) -> Any:
        taken.append(run.passes)
        return start(self, run, point)

    monkeypatch.setattr(LBFGS, "start", noted)
    result = minimise_with(Stages(SPARSE_SWEEPS), objective, np.zeros(objective.size), tol=1e-10, max_iter=3000)
    truth = minimise_with(Newton(), objective, np.zeros(objective.size), tol=1e-8, max_iter=300)
    assert result.value <= truth.value * (1 + 1e-6)
    assert taken


@native
def test_a_column_that_all_rows_share_costs_no_more_than_some_sweeps() -> None:
    """Sweeps went on for seconds where quasi-Newton passes take a tenth of one."""
    data = texts(3000, 300, dtype=np.float32)
    common = np.random.default_rng(0).uniform(20, 60, (3000, 1)).astype(np.float32)
    shared = TrainingData(sparse.hstack([data.features, common]).tocsr(), data.target, CLASSES, data.sample_weight)
    objective = objective_of(shared, "softmax", 1e-4)
    result = minimise(objective, np.zeros(objective.size), tol=1e-4)
    assert result.status == "converged"
    assert result.passes <= 100


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(LOSSES))
def test_empty_rows_without_a_bias_close_their_part_of_the_gap(engine: str, name: str) -> None:
    """No weight reaches them: their residual is the gradient at scores of zero, and no sweep would find it."""
    data = texts()
    objective = objective_of(data, name, 0.05, engine=engine, fit_intercept=False)
    ascent = objective.dual.ascent()
    assert ascent is not None
    empty = ascent.squares == 0
    assert empty.sum() == 5
    _, gradient = objective.loss.value_and_gradient(np.zeros((5, CLASSES)), data.target[empty])
    np.testing.assert_array_equal(ascent.residual[empty], gradient)
    method = Stages(SPARSE_SWEEPS if objective.smooth else HINGE_SWEEPS)
    result = minimise_with(method, objective, np.zeros(objective.size), tol=1e-5, max_iter=40)
    assert result.status == "converged"


@native
def test_an_interrupt_in_the_first_sweeps_keeps_what_they_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of(texts(400, 60), "softmax", 0.01)
    ascend, sweeps = type(objective.engine).ascend, []

    def interrupted(self: Any, ascent: Ascent, count: int) -> None:
        sweeps.append(count)
        if len(sweeps) == 3:
            raise KeyboardInterrupt
        ascend(self, ascent, count)

    monkeypatch.setattr(type(objective.engine), "ascend", interrupted)
    result = ascend_to(objective, 1e-6)
    assert result.status == "interrupted"
    assert result.value < np.log(CLASSES)
    assert result.bound <= result.value


@native
@pytest.mark.parametrize("name", SMOOTH)
def test_a_start_goes_on_from_where_it_is(name: str) -> None:
    objective = objective_of(texts(400, 60), name, 0.01)
    best = ascend_to(objective, 1e-7)
    again = ascend_to(objective, 1e-5, best.point)
    assert again.iterations == 0
    assert again.value <= best.value
    near = ascend_to(objective, 1e-7, 0.99 * best.point)
    assert near.status == "converged"


@native
@pytest.mark.parametrize("name", SMOOTH)
def test_the_result_is_the_same_with_any_number_of_threads(name: str) -> None:
    data = texts(700, 60, dtype=np.float32)
    points = []
    for threads in (1, 2, 3):
        objective = Objective(make_engine("auto", data, threads), get_loss(name), ElasticNet(0.01))
        points.append(ascend_to(objective, 1e-3).point)
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_array_equal(points[0], points[2])


@native
def test_a_classifier_and_its_path_on_sparse_rows() -> None:
    data = texts(6000, 300, dtype=np.float32)
    model = LinearClassifier(alpha=1e-3, tol=1e-5).fit(data.features, data.target)
    assert model.status_ == "converged"
    dense = LinearClassifier(alpha=1e-3, tol=1e-5).fit(data.features.toarray(), data.target)
    assert model.objective_ == pytest.approx(dense.objective_, rel=2e-5)
    path = regularisation_path(data.features, data.target, [1e-2, 3e-3, 1e-3], tol=1e-5)
    assert path.certified
    assert path.objective[-1] == pytest.approx(dense.objective_, rel=2e-5)


@native
def test_damaged_arrays_are_refused() -> None:
    objective = objective_of(texts(), "softmax", 0.1, engine="native")
    for name, value in (
        ("weight", np.zeros((40, 3))),
        ("weight", np.zeros((39, 4))),
        ("weight", np.zeros((40, 16), dtype=np.float32)),
        ("residual", np.zeros((82, CLASSES))),
        ("order", np.full(83, 83)),
        ("share", np.zeros(3)),
    ):
        ascent = objective.dual.ascent()
        setattr(ascent, name, value)
        with pytest.raises((ValueError, TypeError)):
            objective.dual.ascend(ascent, 1)  # type: ignore[arg-type]
