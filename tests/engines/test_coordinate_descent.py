"""Coordinate descent on the quadratic model: the kernel, its reference implementation, and the minimum itself."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from crosshead.engines.coordinate_descent import QuadraticModel, coordinate_descent, descend

KINDS = ["dense", "diagonal classes", "diagonal features", "both diagonal"]


def model(
    kind: str, seed: int, *, classes: int = 3, columns: int = 5, rank: int = 2, l1: float = 0.3
) -> QuadraticModel:
    random = np.random.default_rng(seed)
    half_b, half_a = random.normal(size=(classes, classes)), random.normal(size=(columns, columns))
    B, A = half_b @ half_b.T + np.eye(classes), half_a @ half_a.T + np.eye(columns)
    if kind in ("diagonal classes", "both diagonal"):
        B = np.diag(B).copy()
    if kind in ("diagonal features", "both diagonal"):
        A = np.diag(A).copy()
    weight = random.normal(size=(classes, columns)) * (random.uniform(size=(classes, columns)) < 0.6)
    Q = 0.1 * random.normal(size=(classes * columns, rank))
    K = np.diag(random.uniform(0.1, 1, size=rank))
    penalties = np.full(columns, l1)
    penalties[-1] = 0.0  # as the bias's
    ridge = np.full(columns, 0.05)
    return QuadraticModel(weight, random.normal(size=(classes, columns)), B, A, penalties, ridge, Q, Q @ K)


def value(of: QuadraticModel, step: Any) -> float:
    """The model's formula, on explicit matrices."""
    B = of.class_matrix if of.class_matrix.ndim == 2 else np.diag(of.class_matrix)
    A = of.feature_matrix if of.feature_matrix.ndim == 2 else np.diag(of.feature_matrix)
    s = step.ravel()
    quadratic = np.vdot(step, B @ step @ A) + (of.l2 * step**2).sum() - s @ of.low_rank @ (of.low_rank_scaled.T @ s)
    return float(np.vdot(of.gradient, step) + quadratic / 2 + (of.l1 * np.abs(of.weight + step)).sum())


def hessian(of: QuadraticModel) -> Any:
    B = of.class_matrix if of.class_matrix.ndim == 2 else np.diag(of.class_matrix)
    A = of.feature_matrix if of.feature_matrix.ndim == 2 else np.diag(of.feature_matrix)
    return np.kron(B, A) + np.diag(np.tile(of.l2, len(B))) - of.low_rank @ of.low_rank_scaled.T


def distance_to_optimality(of: QuadraticModel, step: Any) -> float:
    """How far zero is from the subdifferential, entry by entry."""
    slope = of.gradient + (hessian(of) @ step.ravel()).reshape(step.shape)
    after = of.weight + step
    at_zero = np.maximum(np.abs(slope) - of.l1, 0)
    return float(np.abs(np.where(after == 0, at_zero, slope + of.l1 * np.sign(after))).max())


@pytest.mark.skipif(importlib.util.find_spec("crosshead._native") is None, reason="the native engine is not built")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 0), (2, 1, 1), (3, 5, 2), (1, 7, 3), (17, 4, 6)], ids=str)
def test_the_kernel_equals_its_twin(kind: str, shape: tuple[int, int, int]) -> None:
    classes, columns, rank = shape
    for seed in range(4):
        of = model(kind, seed, classes=classes, columns=columns, rank=rank)
        for tolerance, most in ((1e-2, 60), (1e-6, 60), (1e-2, 1), (1e-9, 3)):
            (fast, _), (readable, _) = coordinate_descent(of, tolerance, most), descend(of, tolerance, most)
            np.testing.assert_allclose(fast, readable, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(of.weight + fast == 0, of.weight + readable == 0)


@pytest.mark.parametrize("solve", [coordinate_descent, descend])
@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_the_minimum(kind: str, solve: Any) -> None:
    for seed in range(3):
        of = model(kind, seed)
        assert np.linalg.eigvalsh(hessian(of))[0] > 0  # so that there is one minimum, and its conditions suffice
        found, _ = solve(of, 1e-10, 500)
        assert distance_to_optimality(of, found) < 1e-7
        start, lowest, rough = value(of, 0 * found), value(of, found), value(of, solve(of, 1e-2, 60)[0])
        assert lowest - 1e-12 <= rough <= lowest + 1e-2 * (start - lowest)


@pytest.mark.parametrize("solve", [coordinate_descent, descend])
def test_zeros_are_exact(solve: Any) -> None:
    of = model("dense", 1, l1=100.0)
    after = of.weight + solve(of, 1e-8, 100)[0]
    assert not after[:, :-1].any()
    assert after[:, -1].all()  # not penalised


@pytest.mark.parametrize("solve", [coordinate_descent, descend])
def test_a_column_without_curvature(solve: Any) -> None:
    """The loss does not see a constant column; the penalty takes its weight away."""
    of = model("diagonal features", 2, rank=0)
    A, ridge, gradient = of.feature_matrix.copy(), of.l2.copy(), of.gradient.copy()
    A[1], ridge[1], gradient[:, 1] = 0.0, 0.0, 0.0
    flat = QuadraticModel(of.weight, gradient, of.class_matrix, A, of.l1, ridge, of.low_rank, of.low_rank_scaled)
    step, _ = solve(flat, 1e-6, 100)
    np.testing.assert_array_equal(flat.weight[:, 1] + step[:, 1], 0)
    assert np.isfinite(step).all()
