"""What the parts of a fit cost and hold, from counts of operations and bytes; and so, which of them are worth it.

Never from a clock: the same problem takes the same way on every run. Costs are in multiplications and additions, one
pass over dense features being 4·N·D·C of them, or what a processor computes while it reads X if that is more.
"""

from __future__ import annotations

import math

from crosshead.curvature.factored import DRAWN_PER_PARAMETER
from crosshead.curvature.kronecker import DENSE_FEATURES
from crosshead.objective.facts import Facts

OPERATIONS_A_BYTE = 5.0  # that are computed while one is read
WIDEST_BLOCK = 2048  # features of a block
MOST_BUILD = 16.0  # passes that building blocks may cost: a fit makes two or three times as many
SCORES_PASS = 0.5  # of a pass: its scores
ROWS_A_FEATURE, MOST_ROWS_A_FEATURE = 2.0, 16.0  # that a block is summed over, at least and at most
GRAM_PASSES = 3.0  # passes that all blocks' sums may cost together where more rows for each feature are taken
BLOCK_BYTES, BLOCK_SHARE = 1 << 22, 0.25  # that blocks may hold: so many, or such a share of X
SCORE_BYTES, SCORE_SHARE = 1 << 22, 1.0  # that a float64 for each score may: the same
FACTORISATION = 3e8  # operations: some hundredths of a second on one thread
INSTANT_FACTORISATION, INSTANT_SCORES = 3e7, 4000  # of an interior point that takes a tenth of a second in all
QUICK_SCORES = 8000  # the same of one that takes some tenths
INTERIOR_UNKNOWNS, INTERIOR_WORK = 3000, 2e10  # of an interior point: of a factorisation; operations to form it
INTERIOR_STEPS, LEAST_INTERIOR = 40.0, 60.0  # of it; passes that it is worth at least
SMALL_PARAMETERS, SMALL_ROWS = 250, 5000  # of a problem whose Hessian costs next to nothing, even at every step
MOST_RESIDUALS = 1 << 25  # numbers in all rows' residuals
INTERIOR_ELEMENTS = 1 << 24  # features, scores, or violations times classes
FACTORED_PARAMETERS = 8192  # of a Hessian that is factorised from time to time: 268 MB
FACTORED_SCORES, LAGRANGIAN_SCORES = 1 << 24, 1 << 23  # of all rows, held once or several times over
DESCENT_RATE = 0.1  # of the operations a second that a pass reaches, coordinate descent reaches
PASS_RATE = 0.4  # of the operations a second that products of large matrices reach, a pass reaches
LAGRANGIAN_PASSES = 90.0  # that 30 Newton steps on the augmented Lagrangian cost without the factorisations
LAGRANGIAN_FACTORS, FACTOR_RATE = 4.0, 0.1  # those among them, and their share of the time of a sweep's multiplication
PATH_PASSES, PATH_FACTORS = 120.0, 10.0  # of a path of the penalty: passes, and factorisations among them
PRIMAL_DUAL_PASSES, SUPPORT_PASSES = 2000.0, 2000.0  # of hybrid gradients, of Newton steps on a support, where they end
QUASI_NEWTON_PASSES, LONG = 40.0, 1 << 18  # of text; of longer vectors than so many a quasi-Newton step is no pass


def small(facts: Facts) -> bool:
    """Whether a Hessian is so quickly formed and factorised that no cheaper model of it is worth its name."""
    return facts.n_parameters <= SMALL_PARAMETERS and facts.n_rows <= SMALL_ROWS


def factorises(facts: Facts) -> bool:
    """Whether the Hessian of all parameters is formed and factorised in next to no time."""
    return factorising(facts) <= FACTORISATION


def factorising(facts: Facts) -> float:
    """Operations to form the Hessian of all parameters and to factorise it; class by class where none are coupled."""
    count, parameters = _blocks(facts)
    return count * (facts.n_rows * parameters**2 / 2 + parameters**3 / 3)


def forms_hessian(facts: Facts) -> bool:
    """Whether a step of Newton's method forms the Hessian of all parameters: where rows are many beside them.

    Fewer rows are factorised in their own space (`crosshead.curvature.row_factors`).
    """
    return facts.l2 and forms_model(facts) and _blocks(facts)[1] <= facts.n_rows


