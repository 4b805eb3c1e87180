"""Passes that move residuals: native kernels against the reference, and what a moved residual is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import TrainingData, has_native
from crosshead.engines.protocol import ResidualMove
from crosshead.engines.reference import ReferenceEngine
from crosshead.losses import LOSSES, get_loss

if has_native():
    from crosshead import _native
    from crosshead.engines.native import NativeEngine

INSTRUCTION_SETS = (
    [isa for isa in ("plain", "avx2", "avx512") if _native.has_instruction_set(isa)] if has_native() else []
)
ROWS, COLUMNS = 83, 7


def rows(
    classes: int, *, csr: bool = False, dtype: Any = np.float64, soft: bool = False, weighted: bool = True
) -> TrainingData:
    random = np.random.default_rng(classes)
    X = random.normal(size=(ROWS, COLUMNS)) * (random.uniform(size=(ROWS, COLUMNS)) < 0.7)
    target: Any = random.integers(0, classes, ROWS).astype(np.int32)
    if soft:
        target = random.dirichlet(np.ones(classes), size=ROWS)
    weight = random.uniform(0, 3, ROWS) if weighted else None
    X = X.astype(dtype)
    return TrainingData(sparse.csr_matrix(X) if csr else X, target, classes, weight)


def inside(loss: Any, data: TrainingData, seed: int) -> Any:
    """Residuals in the domain of the loss's conjugate."""
    random = np.random.default_rng(seed)
    residual = random.normal(size=(data.n_rows, data.n_classes))
    loss.clip_to_domain(residual, data.target)
    return residual


def beyond(loss: Any, data: TrainingData) -> Any:
    """Residuals outside it, as reflections are."""
    return 2 * inside(loss, data, 0) - inside(loss, data, 1)


def parameters(classes: int) -> tuple[Any, Any]:
    random = np.random.default_rng(classes + 1)
    return random.normal(size=(classes, COLUMNS)), random.normal(size=classes)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("classes", [2, 5, 16, 37])
