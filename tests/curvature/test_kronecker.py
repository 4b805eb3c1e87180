"""The Kronecker metric against the explicitly formed matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature import kronecker as module
from crosshead.curvature.kronecker import KroneckerMetric, build_metric
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss
from crosshead.losses.protocol import Curvature
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet

ALPHA = 0.3


def curvature(rows: int, classes: int, seed: int = 0) -> Curvature:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(rows, classes))
    return get_loss("binary").curvature(scores, np.zeros(rows, dtype=int), np.full(rows, 1 / rows))


def features(rows: int, columns: int) -> Any:
    random = np.random.default_rng([rows, columns])
    return random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) / columns + 2


def built(X: Any, how: Curvature, *, fit_intercept: bool = True) -> tuple[KroneckerMetric, Any]:
    """The metric and the row weights it was given."""
    rows = X.shape[0]
    weight = np.random.default_rng(9).uniform(0.5, 2, size=rows)
    weight /= weight.sum()
    engine = make_engine("auto", TrainingData(X, np.zeros(rows, dtype=np.int32), len(how.classes)))
    return build_metric(engine, how, X, weight, l2_weight=ALPHA, fit_intercept=fit_intercept), weight


def explicit(X: Any, how: Curvature, weight: Any, *, fit_intercept: bool, scale: float = 1.0) -> Any:
    """B ⊗ A / scale + αI on flat W in centred coordinates, B / scale on the bias there; carried back to (W, b)."""
    w = weight * how.rows
    w = w / w.sum()
    C, D = len(how.classes), X.shape[1]
    center = w @ X if fit_intercept else np.zeros(D)
    A = (w[:, None] * (X - center)).T @ (X - center)
    inside = np.zeros((C * (D + 1), C * (D + 1)))
    inside[: C * D, : C * D] = np.kron(how.classes / scale, A) + ALPHA * np.eye(C * D)
    inside[C * D :, C * D :] = how.classes / scale
    if not fit_intercept:
        return inside[: C * D, : C * D]
    # (W, b) → (W, b + W x̄) is linear: b′ = b + (I ⊗ x̄ᵀ) W
    change = np.eye(C * (D + 1))
    change[C * D :, : C * D] = np.kron(np.eye(C), center)
    return change.T @ inside @ change


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("scale", [1.0, 7.0])
@pytest.mark.parametrize("shape", [(50, 6), (6, 6), (9, 30), (1, 4)], ids=str)
def test_solve_inverts_the_explicit_matrix(shape: tuple[int, int], scale: float, fit_intercept: bool) -> None:
    """With at least as many rows as features by A's own eigenbasis, with fewer by that of the rows' inner products."""
    X, how = features(*shape), curvature(shape[0], 4)
    metric, weight = built(X, how, fit_intercept=fit_intercept)
    random = np.random.default_rng(1)
    W, b = random.normal(size=(4, shape[1])), random.normal(size=4)
    step_W, step_b = metric.solve(W, b, scale)
    M = explicit(X, how, weight, fit_intercept=fit_intercept, scale=scale)
    if fit_intercept:
        expected = np.linalg.solve(M, np.concatenate([W.ravel(), b]))
        np.testing.assert_allclose(step_b, expected[4 * shape[1] :], rtol=1e-7, atol=1e-7)
    else:
        expected = np.linalg.solve(M, W.ravel())
        assert not step_b.any()
    np.testing.assert_allclose(step_W.ravel(), expected[: 4 * shape[1]], rtol=1e-7, atol=1e-8)


def test_classes_that_only_matter_by_their_differences() -> None:
    """Softmax's B has the eigenvalue 0; on gradients whose class sums vanish, solve is its pseudo-inverse."""
    X = features(40, 5)
    scores = np.random.default_rng(2).normal(size=(40, 3))
    how = get_loss("softmax").curvature(scores, np.zeros(40, dtype=int), np.full(40, 1 / 40))
    metric, weight = built(X, how)
    random = np.random.default_rng(3)
    W, b = random.normal(size=(3, 5)), random.normal(size=3)
    W, b = W - W.mean(axis=0), b - b.mean()
    expected = np.linalg.pinv(explicit(X, how, weight, fit_intercept=True), rcond=1e-13) @ np.append(W.ravel(), b)
    step_W, step_b = metric.solve(W, b)
    np.testing.assert_allclose(step_W.ravel(), expected[:15], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(step_b - step_b.mean(), expected[15:] - expected[15:].mean(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 5), (12, 40)], ids=str)