def forms_model(facts: Facts) -> bool:
    """Whether a proximal Newton step forms the Hessian of all parameters: in some hundredths of a second."""
    return facts.quadratic and _widens(facts) and factorises(facts)


def factor_passes(facts: Facts) -> float:
    """What forming and factorising the Hessian of all parameters costs, in passes."""
    return PASS_RATE * factorising(facts) / pass_operations(facts)


def _widens(facts: Facts) -> bool:
    """Whether features and scores may be held in double precision, dense."""
    return facts.n_rows * max(facts.n_features, facts.n_classes) <= INTERIOR_ELEMENTS


def _blocks(facts: Facts) -> tuple[int, float]:
    """How many blocks the Hessian has, and the parameters of each."""
    return (1, float(facts.n_parameters)) if facts.couples else (facts.n_classes, facts.n_features + 1.0)


def instant(facts: Facts) -> bool:
    """Whether an interior point takes a tenth of a second, all its factorisations and rows together."""
    few_scores = facts.n_rows * facts.n_classes <= INSTANT_SCORES
    return (splits(facts) or programs(facts)) and few_scores and factorising(facts) <= INSTANT_FACTORISATION


def splits(facts: Facts) -> bool:
    """Whether the Hessian of all parameters may be formed and factorised at every step of an interior point."""
    count, parameters = _blocks(facts)
    few = count * parameters**2 <= INTERIOR_UNKNOWNS**2 and factorising(facts) <= INTERIOR_WORK
    return facts.quadratic and few and _widens(facts)


def quick(facts: Facts) -> bool:
    """Whether an interior point takes some tenths of a second."""
    return programs(facts) and factorises(facts) and facts.n_rows * facts.n_classes <= QUICK_SCORES


def wide(facts: Facts) -> bool:
    """Whether there are more features than rows, or than a matrix of all pairs of them should have."""
    return facts.n_features > min(facts.n_rows, DENSE_FEATURES)


def ascends(facts: Facts) -> bool:
    """Whether dual coordinate ascent is worth its while: dense rows have better ways if smooth, small problems too."""
    possible = facts.ascends and facts.fast_sweeps and facts.l2 and not facts.l1
    held = facts.n_rows * facts.n_classes <= MOST_RESIDUALS
    return possible and held and (not facts.smooth or (facts.sparse and not small(facts)))


def programs(facts: Facts) -> bool:
    """Whether a loss of violations is a quadratic program whose Hessian is quickly formed and factorised."""
    N, D, C = facts.n_rows, facts.n_features, facts.n_classes
    violations = N * max(1, C - 1)
    if violations < facts.n_parameters:  # it is factorised in these
        few = violations <= INTERIOR_UNKNOWNS and C * (N * N * D + violations**2) <= INTERIOR_WORK
    else:
        few = facts.n_parameters <= INTERIOR_UNKNOWNS and N * D * D * C * (C + 1) / 2 <= INTERIOR_WORK
    few = few and N * max(D, C * C) <= INTERIOR_ELEMENTS
    return facts.violations and facts.labelled and few and (facts.l1 or facts.l2)


def augments(facts: Facts) -> bool:
    """Whether the augmented Lagrangian's factorised Hessian and the scores of all rows may be held."""
    few = facts.n_parameters <= FACTORED_PARAMETERS and facts.n_rows * facts.n_classes <= LAGRANGIAN_SCORES
    hinge = facts.piecewise and facts.labelled and facts.l2 and not facts.l1
    return hinge and few and facts.n_classes > 1 and not facts.sparse


def lagrangian_passes(facts: Facts) -> float:
    """What the method of multipliers costs, in sweeps over the rows; inf where it is out of reach."""
    if not augments(facts):
        return math.inf
    multiplications = LAGRANGIAN_FACTORS * float(facts.n_parameters) ** 3 / 6
    one_sweep = float(facts.n_rows * max(1, facts.n_features) * facts.n_classes)
    return LAGRANGIAN_PASSES + FACTOR_RATE * multiplications / one_sweep


def factored(facts: Facts) -> bool:
    """Whether a factorised Hessian of a smooth loss with an L2 part, and all rows' second-order models, may be held."""
    held = facts.n_parameters <= FACTORED_PARAMETERS and facts.n_rows * facts.n_classes <= FACTORED_SCORES
    return held and facts.smooth and facts.l2 and not facts.l1 and not facts.sparse


