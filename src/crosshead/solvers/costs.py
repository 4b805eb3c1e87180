"""Costs in time and memory of the parts of a fit, and which of them are worth it, from counts of operations and bytes.

No clock is used: the same problem is solved in the same way on every run. Costs are in multiplications and additions;
one pass over dense features is 4·N·D·C of them, or what a processor computes while it reads X if that is more.
"""

from __future__ import annotations

import math

from crosshead.curvature.factored import DRAWN_PER_PARAMETER
from crosshead.curvature.kronecker import DENSE_FEATURES
from crosshead.objective.facts import Facts

OPERATIONS_PER_BYTE = 5.0  # computed while one byte is read
WIDEST_BLOCK = 2048  # features per block
MAX_BUILD = 16.0  # limit of the cost of building blocks, in passes: a fit makes two or three times as many
SCORES_PASS = 0.5  # the share of a pass that computes scores
ROWS_PER_FEATURE, MAX_ROWS_A_FEATURE = 2.0, 16.0  # rows per feature that a block is summed over, at least and at most
GRAM_PASSES = 3.0  # limit of the cost of sums with more rows per feature, in passes
BLOCK_BYTES, BLOCK_SHARE = 1 << 22, 0.25  # memory limit of blocks: bytes, or a share of X
SCORE_BYTES, SCORE_SHARE = 1 << 22, 1.0  # memory limit of one float64 per score: bytes, or a share of X
FACTORISATION = 3e8  # operations that take some 10 ms on one thread
INSTANT_FACTORISATION, INSTANT_SCORES = 3e7, 4000  # limits for an interior point that takes 0.1 s in all
QUICK_SCORES = 8000  # limit for one that takes some 0.1 s
INTERIOR_UNKNOWNS, INTERIOR_WORK = (
    3000,
    2e10,
)  # limits of an interior point: unknowns, operations
INTERIOR_STEPS, MIN_INTERIOR = 40.0, 60.0  # steps of it, and passes that it is at least worth
SMALL_PARAMETERS, SMALL_ROWS = 250, 5000  # limits of a problem whose Hessian costs next to nothing, even at every step
MAX_RESIDUALS = 1 << 25  # in the residuals of all rows
INTERIOR_ELEMENTS = 1 << 24  # limit of features, scores, or violations times classes
FACTORED_PARAMETERS = 8192  # limit of a Hessian that is factorised now and then: 268 MB
FACTORED_SCORES, LAGRANGIAN_SCORES = 1 << 24, 1 << 23  # limits of the scores of all rows, stored once or several times
DESCENT_RATE = 0.1  # speed of coordinate descent relative to a pass
PASS_RATE = 0.4  # speed of a pass relative to products of large matrices
LAGRANGIAN_PASSES = 90.0  # cost of 30 Newton steps on the augmented Lagrangian, without factorisations
LAGRANGIAN_FACTORS, FACTOR_RATE = 4.0, 0.1  # number of factorisations among them, and their speed relative to a sweep
PATH_PASSES, PATH_FACTORS = 120.0, 10.0  # of a path of the penalty: passes, and factorisations
PRIMAL_DUAL_PASSES, SUPPORT_PASSES = (
    2000.0,
    2000.0,
)  # of hybrid gradients; of Newton steps on a support
QUASI_NEWTON_PASSES, LONG = 40.0, 1 << 18  # of L-BFGS on text; vectors so long that a step costs more than a pass


def is_small(facts: Facts) -> bool:
    """Whether forming and factorising the Hessian is so cheap that no approximation of it pays."""
    return facts.n_parameters <= SMALL_PARAMETERS and facts.n_rows <= SMALL_ROWS


def hessian_is_cheap(facts: Facts) -> bool:
    """Whether forming and factorising the Hessian of all parameters takes next to no time."""
    return factorisation_operations(facts) <= FACTORISATION


def factorisation_operations(facts: Facts) -> float:
    """Operations to form and factorise the Hessian of all parameters; class by class if none are coupled."""
    count, parameters = _blocks(facts)
    return count * (facts.n_rows * parameters**2 / 2 + parameters**3 / 3)


def forms_hessian(facts: Facts) -> bool:
    """Whether a step of Newton's method forms the Hessian of all parameters: where rows are many beside them.

    Fewer rows are factorised in their own space (`crosshead.curvature.row_factors`).
    """
    return facts.l2 and hessian_may_be_formed(facts) and _blocks(facts)[1] <= facts.n_rows


