"""The native engine against the reference: every way to store features, odd shapes, all losses, all machines.

Double precision must agree to rounding. Single precision must be no worse than a few times what the same formulas in
plain float32 NumPy give, both measured against float64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import PassSums, ReferenceEngine, TrainingData
from crosshead.losses import LOSSES, get_loss

if importlib.util.find_spec("crosshead._native") is None:
    pytest.skip("the native engine is not built", allow_module_level=True)

from crosshead import _native
from crosshead.engines.native import NativeEngine

INSTRUCTION_SETS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not _native.has_instruction_set(name), reason=f"this processor has no {name}"),
    )
    for name in ("plain", "avx2", "avx512")
]
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("softmax", {"label_smoothing": 0.2}),
    ("hinge", {"smoothing": 0.3, "margin": 2.0}),
    ("squared_hinge", {"margin": 0.5}),
    ("crammer_singer", {"smoothing": 0.7, "margin": 1.5}),
]
ALL = [get_loss(name, **parameters) for name, parameters in VARIANTS]
SOFT = [loss for loss in ALL if loss.accepts_probabilities]
TYPES = [np.float64, np.float32]


def dense(rows: int, columns: int, seed: int = 0) -> Any:
    return np.random.default_rng([rows, columns, seed]).normal(size=(rows, columns)) + 0.3


def thin(rows: int, columns: int, share: float = 0.3) -> Any:
    X = dense(rows, columns)
    X[np.random.default_rng(5).uniform(size=X.shape) > share] = 0
    X[rows // 3 : rows // 2] = 0  # empty rows
    X[:, columns // 2] = 0  # and an empty column
    return X


def memory_map(X: Any, path: Path) -> Any:
    stored = np.memmap(path / "features", dtype=X.dtype, mode="w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    return np.memmap(path / "features", dtype=X.dtype, mode="r", shape=X.shape)


def read_only(X: Any) -> Any:
    X.flags.writeable = False
    return X


def wide_indices(X: Any) -> Any:
    matrix = sparse.csr_matrix(X)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def mixed_indices(X: Any) -> Any:
    matrix = sparse.csr_matrix(X)
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


def duplicated_entries(X: Any) -> Any:
    """Every stored number in two halves, the columns of a row in descending order."""
    matrix = sparse.csr_matrix(X)
    rows = [slice(a, b) for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)]
    data = np.concatenate([np.repeat(matrix.data[row][::-1] * X.dtype.type(0.5), 2) for row in rows])
    indices = np.concatenate([np.repeat(matrix.indices[row][::-1], 2) for row in rows])
    doubled = sparse.csr_matrix((data, indices, matrix.indptr * 2), shape=X.shape)
    assert not doubled.has_canonical_format
    return doubled


def misaligned(X: Any) -> Any:
    raw = np.zeros(X.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(X.dtype) if raw[1:].ctypes.data % X.itemsize == 0 else None
    if view is None:
        view = np.frombuffer(raw.data, dtype=X.dtype, offset=1)
    view = view.reshape(X.shape)
    view[:] = X
    assert not view.flags.aligned
    return view


@dataclass(frozen=True)
class Case:
    """Features (as float64), how they are stored, the number of classes, and which rows weigh nothing."""

    features: Callable[[], Any]
    classes: int
    store: Callable[[Any], Any] = np.ascontiguousarray
    missing_class: bool = False
    weighted: bool = False

    def build(self, dtype: Any, path: Path) -> tuple[Any, Any]:
        X = self.features().astype(dtype)
        return X, memory_map(X, path) if self.store is memory_map else self.store(X)  # type: ignore[arg-type]


CASES: dict[str, Case] = {
    "one row": Case(lambda: dense(1, 7), 3),
    "one row, one feature": Case(lambda: dense(1, 1), 2),
    "one feature": Case(lambda: dense(35, 1), 3),
    "two classes": Case(lambda: dense(33, 9), 2),
    "17 rows, 17 features, 17 classes": Case(lambda: dense(17, 17), 17),
    "more classes than rows": Case(lambda: dense(9, 6), 40),
    "1000 classes": Case(lambda: dense(21, 5), 1000),
    "2500 rows": Case(lambda: dense(2500, 13), 5, weighted=True),
    "2100 features": Case(lambda: dense(19, 2100) / 40, 4),
    "no features": Case(lambda: dense(5, 0), 3),
    "a class without rows": Case(lambda: dense(50, 6), 6, missing_class=True),
    "zero weights": Case(lambda: dense(75, 8), 4, weighted=True),
    "Fortran order": Case(lambda: dense(91, 11), 4, store=np.asfortranarray),
    "every other row": Case(lambda: dense(64, 11), 4, store=lambda X: np.repeat(X, 2, axis=0)[::2]),
    "every third column": Case(lambda: dense(64, 11), 4, store=lambda X: np.repeat(X, 3, axis=1)[:, ::3]),
    "columns out of a wider array": Case(lambda: dense(64, 11), 4, store=lambda X: np.hstack([X, X])[:, 11:]),
    "rows backwards": Case(lambda: dense(64, 11), 4, store=lambda X: np.ascontiguousarray(X[::-1])[::-1]),
    "both backwards": Case(lambda: dense(49, 9), 4, store=lambda X: X[::-1, ::-1].copy()[::-1, ::-1]),
    "one row many times": Case(
        lambda: np.repeat(dense(1, 6), 40, axis=0), 3, store=lambda X: np.broadcast_to(X[0], X.shape)
    ),
    "read only": Case(lambda: dense(40, 10), 3, store=read_only),
    "memory map": Case(lambda: dense(40, 10), 3, store=memory_map),  # type: ignore[arg-type]
    "off its boundary": Case(lambda: dense(40, 10), 3, store=misaligned),
    "CSR": Case(lambda: thin(90, 14), 5, store=sparse.csr_matrix, weighted=True),
    "CSR array": Case(lambda: thin(90, 14), 5, store=sparse.csr_array),
    "CSR, one row": Case(lambda: thin(1, 14), 5, store=sparse.csr_matrix),
    "CSR, nothing stored": Case(lambda: np.zeros((20, 6)), 3, store=sparse.csr_matrix),
    "CSR, 64-bit indices": Case(lambda: thin(70, 12), 3, store=wide_indices),
    "CSR, indices of two widths": Case(lambda: thin(70, 12), 3, store=mixed_indices),
    "CSR, duplicate entries": Case(lambda: thin(70, 12), 3, store=duplicated_entries),
    "CSR, row slice": Case(lambda: thin(70, 12), 3, store=lambda X: sparse.csr_matrix(np.vstack([X, X]))[:70]),
    "CSR, 4200 rows": Case(lambda: thin(4200, 6), 3, store=sparse.csr_matrix, weighted=True),
}


def labels_for(loss: Any, case: Case, rows: int) -> Any:
    random = np.random.default_rng(rows)
    labels = random.integers(0, case.classes - case.missing_class, rows)
    if loss.name == "binary":
        labels[random.uniform(size=rows) < 0.2] = -1
    return labels.astype(np.int32)


def weights_for(case: Case, rows: int) -> Any:
    if not case.weighted:
        return None
    random = np.random.default_rng(rows + 1)
    return random.uniform(0.1, 3, size=rows) * (random.uniform(size=rows) < 0.7)


def parameters(classes: int, features: int) -> tuple[Any, Any]:
    """W and b that float32 represents exactly, so that there is no rounding error."""
    random = np.random.default_rng([classes, features])
    scale = 1.5 / np.sqrt(max(features, 1))
    W = scale * random.normal(size=(classes, features)).astype(np.float32)
    return W.astype(np.float32).astype(np.float64), random.normal(size=classes).astype(np.float32).astype(float)


def arrays(sums: PassSums) -> dict[str, Any]:
    return {field.name: np.asarray(getattr(sums, field.name)) for field in fields(sums)}


def assert_same(found: PassSums, truth: PassSums, rtol: float) -> None:
    for name, expected in arrays(truth).items():
        got = arrays(found)[name]
        assert got.dtype == np.float64
        assert got.shape == expected.shape
        size = float(np.abs(expected).max(initial=0.0)) + 1e-3
        np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * size, err_msg=name)


def naive_float32(X: Any, target: Any, weight: Any, W: Any, b: Any, loss: Any) -> PassSums:
    """The pass as anyone would write it in float32."""
    single = np.float32
    scores = X @ W.T.astype(single) + b.astype(single)
    target = target.astype(single) if target.ndim == 2 else target
    surrogate, residual = loss.value_and_gradient(scores, target)
    sharp = loss.smoothed(0.0)
    s = (np.ones(len(X)) if weight is None else weight).astype(single)
    dual = -sharp.conjugate(residual, target)
    residual = residual * s[:, None]
    assert residual.dtype == single
    return PassSums(
        float(s @ sharp.value(scores, target)),
        float(s @ surrogate),
        float(s @ dual),
        residual.T @ X,
        residual.sum(axis=0),
    )


def assert_as_good_as_naive(found: PassSums, naive: PassSums, truth: PassSums, factor: float = 4.0) -> None:
    eps = float(np.finfo(np.float32).eps)
    for name, expected in arrays(truth).items():
        allowed = float(np.abs(arrays(naive)[name] - expected).max(initial=0.0))
        floor = 16 * eps * (float(np.abs(expected).max(initial=0.0)) + 1)  # where naive is right by luck
        error = float(np.abs(arrays(found)[name] - expected).max(initial=0.0))
        assert error <= factor * allowed + floor, name


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_exact_passes_equal_the_reference(case: Case, dtype: Any, isa: str, tmp_path: Path) -> None:
    """Also on float32 features: ``exact`` multiplies and adds in float64."""
    X, stored = case.build(dtype, tmp_path)
    W, b = parameters(case.classes, X.shape[1])
    for loss in ALL:
        target, weight = labels_for(loss, case, len(X)), weights_for(case, len(X))
        truth = ReferenceEngine(TrainingData(X.astype(np.float64), target, case.classes, weight))
        engine = NativeEngine(TrainingData(stored, target, case.classes, weight), 2, isa)
        assert_same(engine.evaluate(W, b, loss), truth.evaluate(W, b, loss), 1e-12)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_sums_at_given_scores_equal_the_reference(case: Case, isa: str, tmp_path: Path) -> None:
    X, stored = case.build(np.float64, tmp_path)
    W, b = parameters(case.classes, X.shape[1])
    for loss in ALL:
        target, weight = labels_for(loss, case, len(X)), weights_for(case, len(X))
        reference = ReferenceEngine(TrainingData(X, target, case.classes, weight))
        engine = NativeEngine(TrainingData(stored, target, case.classes, weight), 2, isa)
        truth, scores = reference.evaluate(W, b, loss), X @ W.T
        sums_alone = replace(truth, weight_gradient=np.zeros((case.classes, 0)))
        for any_engine in (engine, reference):
            assert_same(any_engine.sum_scores(scores, b, loss), sums_alone, 1e-11)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_single_precision_is_as_good_as_naive(case: Case, isa: str, tmp_path: Path) -> None:
    X, stored = case.build(np.float32, tmp_path)
    W, b = parameters(case.classes, X.shape[1])
    for loss in ALL:
        target, weight = labels_for(loss, case, len(X)), weights_for(case, len(X))
        truth = ReferenceEngine(TrainingData(X.astype(np.float64), target, case.classes, weight))
        engine = NativeEngine(TrainingData(stored, target, case.classes, weight), 2, isa)
        naive = naive_float32(X, target, weight, W, b, loss)
        assert_as_good_as_naive(engine.evaluate(W, b, loss, exact=False), naive, truth.evaluate(W, b, loss))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("loss", SOFT, ids=repr)
def test_probability_targets(loss: Any, sparsely: bool, isa: str) -> None:
    for rows, classes in ((1, 2), (37, 3), (1500, 6), (18, 50)):
        random = np.random.default_rng(rows)
        target = random.dirichlet(np.ones(classes), size=rows)
        target[0] = np.eye(classes)[1]
        weight = random.uniform(size=rows)
        X = thin(rows, 9).astype(np.float32)
        W, b = parameters(classes, 9)
        truth = ReferenceEngine(TrainingData(X.astype(np.float64), target, classes, weight)).evaluate(W, b, loss)
        stored = sparse.csr_matrix(X) if sparsely else X
        engine = NativeEngine(TrainingData(stored, target, classes, weight), 2, isa)
        assert_same(engine.evaluate(W, b, loss), truth, 1e-12)
        naive = naive_float32(X, target, weight, W, b, loss)
        assert_as_good_as_naive(engine.evaluate(W, b, loss, exact=False), naive, truth)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_scores_of_ten_thousand_stay_finite(loss: Any, dtype: Any, isa: str) -> None:
    X = np.array([[1.0], [-1.0], [0.5], [0.0]], dtype=dtype)
    W, b = np.array([[1e4], [-1e4], [9999.0]]), np.array([1e4, -1e4, 0.0])
    target = np.array([1, 0, 2, 1], dtype=np.int32)
    truth = ReferenceEngine(TrainingData(X.astype(np.float64), target, 3)).evaluate(W, b, loss)
    engine = NativeEngine(TrainingData(X, target, 3), 1, isa)
    assert_same(engine.evaluate(W, b, loss), truth, 1e-12)
    for name, got in arrays(engine.evaluate(W, b, loss, exact=False)).items():
        assert np.isfinite(got).all(), name
        size = float(np.abs(arrays(truth)[name]).max()) + 1
        np.testing.assert_allclose(got, arrays(truth)[name], rtol=0, atol=1e-5 * size, err_msg=name)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_score_that_is_no_number_costs_no_finite_amount(loss: Any, place: int, isa: str) -> None:
    """∞ − ∞ in one class: a solver that is told of a finite loss there would follow it."""
    X = np.array([[1e30, 1e30], [0.0, 1.0]], dtype=np.float32)
    W = np.zeros((3, 2))
    W[place] = [1e30, -1e30]
    for label in range(3):
        engine = NativeEngine(TrainingData(X, np.array([label, 0], dtype=np.int32), 3), 1, isa)
        found = engine.evaluate(W, np.zeros(3), loss, exact=False)
        assert not np.isfinite(found.loss) or not np.isfinite(found.dual)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_narrow_smoothing_keeps_its_precision(name: str, exact: bool, isa: str) -> None:
    """Margins of size one divided by a width of 1e-6 must not lose the width: a property of the reference itself."""
    loss = get_loss(name, smoothing=1e-6)
    X, target = dense(400, 5).astype(np.float32), np.arange(400, dtype=np.int32) % 4
    W, b = parameters(4, 5)
    truth = ReferenceEngine(TrainingData(X.astype(np.float64), target, 4)).evaluate(W, b, loss)
    found = NativeEngine(TrainingData(X, target, 4), 1, isa).evaluate(W, b, loss, exact=exact)
    if exact:
        assert_same(found, truth, 1e-11)
    else:
        assert_as_good_as_naive(found, naive_float32(X, target, None, W, b, loss), truth)


@pytest.mark.parametrize("loss", ALL, ids=repr)
@pytest.mark.parametrize("sparsely", [False, True])
def test_a_weight_repeats_the_row(loss: Any, sparsely: bool) -> None:
    X, counts = dense(200, 7), np.random.default_rng(3).integers(0, 4, 200)
    case = Case(lambda: X, 4)
    target, repeated = labels_for(loss, case, 200), np.repeat(np.arange(200), counts)
    W, b = parameters(4, 7)
    store = sparse.csr_matrix if sparsely else np.asarray
    weighted = NativeEngine(TrainingData(store(X), target, 4, counts.astype(np.float64)))
    several = NativeEngine(TrainingData(store(X[repeated]), target[repeated], 4))
    assert_same(weighted.evaluate(W, b, loss), several.evaluate(W, b, loss), 1e-12)


@pytest.mark.parametrize("order", ["C", "F", "strided", "float32"])
def test_any_kind_of_weight_array_will_do(order: str) -> None:
    """The kernels write into a new array; it must not take over a layout that they do not write."""
    X, target, loss = dense(30, 6), np.arange(30, dtype=np.int32) % 3, get_loss("softmax")
    W, b = parameters(3, 6)
    kinds = {
        "C": W,
        "F": np.asfortranarray(W),
        "strided": np.repeat(W, 2, axis=1)[:, ::2],
        "float32": W.astype(np.float32),
    }
    engine = NativeEngine(TrainingData(X, target, 3))
    assert_same(engine.evaluate(kinds[order], b, loss), engine.evaluate(W, b, loss), 1e-15)
    np.testing.assert_array_equal(engine.scores(kinds[order], b, 0, 30), engine.scores(W, b, 0, 30))


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_scores_and_their_blocks(case: Case, dtype: Any, isa: str, tmp_path: Path) -> None:
    X, stored = case.build(dtype, tmp_path)
    W, b = parameters(case.classes, X.shape[1])
    engine = NativeEngine(TrainingData(stored, np.zeros(len(X), dtype=np.int32), case.classes), 2, isa)
    scores = engine.scores(W, b, 0, len(X))
    truth = np.asarray(X.astype(np.float64) @ W.T + b)
    assert scores.dtype == dtype
    magnitude = np.abs(X.astype(np.float64)) @ np.abs(W.T) + np.abs(b)
    assert (np.abs(scores - truth) <= 20 * np.finfo(dtype).eps * magnitude).all()
    for first, last in ((0, 0), (0, 1), (len(X) // 2, len(X)), (len(X) // 3, len(X) // 3 + 1)):
        np.testing.assert_array_equal(engine.scores(W, b, first, last), scores[first:last])


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 97), (300, 17), (2100, 50)])
def test_gram(shape: tuple[int, int], dtype: Any, isa: str) -> None:
    X = dense(*shape).astype(dtype)
    weight = np.random.default_rng(2).uniform(size=shape[0]) * (np.arange(shape[0]) % 3 > 0)
    truth = (X.astype(np.float64) * weight[:, None]).T @ X.astype(np.float64)
    engine = NativeEngine(TrainingData(X, np.zeros(shape[0], dtype=np.int32), 2), 2, isa)
    for stored in (X, np.asfortranarray(X), X[::-1, ::-1].copy()[::-1, ::-1]):
        gram = engine.gram(stored, weight)
        np.testing.assert_array_equal(gram, gram.T)
        size = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
        assert (np.abs(gram - truth) <= 50 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("engine", [NativeEngine, ReferenceEngine])
def test_labels_outside_the_classes_are_refused(engine: Any) -> None:
    W, b = parameters(3, 4)
    for loss in ALL:
        for wrong in (3, -1, -2):
            if wrong == -1 and loss.name == "binary":
                continue
            target = np.array([0, wrong, 1], dtype=np.int32)
            with pytest.raises(ValueError, match="outside"):
                engine(TrainingData(dense(3, 4), target, 3)).evaluate(W, b, loss)
    with pytest.raises(ValueError, match=r"columns|mismatch"):
        engine(TrainingData(dense(3, 4), np.zeros(3, dtype=np.int32), 3)).evaluate(W[:, :2], b, get_loss("softmax"))


def test_an_instruction_set_that_does_not_exist() -> None:
    W, b = parameters(3, 4)
    engine = NativeEngine(TrainingData(dense(3, 4), np.zeros(3, dtype=np.int32), 3), 1, "abacus")
    with pytest.raises(ValueError, match="'abacus' is not available"):
        engine.evaluate(W, b, get_loss("softmax"))
    assert not _native.has_instruction_set("abacus")
    assert _native.has_instruction_set("plain")
    assert _native.instruction_set() in NativeEngine(engine.data).name
