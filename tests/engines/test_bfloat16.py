"""bfloat16 passes against the readable engine on the rounded features; and fits that begin with them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from crosshead import LinearClassifier
from crosshead.engines import ReferenceEngine, TrainingData, has_native
from crosshead.losses import LOSSES, get_loss
from crosshead.losses.quadratic import CentredQuadratic

if not has_native():
    pytest.skip("the native engine is not built", allow_module_level=True)

from crosshead import _native
from crosshead.engines import bfloat16
from crosshead.engines.native import NativeEngine

if not _native.has_bfloat16(""):
    pytest.skip("this processor has no bfloat16 products", allow_module_level=True)

SHAPES = [(37, 5, 3), (300, 33, 2), (513, 784, 10), (129, 64, 20), (257, 100, 77), (40, 70, 16), (1100, 31, 49)]
ROUNDING = 2.0**-8  # of bfloat16, relative


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(bfloat16, "MIN_WORK", 0)
    monkeypatch.setattr(bfloat16, "MIN_CLASSES", 0)


def case(rows, features, classes, pixels):
    chance = np.random.default_rng(rows + features)
    if pixels:
        x = (chance.integers(0, 256, (rows, features)) / 255).astype(np.float32)
    else:
        x = chance.standard_normal((rows, features)).astype(np.float32)
    data = TrainingData(x, chance.integers(0, classes, rows).astype(np.int32), classes, chance.random(rows))
    return data, chance.standard_normal((classes, features)) / features**0.5, chance.standard_normal(classes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_rounded_features_on_the_grid(shape, loss):
    """The truth: the readable engine on the rounded features at the rounded weights; residuals are rounded besides."""
    data, weight, bias = case(*shape, pixels=False)
    engine = NativeEngine(data, 2).coarse
    weight = engine.on_grid(weight)
    rounded = TrainingData(bfloat16.to_bfloat16(data.features), data.target, data.n_classes, data.sample_weight)
    compare(engine, ReferenceEngine(rounded), weight, bias, get_loss(loss), 2e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 2)])
@pytest.mark.parametrize("loss", LOSSES)
def test_pixels_are_held_exactly(shape, loss):
    """The truth: the readable engine on the pixels themselves, at any weights; in a copy, as samples have."""
    data, weight, bias = case(*shape, pixels=True)
    engine = bfloat16.BFloat16Passes(data, bfloat16._copy(data, NativeEngine(data, 2)._features, 2), 2, "")
    assert engine.features.split
    compare(engine, ReferenceEngine(data), weight, bias, get_loss(loss), 2e-4)


def compare(engine, truth, weight, bias, loss, tolerance):
    found, wanted = engine.evaluate(weight, bias, loss), truth.evaluate(weight, bias, loss)
    rows = truth.data.weights
    assert found.loss == pytest.approx(wanted.loss, rel=tolerance, abs=tolerance)
    assert found.dual == pytest.approx(wanted.dual, rel=10 * tolerance, abs=10 * tolerance * rows.sum())
    # Each residual is off by at most its own rounding.
    scores = truth.scores(weight, bias, 0, len(rows))
    _, residual = loss.value_and_gradient(scores, truth.data.target)
    size = np.abs(residual * rows[:, None]).T
    most = ROUNDING * size @ np.abs(truth.data.features) + 1e-3 * tolerance * len(rows)
    jumps = 0 if loss.smooth else 2  # a margin on its kink may fall to either side
    assert (np.abs(found.weight_gradient - wanted.weight_gradient) <= most + jumps + 1e-2 * np.sqrt(tolerance)).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_for_any_number_of_threads(threads):
    data, weight, bias = case(5000, 70, 5, pixels=False)
    one, many = (NativeEngine(data, n).coarse.evaluate(weight, bias, get_loss("softmax")) for n in (1, threads))
    assert one.loss == many.loss
    assert np.array_equal(one.weight_gradient, many.weight_gradient)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_order_and_type(order, dtype):
    data, weight, bias = case(300, 33, 4, pixels=True)
    other = TrainingData(np.asarray(data.features, dtype=dtype, order=order), data.target, 4, data.sample_weight)
    wanted = NativeEngine(data, 1).coarse.evaluate(weight, bias, get_loss("softmax"))
    found = NativeEngine(other, 1).coarse.evaluate(weight, bias, get_loss("softmax"))
    assert np.array_equal(found.weight_gradient, wanted.weight_gradient)


def test_no_rounding_where_it_would_not_do():
    data, _, _ = case(300, 33, 4, pixels=False)
    large = data.features.copy()
    large[3, 5] = np.finfo(np.float32).max  # rounds to infinity
    assert NativeEngine(TrainingData(large, data.target, 4), 1).coarse is None
    assert NativeEngine(TrainingData(np.asfortranarray(large), data.target, 4), 1).coarse is None
    assert NativeEngine(data.subset(np.array([3, 4])), 1).coarse is not None
    large[3, 5] = 3.3e38
    assert NativeEngine(TrainingData(large, data.target, 4), 1).coarse is not None
    large[299, 32] = np.nan
    assert NativeEngine(TrainingData(large.astype(np.float64), data.target, 4), 1).coarse is None
    assert NativeEngine(data, 1, precision="full").coarse is None
    assert NativeEngine(data, 1, "plain").coarse is None


def test_rounded_rows_are_for_passes_alone():
    data, weight, bias = case(300, 33, 4, pixels=False)
    features = NativeEngine(data, 1).coarse.features
    with pytest.raises(ValueError, match="scores are for float features"):
        _native.scores("", features, 0, 1, weight, bias, 1, np.empty((1, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="choose among the rows of float features"):
        _native.chosen_rows(features, np.arange(3))
    with pytest.raises(ValueError, match="dense float features"):
        _native.rounded_features(features, 1)


@pytest.mark.parametrize("features", [31, 65, 784])
@pytest.mark.parametrize("classes", [11, 40])
def test_rounding_on_the_way_gives_the_bits_of_a_copy(features, classes):
    data, weight, bias = case(1_101, features, classes, pixels=False)
    engine = NativeEngine(data, 2)
    copy = bfloat16.BFloat16Passes(data, bfloat16._copy(data, engine._features, 2), 2, "")
    assert not copy.features.split
    weight = copy.on_grid(weight)
    wanted = copy.evaluate(weight, bias, get_loss("softmax"))
    found = engine.coarse.evaluate(weight, bias, get_loss("softmax"))
    assert found.loss == wanted.loss
    np.testing.assert_array_equal(found.gradient, wanted.gradient)


def test_no_copy_of_all_rows_is_held():
    data, weight, bias = case(20000, 96, 3, pixels=False)
    tracemalloc.start()
    try:
        NativeEngine(data, 1).coarse.evaluate(weight, bias, get_loss("softmax"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 0.02 * data.features.nbytes


def test_a_unit_that_only_the_sample_has():
    data, _, _ = case(700, 9, 3, pixels=True)
    held = bfloat16._copy(data, NativeEngine(data, 1)._features, 1)
    assert held.split
    data.features[1, 2] = 0.123456  # a row that the sample of every second leaves out
    assert bfloat16.common_unit(data.features) is not None
    assert not bfloat16._copy(data, NativeEngine(data, 1)._features, 1).split


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("loss", ["softmax", "squared_hinge", "binary", "squared_error"])
def test_the_same_optimum_and_certificate(pixels, l1_ratio, loss):
    data, _, _ = case(2000, 40, 4, pixels)
    fits = {
        precision: LinearClassifier(loss, alpha=1e-2, l1_ratio=l1_ratio, tol=1e-5, precision=precision).fit(
            data.features, data.target
        )
        for precision in ("auto", "full")
    }
    assert fits["auto"].status_ == fits["full"].status_ == "converged"
    assert fits["auto"].objective_ == pytest.approx(fits["full"].objective_, rel=1e-5)
    exact = ReferenceEngine(TrainingData(data.features, data.target, 4)).evaluate(
        fits["auto"].coef_, fits["auto"].intercept_, get_loss(loss)
    )
    weight = fits["auto"].coef_
    charge = 1e-2 * (l1_ratio * np.abs(weight).sum() + (1 - l1_ratio) / 2 * (weight**2).sum())
    assert fits["auto"].objective_ == pytest.approx(exact.loss / 2000 + charge, rel=1e-12)


def sample(classes: int, *, pixels: bool):
    """Chosen rows with coefficients, enough of them for a copy."""
    data, weight, _ = case(15_100, 260, classes, pixels=pixels)
    rows = np.random.default_rng(0).permutation(15_100)[:3001]
    chosen = data.subset(rows)
    coefficients = np.random.default_rng(1).dirichlet(np.ones(classes), 3001).astype(np.float32)
    return data, TrainingData(chosen.features, coefficients, classes, chosen.sample_weight), weight


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("classes", [11, 40])
def test_products_that_steer_are_near_the_others(classes, pixels, monkeypatch):
    """With few classes on a copy of the rows, with many on the rows themselves."""
    monkeypatch.setattr(bfloat16, "MIN_CLASSES", 32)
    data, rows, weight = sample(classes, pixels=pixels)
    engine = NativeEngine(data, 2)
    steering, plain = engine.inexact_over(rows), engine.over(rows)
    assert steering._inexact_passes is not None
    bias = np.linspace(-1, 1, classes)
    found = steering.evaluate(weight, bias, CentredQuadratic(), exact=False).weight_gradient
    wanted = plain.evaluate(weight, bias, CentredQuadratic(), exact=False).weight_gradient
    assert 0 < np.linalg.norm(found - wanted) < 0.01 * np.linalg.norm(wanted)
    one = NativeEngine(data, 1).inexact_over(rows).evaluate(weight, bias, CentredQuadratic(), exact=False)
    np.testing.assert_array_equal(one.weight_gradient, found)
    exact = [which.evaluate(weight, bias, CentredQuadratic()).weight_gradient for which in (steering, plain)]
    np.testing.assert_array_equal(*exact)


def test_products_that_are_not_rounded(monkeypatch):
    monkeypatch.setattr(bfloat16, "MIN_CLASSES", 32)
    data, rows, _ = sample(11, pixels=True)
    assert NativeEngine(data, 2, precision="full").inexact_over(rows)._inexact_passes is None
    assert NativeEngine(data, 2, "plain").inexact_over(rows)._inexact_passes is None
    few = TrainingData(rows.features[:100], rows.target[:100], 11)
    assert NativeEngine(data, 2).inexact_over(few)._inexact_passes is None
    assert NativeEngine(data.take(np.arange(15_000)), 2).inexact_over(rows)._inexact_passes is None  # more than a fifth
    _, many, _ = sample(40, pixels=True)
    assert (
        NativeEngine(data.take(np.arange(15_000)), 2).inexact_over(many)._inexact_passes is not None
    )  # nothing is copied
    double = TrainingData(rows.features[:].astype(np.float64), rows.target, 11)
    assert NativeEngine(double, 2).inexact_over(double)._inexact_passes is None


@pytest.mark.parametrize("exact", [True, False])
def test_as_many_slots_as_threads_give_the_same_bits(exact):
    """Of large W each thread has room for one chunk's gradient alone, and waits its turn to add it."""
    data, weight, bias = case(4_100, 300, 900, pixels=False)
    loss = get_loss("softmax")
    one, *others = (NativeEngine(data, n).evaluate(weight, bias, loss, exact=exact) for n in (1, 2, 3, 7))
    for other in others:
        assert other.loss == one.loss
        np.testing.assert_array_equal(other.gradient, one.gradient)
