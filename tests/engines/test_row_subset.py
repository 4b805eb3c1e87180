"""Subsets of rows against copies of the same rows: bitwise equal."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, has_native, make_engine
from crosshead.engines.row_subset import RowSubset
from crosshead.losses import get_loss
from crosshead.losses.quadratic import CentredQuadratic, DiagonalQuadratic, StarQuadratic

ENGINES = ["reference", *(["native"] if has_native() else [])]
STORED = ["C", "F", "strided", "csr", "csr64"]


def stored(how: str, dtype: Any, rows: int = 2100, columns: int = 19) -> Any:
    random = np.random.default_rng(columns)
    X = random.normal(size=(rows, 2 * columns)).astype(dtype)
    if how == "strided":
        return X[:, ::2]
    X = X[:, :columns]
    if how in ("C", "F"):
        return np.array(X, order=how)
    X[random.random(X.shape) < 0.8] = 0
    matrix = sparse.csr_matrix(X)
    if how == "csr64":
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def both(features: Any, classes: int) -> tuple[TrainingData, TrainingData, TrainingData]:
    """All rows; some of them, chosen in no order and one of them twice; the same, copied."""
    random = np.random.default_rng(1)
    rows = features.shape[0]
    data = TrainingData(
        features, random.integers(0, classes, rows).astype(np.int32), classes, random.uniform(0, 2, rows)
    )
    which = random.permutation(rows)[: rows // 2 + 3]
    which[1] = which[0]
    return data, data.subset(which), data.take(which)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 32])
@pytest.mark.parametrize("exact", [True, False])
def test_passes_and_scores_have_the_same_bits(engine: str, how: str, dtype: Any, classes: int, exact: bool) -> None:
    data, chosen, copied = both(stored(how, dtype), classes)
    assert isinstance(chosen.features, RowSubset)
    assert chosen.sparse == copied.sparse
    assert (chosen.n_rows, chosen.n_features) == copied.features.shape
    whole = make_engine(engine, data, 2)
    W, b = np.random.default_rng(2).normal(size=(classes, data.n_features)), np.arange(classes) / 7
    one, other = whole.over(chosen), whole.over(copied)
    for loss in (get_loss("softmax"), get_loss("squared_hinge")):
        mine, theirs = one.evaluate(W, b, loss, exact=exact), other.evaluate(W, b, loss, exact=exact)
        assert (mine.loss, mine.dual) == (theirs.loss, theirs.dual)
        np.testing.assert_array_equal(mine.weight_gradient, theirs.weight_gradient)
        np.testing.assert_array_equal(mine.bias_gradient, theirs.bias_gradient)
    np.testing.assert_array_equal(one.scores(W, b, 5, 333), other.scores(W, b, 5, 333))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["C", "F", "strided"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gram_matrices_have_the_same_bits(engine: str, how: str, dtype: Any) -> None:
    data, chosen, copied = both(stored(how, dtype), 3)
    whole = make_engine(engine, data, 2)
    mine = whole.gram(chosen.features, chosen.weights)
    np.testing.assert_array_equal(mine, whole.gram(copied.features, chosen.weights))
    wide = copied.features.astype(np.float64)
    np.testing.assert_allclose(mine, (wide * chosen.weights[:, None]).T @ wide, rtol=1e-4, atol=1e-2)


def test_rows_chosen_from_chosen_rows() -> None:
    data, chosen, copied = both(stored("csr", np.float32), 3)
    again = chosen.subset(np.array([7, 3]))
    assert again.features.features is data.features
    np.testing.assert_array_equal(again.features[:].toarray(), copied.features[[7, 3]].toarray())
    np.testing.assert_array_equal(again.target, copied.target[[7, 3]])
    np.testing.assert_array_equal(again.block(1, 2).features.toarray(), copied.features[[3]].toarray())


@pytest.mark.parametrize("how", ["C", "strided", "csr"])
def test_columns_of_chosen_rows(how: str) -> None:
    _, chosen, copied = both(stored(how, np.float32), 3)
    for columns in (np.array([4, 0, 4]), slice(2, 9, 3)):
        found, wanted = chosen.features[3:70, columns], copied.features[3:70][:, columns]
        assert (found != wanted).sum() == 0
        assert found.shape == wanted.shape


@pytest.mark.skipif(not has_native(), reason="the native engine was not built")
def test_rows_that_are_not_there_are_an_error() -> None:
    from crosshead import _native

    handle = _native.dense_features(np.ones((4, 2)))
    for rows in ([4], [0, -1]):
        with pytest.raises(ValueError, match="a chosen row lies outside the features"):
            _native.chosen_rows(handle, np.array(rows))
    some = _native.chosen_rows(handle, np.array([3, 1]))
    assert (some.rows, some.columns) == (2, 2)
    with pytest.raises(ValueError, match="choose among the rows"):
        _native.chosen_rows(some, np.array([0]))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_row_at_all(engine: str) -> None:
    data, _, _ = both(stored("C", np.float32), 3)
    none = data.subset(np.zeros(0, dtype=np.int64))
    sums = make_engine(engine, data).over(none).evaluate(np.ones((3, 19)), np.zeros(3), get_loss("softmax"))
    assert sums.loss == 0
    assert not sums.weight_gradient.any()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("quadratic", [CentredQuadratic(), DiagonalQuadratic(), StarQuadratic()], ids=repr)
def test_coefficients_in_single_precision(engine: str, quadratic: Any) -> None:
    """They are numbers like those in double precision that are equal to them."""
    data, _, _ = both(stored("C", np.float32), 5)
    coefficients = np.random.default_rng(4).uniform(0, 1, size=(data.n_rows, 5)).astype(np.float32)
    if isinstance(quadratic, StarQuadratic):
        coefficients[np.arange(data.n_rows), data.target] = -1
    W = np.random.default_rng(2).normal(size=(5, data.n_features))
    found = [
        make_engine(engine, TrainingData(data.features, kept, 5)).evaluate(W, np.zeros(5), quadratic, exact=False)
        for kept in (coefficients, coefficients.astype(np.float64))
    ]
    np.testing.assert_allclose(found[0].weight_gradient, found[1].weight_gradient, rtol=1e-5, atol=1e-3)
    if engine == "native":
        np.testing.assert_array_equal(found[0].weight_gradient, found[1].weight_gradient)


def test_choosing_copies_no_features() -> None:
    data, _, _ = both(stored("C", np.float32, rows=20_000, columns=100), 3)
    which = np.arange(0, 20_000, 2)
    tracemalloc.start()
    try:
        chosen = data.subset(which)
        make_engine("auto", data, 1).over(chosen).evaluate(np.ones((3, 100)), np.zeros(3), get_loss("softmax"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    limit = 0.2 if has_native() else 2.2  # the reference widens a block to float64, and here all rows are one
    assert peak < limit * data.features[which].nbytes + (1 << 20)
