"""The second-order model over rows: the kernel, its reference, and the minimum of the explicit quadratic."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature.row_model import RowModel
from crosshead.engines.row_descent import descend_rows, row_descent
from crosshead.losses.quadratic import CentredQuadratic, DiagonalQuadratic, StarQuadratic

NATIVE = importlib.util.find_spec("crosshead._native") is not None
SHAPES = [(1, 2, 1), (5, 3, 4), (17, 2, 3), (35, 5, 6)]


def coefficients(form: Any, random: Any, rows: int, classes: int) -> Any:
    a = random.uniform(0.05, 1, size=(rows, classes))
    if isinstance(form, StarQuadratic):
        a[np.arange(rows), random.integers(classes, size=rows)] = -1.0
    return a


def problem(form: Any, shape: tuple[int, int, int], dtype: Any, *, as_sparse: bool) -> tuple[RowModel, Any]:
    """A model over all weights of a small problem, and its Hessian from the loss's own products."""
    rows, classes, columns = shape
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, columns)) * (random.uniform(size=(rows, columns)) < 0.7)
    w, a = random.uniform(0.2, 1, size=rows) / rows, coefficients(form, random, rows, classes)
    class_of, column = np.tile(np.arange(classes), columns), np.repeat(np.arange(columns), classes)
    count = classes * columns
    model = RowModel(
        features=sparse.csc_matrix(X.astype(dtype)) if as_sparse else np.ascontiguousarray(X.T, dtype=dtype),
        factors=np.ascontiguousarray([f.T for f in form.factors(a, w)], dtype=dtype),
        column=column,
        class_of=class_of,
        weight=random.normal(size=count) * (random.uniform(size=count) < 0.5),
        gradient=random.normal(size=count),
        l1=np.full(count, 0.3),
        l2=np.full(count, 0.05),
    )
    H = np.zeros((count, count))
    for k in range(count):
        scores = np.zeros((rows, classes))
        scores[:, class_of[k]] = X[:, column[k]]
        product = form.value_and_gradient(scores, a)[1] * w[:, None]
        H[:, k] = (product.T @ X)[class_of, column]
    return model, H + 0.05 * np.eye(count)


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("form", [CentredQuadratic(), DiagonalQuadratic(), StarQuadratic()], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("how", ["native", "twin"])
def test_the_step_is_the_minimum_of_the_explicit_quadratic(form: Any, shape: Any, as_sparse: bool, how: str) -> None:
    if how == "native" and not NATIVE:
        pytest.skip("the native engine is not built")
    model, H = problem(form, shape, np.float64, as_sparse=as_sparse)
    step, _ = row_descent(model, 1e-12, 20000) if how == "native" else descend_rows(model, 1e-9, 3000)
    after, slope = model.weight + step, model.gradient + H @ step
    distance = np.where(after == 0, np.maximum(np.abs(slope) - model.l1, 0), slope + model.l1 * np.sign(after))
    assert np.abs(distance).max() < (1e-9 if how == "native" else 1e-6)


@pytest.mark.skipif(not NATIVE, reason="the native engine is not built")
@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("form", [CentredQuadratic(), DiagonalQuadratic(), StarQuadratic()], ids=lambda f: f.name)
def test_a_float32_model_gives_nearly_the_step_of_a_float64_one(form: Any, as_sparse: bool) -> None:
    single, _ = problem(form, (35, 5, 6), np.float32, as_sparse=as_sparse)
    double, _ = problem(form, (35, 5, 6), np.float64, as_sparse=as_sparse)
    np.testing.assert_allclose(row_descent(single, 1e-5, 2000)[0], row_descent(double, 1e-5, 2000)[0], atol=2e-4)


@pytest.mark.skipif(not NATIVE, reason="the native engine is not built")
def test_every_instruction_set_gives_the_step_of_the_twin() -> None:
    from crosshead import _native

    model, _ = problem(CentredQuadratic(), (35, 5, 6), np.float64, as_sparse=False)
    expected, _ = descend_rows(model, 1e-3, 7)
    names = [n for n in ("plain", "avx2", "avx512") if n == "plain" or _native.has_instruction_set(n)]
    for name in names:
        step = np.empty(len(expected))
        _native.descend_rows(
            isa=name,
            features=model.features,
            indices=None,
            starts=None,
            factors=model.factors,
            column=model.column,
            class_of=model.class_of,
            weight=model.weight,
            gradient=model.gradient,
            l1=model.l1,
            l2=model.l2,
            tolerance=1e-3,
            most_sweeps=7,
            seconds=1e9,
            step=step,
        )
        np.testing.assert_allclose(step, expected, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("descend", [row_descent, descend_rows])
def test_no_sweep_begins_after_the_time_is_up(descend: Any) -> None:
    model, _ = problem(CentredQuadratic(), SHAPES[-1], np.float64, as_sparse=False)
    (late, sweeps), (once, _), (long, more) = (descend(model, 1e-9, *rest) for rest in ((500, 0.0), (1,), (500,)))
    assert sweeps == 1 < more
    np.testing.assert_allclose(late, once, atol=1e-12)
    assert not np.allclose(long, once)


def test_a_constant_column_loses_its_weight_or_is_left_alone() -> None:
    zeros = np.zeros((2, 3))
    model = RowModel(
        features=zeros,
        factors=np.full((1, 1, 3), 0.5),
        column=np.array([0, 1]),
        class_of=np.array([0, 0]),
        weight=np.array([2.0, 0.0]),
        gradient=np.zeros(2),
        l1=np.full(2, 0.3),
        l2=np.zeros(2),
    )
    assert row_descent(model, 1e-3, 9)[0].tolist() == [-2.0, 0.0]
    assert descend_rows(model, 1e-3, 9)[0].tolist() == [-2.0, 0.0]


@pytest.mark.skipif(not NATIVE, reason="the native engine is not built")
def test_the_kernel_refuses_indices_out_of_range() -> None:
    model, _ = problem(CentredQuadratic(), (5, 3, 4), np.float64, as_sparse=False)
    bad = RowModel(**{**model.__dict__, "column": model.column + 4})
    with pytest.raises(ValueError, match="an index is out of range"):
        row_descent(bad, 1e-3, 9)
