"""What an engine runs over is checked once and never copied; the moments of targets and features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from crosshead.engines import ReferenceEngine, TrainingData, has_native, make_engine
from crosshead.engines.moments import weighted_moments

ENGINES = ["reference", pytest.param("native", marks=pytest.mark.skipif(not has_native(), reason="not built"))]


def features(rows: int = 30, columns: int = 4) -> Any:
    return np.random.default_rng(1).normal(size=(rows, columns)) + 2


def labels(rows: int = 30, classes: int = 3) -> Any:
    return np.random.default_rng(2).integers(0, classes, rows).astype(np.int32)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex128, np.dtype(">f8")])
def test_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        TrainingData(features().astype(dtype), labels(), 3)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="30 rows of features but 29 targets"):
        TrainingData(features(), labels(29), 3)
    with pytest.raises(ValueError, match="2 columns for 3 classes"):
        TrainingData(features(), np.full((30, 2), 0.5), 3)
    with pytest.raises(ValueError, match=r"shape \(29,\), not \(30,\)"):
        TrainingData(features(), labels(), 3, np.ones(29))


def test_nothing_is_copied() -> None:
    X, s = features(), np.ones(30)
    data = TrainingData(X, labels(), 3, s)
    assert data.features is X
    assert data.sample_weight is s
    block = data.block(10, 20)
    assert np.shares_memory(block.features, X)
    assert (block.n_rows, block.n_features) == (10, 4)
    taken = data.take(np.array([3, 1]))
    assert not np.shares_memory(taken.features, X)
    np.testing.assert_array_equal(taken.features, X[[3, 1]])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "missing class", "nobody's", "distributions", "fractions", "any numbers"])
@pytest.mark.parametrize("by_class", [False, True])
def test_moments_are_weighted_means(
    by_class: bool, kind: str, weighted: bool, sparsely: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means of whatever the targets are: the balance of squared error needs those of negative ones as well."""
    if by_class:  # as with many classes, in blocks of seven rows
        monkeypatch.setattr("crosshead.engines.moments.MANY_CLASSES", 1)
        monkeypatch.setattr("crosshead.engines.moments.BLOCK_BYTES", 8 * 4 * 7)
    random = np.random.default_rng(3)
    X = features()
    s = random.uniform(size=30) * (random.uniform(size=30) < 0.8) if weighted else None
    target: Any = {
        "labels": labels(),
        "missing class": labels(classes=2),
        "nobody's": labels() - 1,
        "distributions": random.dirichlet(np.ones(3), size=30),
        "fractions": random.uniform(size=(30, 3)),
        "any numbers": random.normal(size=(30, 3)) * 10 - 5,
    }[kind]
    rows = target if target.ndim == 2 else (target[:, None] == np.arange(3)).astype(float)
    share = (np.ones(30) if s is None else s) / (30 if s is None else s.sum())
    store = sparse.csr_matrix if sparsely else np.asarray
    found = weighted_moments(make_engine(engine, TrainingData(store(X), target, 3, s)))
    np.testing.assert_allclose(found.target, share @ rows, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(found.features, share @ X, rtol=1e-13)
    np.testing.assert_allclose(found.target_features, (rows * share[:, None]).T @ X, rtol=1e-12, atol=1e-14)
    assert not np.signbit(found.target[found.target == 0]).any()
    if kind == "missing class":
        assert found.target[2] == 0  # to the last bit: losses ask whether a class has rows


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_the_reference_does_not_depend_on_its_blocks(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosshead.losses import get_loss

    data = TrainingData(features(1000), labels(1000), 3)
    W, b = np.random.default_rng(4).normal(size=(3, 4)), np.zeros(3)
    whole = ReferenceEngine(data).evaluate(W, b, get_loss("softmax"))
    monkeypatch.setattr("crosshead.engines.reference.BLOCK_BYTES", 8 * 3 * rows)
    blocks = ReferenceEngine(data).evaluate(W, b, get_loss("softmax"))
    assert blocks.loss == pytest.approx(whole.loss, rel=1e-13)
    np.testing.assert_allclose(blocks.weight_gradient, whole.weight_gradient, rtol=1e-11)