@pytest.mark.parametrize("name", LOSSES)
def test_the_kernels_are_the_reference(name: str, classes: int, isa: str) -> None:
    loss, (W, b) = get_loss(name), parameters(classes)
    for csr in (False, True):
        for dtype in (np.float64, np.float32):
            for anchored in (False, True):
                data = rows(classes, csr=csr, dtype=dtype, weighted=anchored)
                before = beyond(loss, data) if anchored else inside(loss, data, 0)
                anchor = inside(loss, data, 1) if anchored else None
                moves = [ResidualMove(before.copy(), 0.7, anchor, 0.6 if anchored else 1.0) for _ in range(2)]
                truth = ReferenceEngine(data).move_residuals(moves[0], W, b, loss)
                found = NativeEngine(data, 2, isa).move_residuals(moves[1], W, b, loss)
                near = {"rtol": 1e-9, "atol": 1e-9}
                np.testing.assert_allclose(moves[1].residual, moves[0].residual, **near)
                np.testing.assert_allclose(found.weight_gradient, truth.weight_gradient, **near)
                np.testing.assert_allclose(found.bias_gradient, truth.bias_gradient, **near)
                for sum_of in ("dual", "distance", "travelled"):
                    assert getattr(found, sum_of) == pytest.approx(getattr(truth, sum_of), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("engine", ["reference", *INSTRUCTION_SETS])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", ["softmax", "binary", "squared_error", "squared_hinge"])
def test_a_moved_residual_is_the_gradient_at_the_scores_it_leaves(name: str, soft: bool, engine: str) -> None:
    """r′ = ∇ℓ(u) at u = z − q(r′ − r), to a tenth of where it began."""
    loss, classes = get_loss(name), 4
    if soft and not loss.accepts_probabilities:
        pytest.skip("this loss needs labels")
    data, (W, b), q = rows(classes, soft=soft), parameters(classes), 1.3
    before = beyond(loss, data)
    move = ResidualMove(before.copy(), q)
    made = ReferenceEngine(data) if engine == "reference" else NativeEngine(data, 1, engine)
    sums = made.move_residuals(move, W, b, loss)
    scores, after = data.features @ W.T + b, move.residual
    error = loss.value_and_gradient(scores - q * (after - before), data.target)[1] - after
    first = loss.value_and_gradient(scores, data.target)[1] - before
    assert (np.abs(error).max(axis=1) <= 0.15 * np.abs(first).max(axis=1) + 1e-9).all()
    s = data.weights
    assert sums.dual == pytest.approx(-float(s @ loss.conjugate(after, data.target)), rel=1e-9)
    assert sums.distance == pytest.approx(float(s @ np.square(after - before).sum(axis=1)), rel=1e-9)
    np.testing.assert_allclose(sums.weight_gradient, (after * s[:, None]).T @ data.features, atol=1e-9)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_the_threads_change_no_bit_and_single_precision_little(isa: str) -> None:
    loss, (W, b) = get_loss("crammer_singer"), parameters(9)
    random = np.random.default_rng(3)
    X = random.normal(size=(5000, COLUMNS)).astype(np.float32)
    data = TrainingData(X, random.integers(0, 9, 5000).astype(np.int32), 9)
    found = []
    for threads, exact in ((1, True), (3, True), (2, False)):
        move = ResidualMove(np.zeros((5000, 9)), 0.5)
        found.append((NativeEngine(data, threads, isa).move_residuals(move, W, b, loss, exact=exact), move.residual))
    (one, residual), (other, same), (single, near) = found
    assert one.dual == other.dual
    assert (one.weight_gradient == other.weight_gradient).all()
    assert (residual == same).all()
    np.testing.assert_allclose(near, residual, atol=1e-4)
    np.testing.assert_allclose(single.weight_gradient, one.weight_gradient, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("engine", ["reference", *INSTRUCTION_SETS])
def test_scores_that_are_no_numbers_move_nothing_and_give_no_bound(engine: str) -> None:
    loss, (W, b) = get_loss("hinge"), parameters(3)
    data = rows(3)
    made = ReferenceEngine(data) if engine == "reference" else NativeEngine(data, 1, engine)
    W[0, 0] = np.inf
    before = inside(loss, data, 0)
    move = ResidualMove(before.copy(), 1.0)
    with np.errstate(invalid="ignore"):
        sums = made.move_residuals(move, W, b, loss)
    lost = data.features[:, 0] != 0
    assert lost.any()
    assert np.isnan(sums.dual)
    assert (move.residual[lost] == before[lost]).all()


@pytest.mark.parametrize("engine", ["reference", *INSTRUCTION_SETS])
@pytest.mark.parametrize("name", LOSSES)
def test_moved_residuals_lie_in_the_domain_however_steep_rows_are(name: str, engine: str) -> None:
    """Else their dual value would be no bound."""
    loss = get_loss(name)
    for classes in (3, 20):
        data, (W, b) = rows(classes), parameters(classes)
        for q in (1e-3, 1e3, 1e6):
            move = ResidualMove(beyond(loss, data), q)
            made = ReferenceEngine(data) if engine == "reference" else NativeEngine(data, 1, engine)
            sums = made.move_residuals(move, 10 * W, 10 * b, loss)
            value = -loss.conjugate(move.residual, data.target)
            assert np.isfinite(value).all()
            assert sums.dual == pytest.approx(float(data.weights @ value), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("engine", ["reference", *INSTRUCTION_SETS])
@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_moved_residuals_of_kinks_are_the_nearest_to_a_step_along_the_scores(name: str, engine: str) -> None:
    """r′ is the projection of r + m/q, less of margins: no point of the domain lies in its direction from there."""
    loss, classes, q = get_loss(name), 6, 0.4
    data, (W, b) = rows(classes), parameters(classes)
    before = beyond(loss, data)
    move = ResidualMove(before.copy(), q)
    made = ReferenceEngine(data) if engine == "reference" else NativeEngine(data, 1, engine)
    made.move_residuals(move, W, b, loss)
    margins = np.ones((data.n_rows, classes))
    margins[np.arange(data.n_rows), data.target] = 0.0
    slope = data.features @ W.T + b + margins - q * (move.residual - before)  # of what r′ maximises; ℓ* is linear
    for seed in range(20):
        other = inside(loss, data, seed)
        assert ((slope * (other - move.residual)).sum(axis=1) <= 1e-9).all()
