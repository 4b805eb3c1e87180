"""What the parts of a fit cost and hold, from counts of operations and bytes.

Never from a clock: the same problem takes the same way on every run. Costs are in multiplications and additions, one
pass over dense features being 4·N·D·C of them, or what a processor computes while it reads X if that is more.
"""

from __future__ import annotations

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


def factorises(facts: Facts) -> bool:
    """Whether the Hessian of all parameters is formed and factorised in next to no time."""
    parameters = float(facts.n_classes * (facts.n_features + 1))
    forming = facts.n_rows * parameters**2 / 2
    return forming + parameters**3 / 3 <= FACTORISATION
