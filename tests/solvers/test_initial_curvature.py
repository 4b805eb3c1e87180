"""When the curvature is looked at again, and how much of the origin's is mixed in."""

from __future__ import annotations

from itertools import pairwise

from crosshead.solvers.initial_curvature import FIRST_SHARE, INTERVAL, LONGEST_INTERVAL, SHARE_FACTOR, Renewal


def walk(renewal: Renewal, iterations: int, evaluations: int) -> list[int]:
    """The iterations, of so many that each take so many evaluations, before which a look is due."""
    due = []
    for iteration in range(iterations):
        if renewal.due():
            due.append(iteration)
        renewal.count(evaluations)
    return due


def test_looks_grow_rarer() -> None:
    due = walk(Renewal(), 200, 1)
    assert due[0] == INTERVAL
    gaps = [after - before for before, after in pairwise(due)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_INTERVAL


def test_unit_steps_lower_the_share_and_long_searches_raise_it() -> None:
    renewal = Renewal()
    walk(renewal, INTERVAL + 1, 1)
    assert renewal.share == FIRST_SHARE  # the first look tells little
    walk(renewal, 2 * INTERVAL, 1)
    assert renewal.share == FIRST_SHARE / SHARE_FACTOR
    looks = renewal.looks
    walk(renewal, INTERVAL + 1, 4)
    assert renewal.looks > looks  # at once, not only when it was due
    assert renewal.share == FIRST_SHARE


def test_the_share_is_never_more_than_all() -> None:
    renewal = Renewal()
    walk(renewal, 100, 5)
    assert renewal.share == 1.0
