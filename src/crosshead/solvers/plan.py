"""Which methods minimise an objective, and why: the first row of a table that fits.

Nothing else selects methods, for single fits, paths or cross-validation. `crosshead.solvers.stages` says when a method
is abandoned for the next of its row, `crosshead.solvers.costs` what things cost.

A new method is a file in `crosshead.solvers.methods` and a row here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crosshead.objective.facts import Facts
from crosshead.solvers.continuation import Carried
from crosshead.solvers.costs import (
    augmented_lagrangian_fits,
    dual_ascent_fits,
    factored_hessian_fits,
    hessian_is_cheap,
    hessian_may_be_formed,
    interior_passes,
    interior_point_is_instant,
    interior_point_is_quick,
    is_small,
    is_wide,
    lagrangian_passes,
    path_passes,
    primal_dual_fits,
    quadratic_program_fits,
    quasi_newton_passes,
    sparse_passes,
    split_interior_point_fits,
    support_passes,
)
from crosshead.solvers.loop import Method
from crosshead.solvers.methods.dense_proximal_newton import DenseProximalNewton
from crosshead.solvers.methods.dual_ascent import DualAscent
from crosshead.solvers.methods.interior_point import InteriorPoint
from crosshead.solvers.methods.lbfgs import LBFGS
from crosshead.solvers.methods.multipliers import Multipliers
from crosshead.solvers.methods.newton import Newton
from crosshead.solvers.methods.penalty_path import PenaltyPath
from crosshead.solvers.methods.primal_dual import PrimalDual
from crosshead.solvers.methods.proximal_newton import ProximalNewton
from crosshead.solvers.methods.smoothing import PathFollowing
from crosshead.solvers.methods.sparse_newton import SparseNewton
from crosshead.solvers.methods.split_interior_point import SplitInteriorPoint
from crosshead.solvers.stages import Stage, Stages, always


@dataclass(frozen=True)
class Row:
    """A row of the table: for which objectives, which methods one after the other, and why."""

    when: str
    fits: Callable[[Facts], bool]
    stages: tuple[Stage, ...]
    why: str

    @property
    def methods(self) -> str:
        """The titles of the methods."""
        return ", then ".join(stage.method.title for stage in self.stages)


WIDE_OPEN = 0.5  # a relative gap that has hardly begun to close

SMOOTHED = (
    Stage(PathFollowing, worth=interior_passes, trial=60),
    Stage(InteriorPoint, fits=quadratic_program_fits),
    Stage(PathFollowing, fits=quadratic_program_fits),
)
HINGE_SWEEPS = (
    Stage(DualAscent, worth=lagrangian_passes, trial=15, slowing=3),
    Stage(InteriorPoint, fits=interior_point_is_quick),
    Stage(Multipliers, fits=augmented_lagrangian_fits),
    *SMOOTHED,
)
QUASI_NEWTON = (
    Stage(LBFGS, worth=path_passes, trial=120, rests=WIDE_OPEN),
    Stage(InteriorPoint, fits=quadratic_program_fits),
    Stage(Newton, fits=hessian_is_cheap),
    Stage(PenaltyPath, fits=factored_hessian_fits),
    Stage(LBFGS, fits=factored_hessian_fits),
)
SPARSE_SWEEPS = (Stage(DualAscent, worth=quasi_newton_passes, trial=10), *QUASI_NEWTON)

TABLE = (
    Row(
        when="kinks, few parameters and rows; kinks and L1, while a Hessian is cheap",
        fits=lambda facts: (
            not facts.smooth and quadratic_program_fits(facts) and (facts.l1 or interior_point_is_instant(facts))
        ),
        stages=(Stage(InteriorPoint), Stage(PrimalDual)),
        why="exact to the last digits, whatever the scale of the columns",
    ),
    Row(
        when="kinks and L1",
        fits=lambda facts: not facts.smooth and facts.l1,
        stages=(Stage(PrimalDual),),
        why="a step is one pass, and no Hessian is formed",
    ),
    Row(
        when="kinks, L2, many rows",
        fits=lambda facts: not facts.smooth and dual_ascent_fits(facts),
        stages=HINGE_SWEEPS,
        why="a sweep costs about a pass and gives a dual point",
    ),
    Row(
        when="kinks",
        fits=lambda facts: not facts.smooth,
        stages=SMOOTHED,
        why="few rows are curved, so that a Hessian is formed quickly",
    ),
    Row(
        when="smooth, L1, while a Hessian is formed at once",
        fits=lambda facts: facts.l1 and hessian_may_be_formed(facts),
        stages=(
            Stage(DenseProximalNewton, worth=sparse_passes, trial=60, rests=math.inf),
            Stage(SplitInteriorPoint, fits=lambda facts: not facts.violations),
            Stage(SparseNewton, worth=sparse_passes, trial=200),
            Stage(InteriorPoint, fits=quadratic_program_fits),
            Stage(PrimalDual, fits=primal_dual_fits, worth=support_passes, rests=math.inf),
            Stage(SparseNewton),
        ),
        why="exact steps, which do not change when columns are scaled",
    ),
    Row(
        when="smooth, L1, more features than rows or than a matrix of all pairs should have",
        fits=lambda facts: facts.l1 and is_wide(facts),
        stages=(
            Stage(ProximalNewton, worth=sparse_passes, trial=60, rests=math.inf),
            Stage(InteriorPoint, fits=quadratic_program_fits),
            Stage(SplitInteriorPoint, fits=split_interior_point_fits),
            Stage(PrimalDual, fits=primal_dual_fits, worth=support_passes, rests=math.inf),
            Stage(ProximalNewton, fits=primal_dual_fits),
            Stage(SparseNewton),
        ),
        why="nothing is formed for features that stay at zero",
    ),
    Row(
        when="smooth, L1",
        fits=lambda facts: facts.l1,
        stages=(
            Stage(SparseNewton, worth=sparse_passes, trial=200, rests=math.inf),
            Stage(InteriorPoint, fits=quadratic_program_fits),
            Stage(SplitInteriorPoint, fits=split_interior_point_fits),
            Stage(PrimalDual, fits=primal_dual_fits, worth=support_passes, rests=math.inf),
            Stage(SparseNewton),
        ),
        why="proximal steps find the support, Newton's the weights on it",
    ),
    Row(
        when="smooth, few parameters and rows",
        fits=is_small,
        stages=(
            Stage(Newton, worth=interior_passes, trial=60),
            Stage(InteriorPoint, fits=quadratic_program_fits),
            Stage(LBFGS),
        ),
        why="a factorisation costs next to nothing",
    ),
    Row(
        when="smooth, dense features, while a Hessian is formed and factorised at once",
        fits=lambda facts: hessian_is_cheap(facts) and not facts.sparse,
        stages=(
            Stage(LBFGS, worth=interior_passes, trial=60),
            Stage(InteriorPoint, fits=quadratic_program_fits),
            Stage(Newton, worth=path_passes, trial=60),
            Stage(PenaltyPath, fits=factored_hessian_fits),
            Stage(LBFGS),
        ),
        why="where few passes do not suffice, Newton's method costs little",
    ),
    Row(
        when="smooth, L2, sparse features",
        fits=lambda facts: dual_ascent_fits(facts),
        stages=SPARSE_SWEEPS,
        why="a sweep costs less than a pass and closes most of the gap",
    ),
    Row(
        when="smooth",
        fits=always,
        stages=QUASI_NEWTON,
        why="with blocks of the Hessian for each class few passes are left, and the whole is never formed",
    ),
)

METHODS: tuple[type[Method[Any]], ...] = tuple(dict.fromkeys(stage.method for row in TABLE for stage in row.stages))


def plan(facts: Facts) -> Row:
    """The first row of the table that fits."""
    return next(row for row in TABLE if row.fits(facts))


def choose(facts: Facts, carried: Carried | None = None) -> Stages:
    """The methods of a fit, with what earlier fits of a path have ``carried`` over."""
    return Stages(plan(facts).stages, carried)
