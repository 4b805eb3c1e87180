"""From rows to curves: relative suboptimality against seconds, and the time at which a curve crosses a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from optimum import Optimum
from records import Row

SMALLEST = 1e-13  # what a suboptimality of zero or below is drawn and interpolated as


@dataclass(frozen=True)
class Point:
    """One budget: median seconds with the spread over repeats, and the median suboptimality."""

    seconds: float
    fastest: float
    slowest: float
    suboptimality: float


@dataclass(frozen=True)
class Crossing:
    """Median time to a target with the spread over repeats; ``at_most``: the first budget was already past it."""

    seconds: float
    fastest: float
    slowest: float
    at_most: bool


def good(rows: Iterable[Row]) -> list[Row]:
    """The rows with weights."""
    return [row for row in rows if not row.failed]


def suboptimality(row: Row, optimum: Optimum) -> float:
    """Relative, from the row's objective and the optimum as it is known now; never below `SMALLEST`."""
    return max(optimum.suboptimality(row.objective), SMALLEST)


def points(rows: Sequence[Row], optimum: Optimum) -> list[Point]:
    """One point a budget, in order of time."""
    budgets: dict[float, list[Row]] = {}
    for row in good(rows):
        budgets.setdefault(row.budget, []).append(row)
    found = []
    for group in budgets.values():
        seconds = [row.seconds for row in group]
        reached = median(suboptimality(row, optimum) for row in group)
        found.append(Point(median(seconds), min(seconds), max(seconds), reached))
    return sorted(found, key=lambda point: point.seconds)


def crossing(rows: Sequence[Row], optimum: Optimum, target: float) -> Crossing | None:
    """When the solver gets to the target: the median over repeats; None where most repeats never do."""
    repeats: dict[int, list[Row]] = {}
    for row in good(rows):
        repeats.setdefault(row.repeat, []).append(row)
    each = [_crossing_of(group, optimum, target) for group in repeats.values()]
    reached = [found for found in each if found is not None]
    if len(reached) * 2 <= len(each):
        return None
    seconds = [found[0] for found in reached]
    return Crossing(median(seconds), min(seconds), max(seconds), any(found[1] for found in reached))


def _crossing_of(rows: Sequence[Row], optimum: Optimum, target: float) -> tuple[float, bool] | None:
    """Time of one repeat, from cheap budgets to dear: on a log–log line between the budget that gets there and the one
    before. And whether already the cheapest got there."""
    before: Row | None = None
    for row in rows:
        reached = suboptimality(row, optimum)
        if reached <= target:
            if before is None or before.seconds >= row.seconds:
                return row.seconds, before is None
            return _between(before.seconds, suboptimality(before, optimum), row.seconds, reached, target), False
        before = row
    return None


def _between(earlier: float, worse: float, later: float, better: float, target: float) -> float:
    share = math.log(worse / target) / math.log(worse / better)
    return math.exp(math.log(earlier) + share * (math.log(later) - math.log(earlier)))


def certified(rows: Sequence[Row], gap: float) -> float | None:
    """Median time of the cheapest budget at which the solver's own certificate is at most ``gap``."""
    budgets: dict[float, list[Row]] = {}
    for row in good(rows):
        budgets.setdefault(row.budget, []).append(row)
    times = [
        median(row.seconds for row in group) for group in budgets.values() if all(row.own_gap <= gap for row in group)
    ]
    return min(times, default=None)
