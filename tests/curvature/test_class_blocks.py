"""Blocks of each class with itself, against the Hessian written out, and by how many products they spare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.curvature.class_blocks import ClassBlocks, build_blocks
from crosshead.engines import TrainingData, make_engine
from crosshead.losses import get_loss

ROWS, COLUMNS = 120, 6


def data(classes: int, *, sparsely: bool = False, seed: int = 0) -> TrainingData:
    random = np.random.default_rng(seed)
    X = random.normal(size=(ROWS, COLUMNS)) * 10.0 ** random.uniform(-1, 1, COLUMNS) + 1
    y = random.integers(0, classes, ROWS).astype(np.int32)
    return TrainingData(sparse.csr_matrix(X) if sparsely else X, y, classes, random.uniform(0, 2, ROWS))


def blocks_of(
    rows: TrainingData, loss: Any, *, groups: int | None = None, fit_intercept: bool = True, l2: float = 1e-3
) -> tuple[ClassBlocks, Any]:
    """The blocks at random scores, and the whole Hessian (P, P), written out row by row."""
    random = np.random.default_rng(1)
    scores = random.normal(size=(ROWS, rows.n_classes))
    quadratic, coefficients = loss.quadratic(scores, rows.target, 0.0)
    made = build_blocks(
        make_engine("auto", rows),
        quadratic,
        coefficients,
        np.ones(ROWS),
        groups=rows.n_classes if groups is None else groups,
        rows=ROWS,
        l2_weight=l2,
        fit_intercept=fit_intercept,
        shift_invariant=loss.shift_invariant,
        seed=0,
    )
    X = rows.features.toarray() if sparse.issparse(rows.features) else rows.features
    C, extended = rows.n_classes, np.hstack([X, np.ones((ROWS, 1))]) if fit_intercept else X
    width = extended.shape[1]
    hessian = np.zeros((C * width, C * width))
    for i in range(ROWS):
        H = np.column_stack([loss.hessian_product(scores[[i]], rows.target[[i]], e[None])[0] for e in np.eye(C)])
        hessian += rows.weights[i] / rows.total_weight * np.kron(H, np.outer(extended[i], extended[i]))
    charge = np.full((C, width), l2)
    if fit_intercept:
        charge[:, -1] = 0
    return made, hessian + np.diag(charge.ravel())


def flat(weight: Any, bias: Any, fit_intercept: bool) -> Any:
    return (np.hstack([weight, bias[:, None]]) if fit_intercept else weight).ravel()


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("name", ["binary", "squared_error"])
def test_without_a_coupling_they_are_the_hessian(name: str, fit_intercept: bool, sparsely: bool) -> None:
    blocks, hessian = blocks_of(data(3, sparsely=sparsely), get_loss(name), fit_intercept=fit_intercept)
    random = np.random.default_rng(2)
    G, g = random.normal(size=(3, COLUMNS)), random.normal(size=3) * fit_intercept
    step = flat(*blocks.precondition(G, g), fit_intercept)
    np.testing.assert_allclose(hessian @ step, flat(G, g, fit_intercept), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", ["softmax", "squared_hinge"])
def test_two_classes_are_solved_exactly(name: str) -> None:
    """The coupling of two classes is the blocks themselves: −A between them, so that the projected inverse is right."""
    blocks, hessian = blocks_of(data(2), get_loss(name), l2=0.0)
    random = np.random.default_rng(2)
    half, bias = random.normal(size=COLUMNS), random.normal()
    step = flat(*blocks.precondition(np.array([half, -half]), np.array([bias, -bias])), True)
    # Each block alone is half of what the two do together.
    np.testing.assert_allclose(
        hessian @ step / 2, flat(np.array([half, -half]), np.array([bias, -bias]), True), rtol=5e-3
    )


@pytest.mark.parametrize("groups", [1, 3, 9])
@pytest.mark.parametrize("name", ["softmax", "squared_hinge", "binary"])
def test_it_is_symmetric_and_positive(name: str, groups: int) -> None:
    """What conjugate gradients ask of a preconditioner."""
    loss = get_loss(name)
    blocks, _ = blocks_of(data(9), loss, groups=groups)
    random = np.random.default_rng(3)
    vectors = [(random.normal(size=(9, COLUMNS)), random.normal(size=9)) for _ in range(2)]
    if loss.shift_invariant:
        vectors = [(G - G.mean(axis=0), g - g.mean()) for G, g in vectors]
    (G, g), (H, h) = vectors
    left, right = blocks.precondition(G, g), blocks.precondition(H, h)
    one, other = np.vdot(left[0], H) + left[1] @ h, np.vdot(right[0], G) + right[1] @ g
    assert one == pytest.approx(other, rel=1e-6)
    assert np.vdot(left[0], G) + left[1] @ g > 0


def test_classes_without_curvature_get_a_step_by_the_penalty_alone() -> None:
    rows = data(3)
    loss = get_loss("binary")
    scores = np.zeros((ROWS, 3))
    scores[:, 2] = -1e4
    quadratic, coefficients = loss.quadratic(scores, rows.target, 0.0)
    blocks = build_blocks(
        make_engine("auto", rows),
        quadratic,
        coefficients,
        np.ones(ROWS),
        groups=3,
        rows=ROWS,
        l2_weight=0.5,
        fit_intercept=True,
        shift_invariant=False,
        seed=0,
    )
    step, shift = blocks.precondition(np.ones((3, COLUMNS)), np.zeros(3))
    np.testing.assert_allclose(step[2], 2.0, rtol=1e-4)
    assert shift[2] == pytest.approx(0.0, abs=1e-12)


def test_drawn_rows_stand_for_all() -> None:
    """Fewer rows than there are: unbiased, so that the mean over draws is the block of all rows."""
    rows, loss = data(2), get_loss("binary")
    quadratic, coefficients = loss.quadratic(np.random.default_rng(1).normal(size=(ROWS, 2)), rows.target, 0.0)
    steps = []
    for seed in range(40):
        blocks = build_blocks(
            make_engine("auto", rows),
            quadratic,
            coefficients,
            np.ones(ROWS),
            groups=2,
            rows=100,
            l2_weight=1e-3,
            fit_intercept=True,
            shift_invariant=False,
            seed=seed,
        )
        steps.append(blocks.precondition(np.ones((2, COLUMNS)), np.zeros(2))[0])
    whole, _ = blocks_of(rows, loss)
    exact = whole.precondition(np.ones((2, COLUMNS)), np.zeros(2))[0]
    np.testing.assert_allclose(np.mean(steps, axis=0), exact, rtol=0.3, atol=0.1 * np.abs(exact).max())