def path_passes(facts: Facts) -> float:
    """What following the path of the penalty costs; inf where it is out of reach."""
    if not factored(facts):
        return math.inf
    parameters = float(facts.n_parameters)
    drawn = min(DRAWN_PER_PARAMETER * parameters, facts.n_rows * facts.n_classes**2 / 2)
    operations = drawn * facts.n_features**2 + parameters**3 / 3
    return PATH_PASSES + PATH_FACTORS * PASS_RATE * operations / pass_operations(facts)


def quasi_newton_passes(facts: Facts) -> float:
    """What L-BFGS costs on sparse rows; inf where products of vectors of all parameters would be most of it."""
    return math.inf if facts.n_parameters >= LONG else QUASI_NEWTON_PASSES


def interior_passes(facts: Facts) -> float:
    """What an interior point costs; inf where it is out of reach, or has nothing to offer."""
    if not (programs(facts) or (facts.smooth and facts.l1 and splits(facts)) or (facts.smooth and factorises(facts))):
        return math.inf
    return max(LEAST_INTERIOR, INTERIOR_STEPS * factor_passes(facts))


def moves(facts: Facts) -> bool:
    """Whether passes may move the residuals of all rows, which are held twice over."""
    return facts.ascends and facts.fast_sweeps and 2 * facts.n_rows * facts.n_classes <= MOST_RESIDUALS


def sparse_passes(facts: Facts) -> float:
    """What follows on Newton steps on a support costs; inf where nothing does."""
    return min(interior_passes(facts), PRIMAL_DUAL_PASSES if moves(facts) else math.inf)


def support_passes(facts: Facts) -> float:
    """What Newton steps on a support cost, where they get there at all."""
    return SUPPORT_PASSES


def descent_passes(facts: Facts, rank: int) -> float:
    """A sweep of coordinate descent over the Kronecker model with a correction of so many columns."""
    operations = facts.n_parameters * (facts.n_features + facts.n_classes + rank)
    return operations / (DESCENT_RATE * pass_operations(facts))


def matrix_descent_passes(facts: Facts, size: int) -> float:
    """A sweep of coordinate descent over a matrix of so many parameters."""
    return float(size) ** 2 / (DESCENT_RATE * pass_operations(facts))


def pass_operations(facts: Facts) -> float:
    """A pass over dense features."""
    numbers = float(facts.n_rows * facts.n_features)
    return max(1.0, 4.0 * numbers * facts.n_classes, OPERATIONS_A_BYTE * numbers * facts.itemsize)


def class_groups(facts: Facts) -> int:
    """For how many groups of classes blocks are worth building; 0 where not even one may be."""
    if facts.sparse or not 0 < facts.n_features <= WIDEST_BLOCK or not keeps_scores(facts):
        return 0
    least = _block_operations(facts, ROWS_A_FEATURE * facts.n_features)
    room = max(BLOCK_BYTES, BLOCK_SHARE * facts.feature_bytes) / (4.0 * facts.n_features**2)
    return int(max(1.0, min(facts.n_classes, MOST_BUILD * pass_operations(facts) / least, room)))


def block_rows(facts: Facts, groups: int) -> int:
    """Over how many rows each group's block is summed: more for each feature where that costs little."""
    columns = float(facts.n_features)
    affordable = GRAM_PASSES * pass_operations(facts) / (groups * columns**3)
    return round(min(max(affordable, ROWS_A_FEATURE), MOST_ROWS_A_FEATURE) * columns)


def build_passes(facts: Facts, groups: int) -> float:
    """What building blocks costs, in passes: the scores of all rows, and the blocks."""
    each = _block_operations(facts, block_rows(facts, groups))
    return SCORES_PASS + groups * each / pass_operations(facts)


def _block_operations(facts: Facts, rows: float) -> float:
    """One block of D features: a Gram matrix of some rows, and its inverse, which runs on one thread."""
    columns = float(facts.n_features)
    return max(1.0, min(facts.n_rows, rows) * columns**2 + 2.0 * columns**3)


def keeps_scores(facts: Facts) -> bool:
    """Whether a number for each score takes no more room than the features do."""
    return 8 * facts.n_rows * facts.n_classes <= max(SCORE_BYTES, SCORE_SHARE * facts.feature_bytes)
