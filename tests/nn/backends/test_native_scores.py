"""The native softmax loss of given scores beside the reference implementation, and beside PyTorch in float64."""

import pytest
import torch
from torch.nn import functional as F

from crosshead.nn.backends import native_scores, scores
from crosshead.nn.row_losses import Softmax, Targets, WestonWatkins

pytest.importorskip("crosshead._native")

LOSSES = {
    "plain": Softmax(),
    "smooth": Softmax(0.1),
    "capped": Softmax(0.0, 2.0),
    "z lse": Softmax(0.0, 0.0, 0.01, 1.0),
    "everything": Softmax(0.2, 3.0, 0.02, 1.0),
}
SHAPES = [(1, 1), (1, 17), (5, 16), (7, 252), (3, 2049), (2, 5000), (40, 33)]


def problem_of(shape, dtype, dense, weighted):
    rows, classes = shape
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    z = (3 * torch.randn(rows, classes, dtype=torch.float64)).to(dtype)
    index = torch.randint(classes, (rows,))
    index[0], index[-1] = 0, classes - 1
    q = torch.softmax(torch.randn(rows, classes, dtype=wide), dim=1)
    weight = torch.rand(classes, dtype=wide) + 0.5 if weighted else None
    return z, Targets(classes, None if dense else index, q if dense else None, weight)


def upstream_of(loss, rows, dtype):
    up = torch.linspace(-1, 2, loss.outputs * rows, dtype=torch.float64).reshape(loss.outputs, rows)
    if rows > 1:
        up[:, 1] = 0
    return up.to(torch.float64 if dtype == torch.float64 else torch.float32)


def assert_close(found, wanted, tolerance):
    size = max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=tolerance * size)


def widened(targets):
    parts = [None if t is None else t.double() for t in (targets.dense, targets.class_weight)]
    return Targets(targets.classes, targets.index, *parts)


TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_same_as_reference_in_double(name, shape, dtype):
    loss = LOSSES[name]
    for dense, weighted in ((False, False), (False, True), (True, False), (True, True)):
        z, targets = problem_of(shape, dtype, dense, weighted)
        up = upstream_of(loss, len(z), dtype)
        assert native_scores.supports(loss, z, targets)
        wanted_state, wanted = scores.states_and_gradient(loss, z.double(), widened(targets), up.double())
        state, found = native_scores.states_and_gradient(loss, z, targets, up)
        tolerance = TOLERANCE[dtype]
        value = loss.value(state, targets, None)
        assert_close(value, loss.value(wanted_state, widened(targets), None), min(tolerance, 2e-6))
        assert found.dtype == dtype
        assert_close(found, wanted, tolerance)
        assert torch.equal(native_scores.states(loss, z, targets), state)
        assert_close(native_scores.gradient(loss, z, targets, state, up), wanted, tolerance)


def test_as_pytorch():
    z, targets = problem_of((31, 1717), torch.float64, False, True)
    leaf = z.clone().requires_grad_()
    F.cross_entropy(leaf, targets.index, weight=targets.class_weight, label_smoothing=0.1, reduction="sum").backward()
    up = torch.ones(1, 31, dtype=torch.float64)
    assert_close(native_scores.states_and_gradient(Softmax(0.1), z, targets, up)[1], leaf.grad, 1e-13)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LOSSES)
def test_in_place_gives_the_same_bits(name, dtype):
    loss = LOSSES[name]
    for shape in ((7, 252), (3, 2049), (5, 16)):
        z, targets = problem_of(shape, dtype, False, True)
        up = upstream_of(loss, len(z), dtype)
        state, wanted = native_scores.states_and_gradient(loss, z, targets, up)
        again, found = native_scores.states_and_gradient(loss, z, targets, up, out=z)
        assert found.data_ptr() == z.data_ptr()
        assert_close(found, wanted, 1e-6 if dtype == torch.float32 else TOLERANCE[dtype])
        assert_close(again, state, 1e-6)


def test_strided_scores():
    z, targets = problem_of((9, 100), torch.float32, False, False)
    wide = torch.cat([z, z], dim=1)[:, :100]
    up = upstream_of(LOSSES["plain"], 9, torch.float32)
    found = native_scores.states_and_gradient(LOSSES["plain"], wide, targets, up)[1]
    assert_close(found, native_scores.states_and_gradient(LOSSES["plain"], z, targets, up)[1], 1e-6)


def test_extreme_scores():
    z = torch.tensor([[1e4, -1e4, 0.0], [-torch.inf, 0.0, 1.0], [torch.nan, 0.0, 0.0], [-torch.inf] * 3])
    targets = Targets(3, torch.tensor([0, 2, 1, 1]))
    state, found = native_scores.states_and_gradient(Softmax(), z, targets, torch.ones(1, 4))
    loss = Softmax().value(state, targets, None)[0]
    torch.testing.assert_close(loss, F.cross_entropy(z, targets.index, reduction="none"), equal_nan=True)
    assert torch.equal(found[0], torch.zeros(3))
    assert found[1, 0] == 0


def test_rows_without_upstream_get_zeros():
    z = torch.full((3, 40), torch.nan)
    targets = Targets(40, torch.tensor([0, 1, -1]))
    _, found = native_scores.states_and_gradient(Softmax(), z, targets, torch.zeros(1, 3))
    assert not found.any()


def test_same_bits_for_any_number_of_threads():
    before = torch.get_num_threads()
    try:
        z, targets = problem_of((130, 1501), torch.float32, False, False)
        up = upstream_of(LOSSES["plain"], 130, torch.float32)
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(native_scores.states(LOSSES["plain"], z, targets))
            assert torch.equal(native_scores.gradient(LOSSES["plain"], z, targets, found[0], up),
                               native_scores.gradient(LOSSES["plain"], z, targets, found[-1], up))  # fmt: skip
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
    finally:
        torch.set_num_threads(before)


def test_refuses_openly_what_it_cannot_read():
    z, targets = problem_of((9, 100), torch.float32, False, False)
    assert not native_scores.supports(WestonWatkins(), z, targets)
    assert not native_scores.supports(Softmax(), z.t(), targets)
    assert not native_scores.supports(Softmax(), z[:0], targets)
