"""When the curvature is estimated again, and the share of that at zero scores."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crosshead.solvers.initial_curvature import (
    ENOUGH_PARAMETERS,
    FIRST_SHARE,
    INTERVAL,
    LONGEST_INTERVAL,
    MIN_SCALE,
    SHARE_FACTOR,
    InexactNewton,
    Renewal,
)


def due_iterations(renewal: Renewal, iterations: int, evaluations: int, interval: float | None = None) -> list[int]:
    """The iterations before which a new estimate is due, when each takes so many evaluations."""
    due = []
    for iteration in range(iterations):
        if renewal.due(interval):
            due.append(iteration)
        renewal.count(evaluations)
    return due


def test_looks_grow_rarer() -> None:
    due = due_iterations(Renewal(), 200, 1)
    assert due[0] == INTERVAL
    gaps = [after - before for before, after in pairwise(due)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_INTERVAL


def test_unit_steps_lower_the_share_and_long_searches_raise_it() -> None:
    renewal = Renewal()
    due_iterations(renewal, INTERVAL + 1, 1)
    assert renewal.share == FIRST_SHARE  # the first look tells little
    due_iterations(renewal, 2 * INTERVAL, 1)
    assert renewal.share == FIRST_SHARE / SHARE_FACTOR
    estimates = renewal.estimates
    due_iterations(renewal, INTERVAL + 1, 4)
    assert renewal.estimates > estimates  # at once, not only when it was due
    assert renewal.share == FIRST_SHARE


def test_what_costs_some_passes_is_looked_at_again_after_so_many() -> None:
    assert due_iterations(Renewal(), 31, 1, interval=9.5) == [10, 20, 30]
    assert due_iterations(Renewal(), 16, 2, interval=9.5) == [5, 10, 15]
    assert not Renewal().blocks_failed


def test_long_searches_say_that_the_going_is_rough() -> None:
    renewal = Renewal()
    due_iterations(renewal, 20, 1, interval=5)
    assert not renewal.blocks_failed
    due_iterations(renewal, 20, 2, interval=5)
    assert renewal.blocks_failed


def test_the_share_is_never_more_than_all() -> None:
    renewal = Renewal()
    due_iterations(renewal, 100, 5)
    assert renewal.share == 1.0


@dataclass
class Isotropic:
    """A model whose curvature is the same in every direction."""

    size: float
    n_rows: int

    def multiply(self, direction: Any) -> Any:
        return self.size * direction

    def precondition(self, vector: Any) -> Any:
        return vector / self.size


PARAMETERS = 160
PLAIN: Any = SimpleNamespace(size=PARAMETERS, without_shift=lambda step: step)


@pytest.mark.parametrize(("truth", "scale"), [(4.0, 0.25), (1.0, 1.0), (0.5, 1.0), (1000.0, MIN_SCALE)])
def test_few_rows_are_held_to_what_all_rows_said(truth: float, scale: float) -> None:
    """The curvature met along the last step was ``truth``; the model says 1, and may only be found too small."""
    step = np.random.default_rng(0).normal(size=PARAMETERS)
    known = InexactNewton(Isotropic(1.0, PARAMETERS // ENOUGH_PARAMETERS - 1), 0.1, 10)
    fitted = known.match(PLAIN, step, truth * step)
    np.testing.assert_allclose(fitted.apply(PLAIN, step.copy()), scale * step, rtol=1e-12)
    again = fitted.match(PLAIN, step, step)  # each time from the model as it is
    np.testing.assert_allclose(again.apply(PLAIN, step.copy()), step, rtol=1e-12)


def test_enough_rows_are_believed() -> None:
    step = np.random.default_rng(0).normal(size=PARAMETERS)
    known = InexactNewton(Isotropic(1.0, PARAMETERS // ENOUGH_PARAMETERS), 0.1, 10)
    assert known.match(PLAIN, step, 4.0 * step) is known
