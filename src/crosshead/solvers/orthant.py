"""The minimum of a quadratic model with an L1 part, by conjugate gradients from one orthant to the next."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.solvers.protocol import Float

HALVINGS = int(os.environ.get("HALV", 4))
ROUND_FORCING = float(os.environ.get("RFORC", 0.1))
DROPS = 4
COUNT = [0]
STAT = {"cut": 0, "cauchy": 0, "drop": 0, "rounds": 0, "half": 0}


@dataclass
class _Position:
    step: Float
    place: Float
    slope: Float
    change: float


class _Search:
    def __init__(self, model: Any, l1: Float, most: int) -> None:
        self.model, self.l1, self.left = model, l1, most

    def multiply(self, v: Float) -> Float:
        self.left -= 1
        COUNT[0] += 1
        return self.model.multiply(v)


def minimise_model(model: Any, point: Float, gradient: Float, l1: Float, forcing: float, most: int) -> Float:
    here = _Position(np.zeros_like(point), point, gradient, 0.0)
    search = _Search(model, l1, most)
    enough = None
    while search.left > 0:
        STAT["rounds"] += 1
        signs, slope = _orthant(here.place, here.slope, l1)
        free = (signs != 0) | (l1 == 0)
        model.restrict(free)
        right = np.where(free, -slope, 0.0)
        size = float(right @ model.precondition(right))
        if enough is None:
            enough = forcing**2 * size
        if not size > enough:
            break
        along, image = np.zeros_like(right), np.zeros_like(right)
        goal = max(ROUND_FORCING**2 * size, enough / 4)
        for _ in range(DROPS):
            along, image = _conjugate_gradients(search, right, free, along, image, goal)
            outward = free & (l1 > 0) & (here.place == 0) & (along * signs < 0)
            if not outward.any() or search.left <= 0:
                break
            STAT["drop"] += 1
            free = free & ~outward
            right[outward] = 0.0
            along[outward] = 0.0
            image = search.multiply(along)
            model.restrict(free)
        there = _project(search, here, along, image, signs)
        if there is None:
            there = _cauchy(search, here)
        if there is None:
            break
        here = there
    return here.step


def _orthant(place: Float, slope: Float, l1: Float) -> tuple[Float, Float]:
    signs = np.sign(place)
    signs[l1 == 0] = 0.0
    leaves = (place == 0) & (np.abs(slope) > l1) & (l1 > 0)
    signs[leaves] = -np.sign(slope[leaves])
    return signs, slope + l1 * signs


def _conjugate_gradients(
    search: _Search, right: Float, free: NDArray[np.bool_], solution: Float, image: Float, enough: float
) -> tuple[Float, Float]:
    model = search.model
    residual = np.where(free, right - image, 0.0)
    scaled = model.precondition(residual)
    along, product = scaled.copy(), float(residual @ scaled)
    while search.left > 0 and product > enough:
        moved = search.multiply(along)
        curvature = float(along @ moved)
        if not curvature > 0:
            break
        length = product / curvature
        solution = solution + length * along
        image = image + length * moved
        residual -= np.where(free, length * moved, 0.0)
        scaled = model.precondition(residual)
        previous, product = product, float(residual @ scaled)
        along = scaled + (product / previous) * along
    return solution, image


def _project(search: _Search, here: _Position, along: Float, image: Float, signs: Float) -> _Position | None:
    length, l1 = 1.0, search.l1
    for k in range(HALVINGS):
        place = here.place + length * along
        cut = (l1 > 0) & (along != 0) & (np.sign(place) != signs)
        if cut.any():
            place[cut] = 0.0
            moved = search.multiply(place - here.place)
            STAT["cut"] += 1
        else:
            moved = length * image
        there = _moved(here, place, moved, l1)
        if there.change < here.change:
            return there
        STAT["half"] += 1
        length /= 2
    return None


def _moved(here: _Position, place: Float, moved: Float, l1: Float) -> _Position:
    by = place - here.place
    change = float((by * (here.slope + moved / 2) + l1 * (np.abs(place) - np.abs(here.place))).sum())
    return _Position(here.step + by, place, here.slope + moved, here.change + change)


def _cauchy(search: _Search, here: _Position) -> _Position | None:
    STAT["cauchy"] += 1
    l1, diagonal = search.l1, search.model.diagonal
    there = here.place - here.slope / diagonal
    there = np.where(l1 > 0, np.sign(there) * np.maximum(np.abs(there) - l1 / diagonal, 0.0), there)
    by = there - here.place
    promised = float((by * here.slope + l1 * (np.abs(there) - np.abs(here.place))).sum())
    if not promised < 0:
        return None
    moved = search.multiply(by)
    curvature = float(by @ moved)
    length = min(1.0, -promised / curvature) if curvature > 0 else 1.0
    place = there if length == 1.0 else here.place + length * by
    found = _moved(here, place, length * moved, l1)
    return found if found.change < here.change else None
