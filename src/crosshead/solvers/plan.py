"""Which method minimises an objective, and why: a table whose first row that fits decides.

Nothing else decides it, neither for single fits nor for those of a path or of cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crosshead.objective.facts import Facts
from crosshead.solvers.continuation import Carried, CarriedLBFGS, CarriedSparse
from crosshead.solvers.costs import factorises
from crosshead.solvers.dual_ascent import DualAscent
from crosshead.solvers.interior_point import InteriorPoint
from crosshead.solvers.loop import Method
from crosshead.solvers.newton import Newton
from crosshead.solvers.penalty_path import GuardedLBFGS
from crosshead.solvers.proximal import Proximal
from crosshead.solvers.proximal_newton import ProximalNewton
from crosshead.solvers.smooth_ascent import SmoothAscent
from crosshead.solvers.smoothing import PathFollowing, Smoothing
from crosshead.solvers.sparse_newton import SparseNewton
from crosshead.solvers.split_interior_point import SplitInteriorPoint
from crosshead.solvers.stages import Stages


@dataclass(frozen=True)
class Row:
    """A row of the table: for which objectives, by which methods one after the other, and why.

    ``method`` makes the first of them; ``next_method`` that of a fit on a path, from what the last one has left.
    Without it each fit of a path begins anew.
    """

    when: str
    methods: str
    why: str
    fits: Callable[[Facts], bool]
    method: Callable[[], Method[Any]]
    next_method: Callable[[Carried], Method[Any]] | None = None


TABLE = (
    Row(
        when="kinks and L1, while a Hessian is cheap",
        methods="interior point",
        why="exact to the last digits, whatever the scale of the columns",
        fits=lambda facts: not facts.smooth and facts.l1 and facts.program,
        method=InteriorPoint,
    ),
    Row(
        when="kinks and L1",
        methods="smoothed losses by proximal quasi-Newton steps",
        why="no Hessian is formed",
        fits=lambda facts: not facts.smooth and facts.l1,
        method=lambda: Smoothing(Proximal),
    ),
    Row(
        when="kinks, L2, many rows",
        methods="dual coordinate ascent, then multipliers, then smoothed losses",
        why="a sweep costs about a pass and gives a dual point",
        fits=lambda facts: not facts.smooth and facts.ascends,
        method=DualAscent,
    ),
    Row(
        when="kinks",
        methods="smoothed losses by Newton steps along the path of their widths",
        why="few rows are curved, so that a Hessian is formed quickly",
        fits=lambda facts: not facts.smooth,
        method=PathFollowing,
    ),
    Row(
        when="smooth, L1, while a Hessian is formed and factorised at once",
        methods="interior point, then proximal quasi-Newton steps and Newton steps on the weights that are not zero",
        why="the former does not change when columns are scaled",
        fits=lambda facts: facts.l1 and factorises(facts),
        method=lambda: Stages((SplitInteriorPoint(), SparseNewton())),
        next_method=lambda carried: Stages((CarriedSparse(carried), SplitInteriorPoint(), SparseNewton())),
    ),
    Row(
        when="smooth, L1, more features than rows or than a matrix of all pairs should have",
        methods="proximal Newton over a working set",
        why="nothing is formed for features that stay at zero",
        fits=lambda facts: facts.l1 and facts.wide,
        method=ProximalNewton,
    ),
    Row(
        when="smooth, L1",
        methods="proximal quasi-Newton steps, then Newton steps on the weights that are not zero",
        why="the former find the support, the latter the weights on it",
        fits=lambda facts: facts.l1,
        method=SparseNewton,
        next_method=CarriedSparse,
    ),
    Row(
        when="smooth, few parameters and rows",
        methods="Newton, its Hessian factorised",
        why="a factorisation costs next to nothing",
        fits=lambda facts: facts.small,
        method=Newton,
    ),
    Row(
        when="smooth, L2, sparse features",
        methods="dual coordinate ascent, then L-BFGS, then Newton along the path of the penalty",
        why="a sweep costs less than a pass and closes most of the gap",
        fits=lambda facts: facts.ascends,
        method=lambda: SmoothAscent(GuardedLBFGS()),
        next_method=lambda carried: SmoothAscent(CarriedLBFGS(carried)),
    ),
    Row(
        when="smooth",
        methods="L-BFGS, then Newton along the path of the penalty",
        why="with blocks of the Hessian for each class few passes are left, and the whole is never formed",
        fits=lambda facts: True,
        method=GuardedLBFGS,
        next_method=CarriedLBFGS,
    ),
)


def plan(facts: Facts) -> Row:
    """The row of the table that decides."""
    return next(row for row in TABLE if row.fits(facts))


def choose(facts: Facts, carried: Carried | None = None) -> Method[Any]:
    """The method of a fit; with what is ``carried``, of the next one of a path."""
    row = plan(facts)
    if carried is None or row.next_method is None:
        return row.method()
    return row.next_method(carried)
