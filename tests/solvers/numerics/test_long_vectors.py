"""Vectors kept in single precision, and a memory of such pairs beside one in double precision."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from crosshead.solvers.methods.lbfgs import Memory
from crosshead.solvers.numerics import long_vectors
from crosshead.solvers.numerics.long_vectors import LONG, add_multiple, dot, remembered

ODD = LONG + 12_345  # no multiple of a part


def test_products_and_sums_round_once() -> None:
    random = np.random.default_rng(0)
    vector, other = random.normal(size=(2, ODD))
    kept = remembered(vector)
    assert kept.nbytes == 4 * ODD
    wide = kept.astype(np.float64)
    assert dot(kept, other) == pytest.approx(float(wide @ other), rel=1e-9, abs=1e-9)
    total = other.copy()
    add_multiple(kept, -2.5, total)
    np.testing.assert_allclose(total, other - 2.5 * wide, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e35, np.inf])
def test_what_single_precision_would_lose_stays_double(scale: float) -> None:
    vector = np.full(ODD, scale)
    assert remembered(vector) is vector
    assert remembered(-vector).dtype == np.float64


def test_short_vectors_stay_as_they_are() -> None:
    vector, total = np.arange(5.0), np.ones(5)
    assert remembered(vector) is vector
    assert dot(vector, np.ones(5)) == 10
    add_multiple(vector, 3.0, total)
    assert total.tolist() == [1, 4, 7, 10, 13]


class Scaled:
    """An initial curvature of 1/4 everywhere."""

    def apply(self, objective: Any, vector: Any) -> Any:
        return vector / 4

    def match(self, objective: Any, step: Any, change: Any) -> Scaled:
        assert step.dtype == change.dtype
        return self


def test_the_direction_hardly_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inverse of a diagonal Hessian, learnt along the same steps from pairs of either precision."""
    random = np.random.default_rng(1)
    diagonal = random.uniform(1, 10, size=500)
    steps, gradient = random.normal(size=(9, 500)), random.normal(size=500)
    found = []
    for least in (1, 501):
        monkeypatch.setattr(long_vectors, "LONG", least)
        memory = Memory(Scaled(), deque(maxlen=8))  # type: ignore[arg-type]
        for step in steps:
            memory.add(None, step, diagonal * step)  # type: ignore[arg-type]
        found.append(memory.direction(None, gradient))  # type: ignore[arg-type]
        assert memory.pairs[0][0].dtype == (np.float32 if least == 1 else np.float64)
        # The secant equation of the last pair: the change of the gradient leads back to the step.
        back = memory.direction(None, -diagonal * steps[-1])  # type: ignore[arg-type]
        np.testing.assert_allclose(back, steps[-1], atol=1e-5)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6 * np.abs(found[1]).max())
