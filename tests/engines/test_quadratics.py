"""Hessian products by the native engine: the quadratic losses against their readable twins."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import ReferenceEngine, TrainingData
from crosshead.losses.quadratic import CentredQuadratic, DiagonalQuadratic, StarQuadratic

if importlib.util.find_spec("crosshead._native") is None:
    pytest.skip("the native engine is not built", allow_module_level=True)

from crosshead.engines.native import NativeEngine


def coefficients(quadratic: Any, rows: int, classes: int) -> Any:
    random = np.random.default_rng([rows, classes])
    values = random.uniform(size=(rows, classes)) * (random.uniform(size=(rows, classes)) < 0.7)
    if isinstance(quadratic, StarQuadratic):
        values[np.arange(rows), random.integers(0, classes, rows)] = -1
    return values


@pytest.mark.parametrize("quadratic", [CentredQuadratic(), DiagonalQuadratic(), StarQuadratic()], ids=repr)
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 5, 3), (63, 7, 33), (130, 40, 2)], ids=str)
@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_products_are_those_of_the_twin(
    quadratic: Any, shape: tuple[int, int, int], sparsely: bool, exact: bool
) -> None:
    rows, columns, classes = shape
    random = np.random.default_rng(shape)
    X = random.normal(size=(rows, columns)).astype(np.float32)
    stored = sparse.csr_matrix(X) if sparsely else X
    data = TrainingData(stored, coefficients(quadratic, rows, classes), classes, random.uniform(0.5, 2, rows))
    W, b = random.normal(size=(classes, columns)), random.normal(size=classes)
    expected = ReferenceEngine(data).evaluate(W, b, quadratic)
    found = NativeEngine(data, 2).evaluate(W, b, quadratic, exact=exact)
    tolerance = 1e-12 if exact else 1e-5
    size = max(1.0, float(np.abs(expected.weight_gradient).max()))
    np.testing.assert_allclose(found.weight_gradient, expected.weight_gradient, atol=tolerance * size)
    np.testing.assert_allclose(found.bias_gradient, expected.bias_gradient, atol=tolerance * size)
    assert found.surrogate == pytest.approx(expected.surrogate, rel=tolerance, abs=tolerance)


def test_labels_are_no_coefficients() -> None:
    data = TrainingData(np.ones((3, 2)), np.zeros(3, dtype=np.int32), 2)
    with pytest.raises(ValueError, match="a quadratic needs coefficients for each row"):
        NativeEngine(data).evaluate(np.ones((2, 2)), np.ones(2), CentredQuadratic())