def hessian_may_be_formed(facts: Facts) -> bool:
    """Whether a proximal Newton step forms the Hessian of all parameters: in some hundredths of a second."""
    return facts.quadratic and _fits_in_double(facts) and hessian_is_cheap(facts)


def factor_passes(facts: Facts) -> float:
    """The cost of forming and factorising the Hessian of all parameters, in passes."""
    return PASS_RATE * factorisation_operations(facts) / pass_operations(facts)


def _fits_in_double(facts: Facts) -> bool:
    """Whether features and scores may be held in double precision, dense."""
    return facts.n_rows * max(facts.n_features, facts.n_classes) <= INTERIOR_ELEMENTS


def _blocks(facts: Facts) -> tuple[int, float]:
    """The number of blocks of the Hessian, and the parameters of each."""
    return (1, float(facts.n_parameters)) if facts.couples else (facts.n_classes, facts.n_features + 1.0)


def interior_point_is_instant(facts: Facts) -> bool:
    """Whether an interior point takes 0.1 s for all its factorisations and rows."""
    few_scores = facts.n_rows * facts.n_classes <= INSTANT_SCORES
    return (
        (split_interior_point_fits(facts) or quadratic_program_fits(facts))
        and few_scores
        and factorisation_operations(facts) <= INSTANT_FACTORISATION
    )


def split_interior_point_fits(facts: Facts) -> bool:
    """Whether the Hessian of all parameters may be factorised at every step of an interior point."""
    count, parameters = _blocks(facts)
    few = count * parameters**2 <= INTERIOR_UNKNOWNS**2 and factorisation_operations(facts) <= INTERIOR_WORK
    return facts.quadratic and few and _fits_in_double(facts)


def interior_point_is_quick(facts: Facts) -> bool:
    """Whether an interior point takes some 0.1 s."""
    return quadratic_program_fits(facts) and hessian_is_cheap(facts) and facts.n_rows * facts.n_classes <= QUICK_SCORES


def is_wide(facts: Facts) -> bool:
    """Whether there are more features than rows, or too many for a matrix of all pairs of them."""
    return facts.n_features > min(facts.n_rows, DENSE_FEATURES)


def dual_ascent_fits(facts: Facts) -> bool:
    """Whether dual coordinate ascent pays: there are better methods for smooth losses on dense or few rows."""
    possible = facts.dual_steps and facts.fast_sweeps and facts.l2 and not facts.l1
    held = facts.n_rows * facts.n_classes <= MAX_RESIDUALS
    return possible and held and (not facts.smooth or (facts.sparse and not is_small(facts)))


def quadratic_program_fits(facts: Facts) -> bool:
    """Whether a loss of violations is a quadratic program whose Hessian is cheap to form and factorise."""
    N, D, C = facts.n_rows, facts.n_features, facts.n_classes
    violations = N * max(1, C - 1)
    if violations < facts.n_parameters:  # the matrix is factorised in the space of violations
        few = violations <= INTERIOR_UNKNOWNS and C * (N * N * D + violations**2) <= INTERIOR_WORK
    else:
        few = facts.n_parameters <= INTERIOR_UNKNOWNS and N * D * D * C * (C + 1) / 2 <= INTERIOR_WORK
    few = few and N * max(D, C * C) <= INTERIOR_ELEMENTS
    return facts.violations and facts.labelled and few and (facts.l1 or facts.l2)


def augmented_lagrangian_fits(facts: Facts) -> bool:
    """Whether memory suffices for the factorised Hessian of the augmented Lagrangian and the scores of all rows."""
    few = facts.n_parameters <= FACTORED_PARAMETERS and facts.n_rows * facts.n_classes <= LAGRANGIAN_SCORES
    hinge = facts.piecewise and facts.labelled and facts.l2 and not facts.l1
    return hinge and few and facts.n_classes > 1 and not facts.sparse


def lagrangian_passes(facts: Facts) -> float:
    """The cost of the method of multipliers, in sweeps over the rows; inf if it is not available."""
    if not augmented_lagrangian_fits(facts):
        return math.inf
    multiplications = LAGRANGIAN_FACTORS * float(facts.n_parameters) ** 3 / 6
    one_sweep = float(facts.n_rows * max(1, facts.n_features) * facts.n_classes)
    return LAGRANGIAN_PASSES + FACTOR_RATE * multiplications / one_sweep


def factored_hessian_fits(facts: Facts) -> bool:
    """Whether memory suffices for a factorised Hessian and the second-order models of all rows (smooth loss, L2)."""
    held = facts.n_parameters <= FACTORED_PARAMETERS and facts.n_rows * facts.n_classes <= FACTORED_SCORES
    return held and facts.smooth and facts.l2 and not facts.l1 and not facts.sparse