@pytest.mark.parametrize("sparsely", [False, True])
def test_it_is_exact_for_the_squared_error(shape: tuple[int, int], sparsely: bool) -> None:
    """All Hessians are alike, so that one step from anywhere solves the whole problem."""
    X = features(*shape)
    stored = sparse.csr_matrix(X) if sparsely else X
    y = (np.arange(shape[0]) % 3).astype(np.int32)
    engine = make_engine("auto", TrainingData(stored, y, 3))
    objective = Objective(engine, get_loss("squared_error"), ElasticNet(0.2))
    start = np.random.default_rng(4).normal(size=objective.size)
    here = objective.evaluate(start)
    W, b = objective.metric(here).solve(*objective.unpack(here.gradient))
    there = objective.evaluate(start - objective.pack(W, b))
    assert np.abs(there.gradient).max() < 1e-9 * np.abs(here.gradient).max()
    assert there.value - there.bound < 1e-9 * there.value


def test_the_basis_of_the_rows_replaces_the_dense_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit of features; with all rows in the basis nothing is lost."""
    X, how = features(80, 30), curvature(80, 3)
    dense, _ = built(X, how)
    monkeypatch.setattr(module, "DENSE_FEATURES", 10)
    basis, _ = built(X, how)
    assert dense.features.matrix is not None
    assert basis.features.matrix is None
    np.testing.assert_allclose(basis.features.diagonal, dense.features.diagonal, rtol=1e-8, atol=1e-10)
    random = np.random.default_rng(5)
    W, b = random.normal(size=(3, 30)), random.normal(size=3)
    for one, other in zip(basis.solve(W, b), dense.solve(W, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sparse_features_are_as_good_as_dense_ones(fit_intercept: bool) -> None:
    X, how = features(80, 30), curvature(80, 3)
    X[X < 1.5] = 0
    dense, _ = built(X, how, fit_intercept=fit_intercept)
    sparsely, _ = built(sparse.csr_matrix(X), how, fit_intercept=fit_intercept)
    random = np.random.default_rng(5)
    W, b = random.normal(size=(3, 30)), random.normal(size=3)
    for one, other in zip(sparsely.solve(W, b), dense.solve(W, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)


def test_many_sparse_features_are_taken_as_unrelated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_FEATURES", 10)
    X, how = features(80, 30), curvature(80, 3)
    X[X < 1.5] = 0
    metric, weight = built(sparse.csr_matrix(X), how)
    w = weight * how.rows / (weight * how.rows).sum()
    variances, B = w @ (X - w @ X) ** 2, how.classes
    random = np.random.default_rng(5)
    W, b = random.normal(size=(3, 30)), random.normal(size=3)
    step_W, step_b = metric.solve(W, b)
    for d in range(30):
        expected = np.linalg.solve(B * variances[d] + ALPHA * np.eye(3), W[:, d] - b * (w @ X)[d])
        np.testing.assert_allclose(step_W[:, d], expected, rtol=1e-9)
    np.testing.assert_allclose(step_b + step_W @ (w @ X), np.linalg.solve(B, b), rtol=1e-9)


def test_part_of_the_rows_keeps_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    X, how = features(80, 100), curvature(80, 3)
    monkeypatch.setattr(module, "BASIS_ROWS", 20)
    metric, weight = built(X, how)
    w = weight * how.rows / (weight * how.rows).sum()
    trace = float((w @ (X - w @ X) ** 2).sum())
    factor = metric.features
    assert len(factor.values) <= 20
    assert factor.values.sum() + factor.rest * (100 - len(factor.values)) == pytest.approx(trace, rel=0.2)
    np.testing.assert_allclose(factor.vectors.T @ factor.vectors, np.eye(len(factor.values)), atol=1e-7)


def test_many_classes_are_taken_as_unrelated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_CLASSES", 3)
    X, how = features(50, 4), curvature(50, 5)
    metric, weight = built(X, how)
    diagonal = Curvature(np.diag(np.diag(how.classes)), how.rows)
    M = explicit(X, diagonal, weight, fit_intercept=True)
    random = np.random.default_rng(6)
    W, b = random.normal(size=(5, 4)), random.normal(size=5)
    expected = np.linalg.solve(M, np.append(W.ravel(), b))
    np.testing.assert_allclose(np.append(*(x.ravel() for x in metric.solve(W, b))), expected, rtol=1e-8)


def test_features_that_never_change_give_finite_steps() -> None:
    X = np.full((20, 3), 7.0)
    metric, _ = built(X, curvature(20, 3))
    W, b = metric.solve(np.ones((3, 3)), np.ones(3))
    assert np.isfinite(W).all()
    assert np.isfinite(b).all()


@pytest.mark.parametrize("classes", [40, 70, 128])
def test_stars_of_very_different_weight_have_eigenvectors(classes: int) -> None:
    """A few rows of hinges: the default of LAPACK's drivers gave up on most of these, with an internal error."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        weight, y = 10 ** random.uniform(-12, 0, 7), random.integers(0, classes, 7)
        matrix = get_loss("hinge").smoothed(2.0).curvature(np.zeros((7, classes)), y, weight / weight.sum()).classes
        matrix *= 0.02
        factor = module.ClassFactor.of(matrix)
        assert factor.vectors is not None
        np.testing.assert_allclose(factor.vectors * factor.values @ factor.vectors.T, matrix, atol=1e-16 * classes)
