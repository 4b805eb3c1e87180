"""The Hessian as a matrix: against products summed row by row, and its solutions against those of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosshead.curvature.dense_hessian import dense_hessian
from crosshead.engines.data import TrainingData
from crosshead.losses import get_loss

CASES = [
    (loss, classes, intercept)
    for loss in ("softmax", "squared_hinge", "binary", "squared_error")
    for classes in (2, 5)
    for intercept in (True, False)
]


def problem(loss_name: str, classes: int, *, rows: int = 31, columns: int = 3) -> tuple[Any, ...]:
    random = np.random.default_rng(classes)
    loss = get_loss(loss_name)
    features = random.normal(size=(rows, columns)) + 5.0
    data = TrainingData(
        features, random.integers(0, classes, rows).astype(np.int32), classes, random.uniform(0, 2, size=rows)
    )
    scores = random.normal(size=(rows, classes))
    quadratic, coefficients = loss.quadratic(scores, data.target, 0.0)
    return loss, data, scores, quadratic, coefficients


def by_rows(loss: Any, data: Any, scores: np.ndarray, intercept: bool) -> np.ndarray:
    """∇²L on (W, b), column by column."""
    classes, columns = scores.shape[1], data.features.shape[1]
    share = data.sample_weight / data.sample_weight.sum()
    out = []
    for k in range(classes * (columns + 1)):
        direction = np.zeros(classes * (columns + 1))
        direction[k] = 1.0
        weight, bias = direction[: classes * columns].reshape(classes, columns), direction[classes * columns :]
        product = loss.hessian_product(scores, data.target, data.features @ weight.T + bias * intercept)
        product = product * share[:, None]
        out.append(np.concatenate([(product.T @ data.features).ravel(), product.sum(axis=0) * intercept]))
    return np.array(out).T


@pytest.mark.parametrize(("loss_name", "classes", "intercept"), CASES)
def test_products_are_those_of_the_rows(loss_name: str, classes: int, intercept: bool) -> None:
    loss, data, scores, quadratic, coefficients = problem(loss_name, classes)
    hessian = dense_hessian(
        data, quadratic, coefficients, fit_intercept=intercept, shift_invariant=loss.shift_invariant
    )
    expected = by_rows(loss, data, scores, intercept)
    direction = np.random.default_rng(1).normal(size=len(expected))
    if not intercept:
        direction[-classes:] = 0.0
    found = hessian.multiply(direction)
    used = len(expected) if intercept else len(expected) - classes
    np.testing.assert_allclose(found[:used], (expected @ direction)[:used], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("loss_name", "classes", "intercept"), CASES)
def test_solutions_are_those_of_the_whole_matrix(loss_name: str, classes: int, intercept: bool) -> None:
    loss, data, scores, quadratic, coefficients = problem(loss_name, classes)
    hessian = dense_hessian(
        data, quadratic, coefficients, fit_intercept=intercept, shift_invariant=loss.shift_invariant
    )
    split = classes * data.features.shape[1]
    random = np.random.default_rng(2)
    diagonal = 10.0 ** random.uniform(-6, 3, size=split)
    right = random.normal(size=split + classes)
    if loss.shift_invariant:
        right[split:] -= right[split:].mean()
    matrix = by_rows(loss, data, scores, intercept)
    matrix[np.arange(split), np.arange(split)] += diagonal
    used = len(matrix) if intercept else split
    expected = np.linalg.lstsq(matrix[:used, :used], right[:used])[0]
    found = hessian.solve(diagonal, right)
    assert found is not None
    np.testing.assert_allclose(found[:used], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_a_diagonal_keeps_its_digits_where_rows_are_all_but_sure() -> None:
    """1 − p of 1e-13 is curvature too: p(1 − p) from p alone would have three digits."""
    data = TrainingData(np.ones((1, 1)), np.zeros(1, dtype=np.int32), 2)
    quadratic, coefficients = get_loss("softmax").quadratic(np.array([[30.0, 0.0]]), data.target, 0.0)
    hessian = dense_hessian(data, quadratic, coefficients, fit_intercept=False, shift_invariant=True)
    exact = np.exp(-30.0) / (1 + np.exp(-30.0)) ** 2
    np.testing.assert_allclose(hessian.multiply(np.array([1.0, 0.0, 0.0, 0.0]))[:2], [exact, -exact], rtol=1e-12)