def path_passes(facts: Facts) -> float:
    """The cost of following the path of the penalty; inf if it is not available."""
    if not factored_hessian_fits(facts):
        return math.inf
    parameters = float(facts.n_parameters)
    drawn = min(DRAWN_PER_PARAMETER * parameters, facts.n_rows * facts.n_classes**2 / 2)
    operations = drawn * facts.n_features**2 + parameters**3 / 3
    return PATH_PASSES + PATH_FACTORS * PASS_RATE * operations / pass_operations(facts)


def quasi_newton_passes(facts: Facts) -> float:
    """The cost of L-BFGS on sparse rows; inf if products of long vectors would dominate it."""
    return math.inf if facts.n_parameters >= LONG else QUASI_NEWTON_PASSES


def interior_passes(facts: Facts) -> float:
    """The cost of an interior point; inf if it is not available or does not pay."""
    if not (
        quadratic_program_fits(facts)
        or (facts.smooth and facts.l1 and split_interior_point_fits(facts))
        or (facts.smooth and hessian_is_cheap(facts))
    ):
        return math.inf
    return max(MIN_INTERIOR, INTERIOR_STEPS * factor_passes(facts))


def primal_dual_fits(facts: Facts) -> bool:
    """Whether memory suffices for passes that update the residuals of all rows, which are stored twice."""
    return facts.dual_steps and facts.fast_sweeps and 2 * facts.n_rows * facts.n_classes <= MAX_RESIDUALS


def sparse_passes(facts: Facts) -> float:
    """The cost of the methods after Newton steps on a support; inf if there are none."""
    return min(interior_passes(facts), PRIMAL_DUAL_PASSES if primal_dual_fits(facts) else math.inf)


def support_passes(facts: Facts) -> float:
    """The cost of Newton steps on a support, if they converge."""
    return SUPPORT_PASSES


def descent_passes(facts: Facts, rank: int) -> float:
    """The cost of a sweep of coordinate descent over the Kronecker model with a correction of ``rank`` columns."""
    operations = facts.n_parameters * (facts.n_features + facts.n_classes + rank)
    return operations / (DESCENT_RATE * pass_operations(facts))


def matrix_descent_passes(facts: Facts, size: int) -> float:
    """A sweep of coordinate descent over a matrix of so many parameters."""
    return float(size) ** 2 / (DESCENT_RATE * pass_operations(facts))


def pass_operations(facts: Facts) -> float:
    """The operations of a pass over dense features."""
    numbers = float(facts.n_rows * facts.n_features)
    return max(1.0, 4.0 * numbers * facts.n_classes, OPERATIONS_PER_BYTE * numbers * facts.itemsize)


def class_groups(facts: Facts) -> int:
    """The number of groups of classes for which building blocks pays; 0 if even one does not."""
    if facts.sparse or not 0 < facts.n_features <= WIDEST_BLOCK or not keeps_scores(facts):
        return 0
    least = _block_operations(facts, ROWS_PER_FEATURE * facts.n_features)
    room = max(BLOCK_BYTES, BLOCK_SHARE * facts.feature_bytes) / (4.0 * facts.n_features**2)
    return int(max(1.0, min(facts.n_classes, MAX_BUILD * pass_operations(facts) / least, room)))


def block_rows(facts: Facts, groups: int) -> int:
    """The number of rows that each group's block is summed over: more per feature where that is cheap."""
    columns = float(facts.n_features)
    affordable = GRAM_PASSES * pass_operations(facts) / (groups * columns**3)
    return round(min(max(affordable, ROWS_PER_FEATURE), MAX_ROWS_A_FEATURE) * columns)


def build_passes(facts: Facts, groups: int) -> float:
    """The cost of building blocks, in passes: the scores of all rows, and the blocks."""
    each = _block_operations(facts, block_rows(facts, groups))
    return SCORES_PASS + groups * each / pass_operations(facts)


def _block_operations(facts: Facts, rows: float) -> float:
    """The operations of one block of D features: a Gram matrix of some rows, and its inverse on one thread."""
    columns = float(facts.n_features)
    return max(1.0, min(facts.n_rows, rows) * columns**2 + 2.0 * columns**3)


def keeps_scores(facts: Facts) -> bool:
    """Whether one number per score takes no more memory than the features."""
    return 8 * facts.n_rows * facts.n_classes <= max(SCORE_BYTES, SCORE_SHARE * facts.feature_bytes)
