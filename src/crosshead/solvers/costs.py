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
ROWS_A_FEATURE = 2.0  # that a block is summed over
BLOCK_BYTES, BLOCK_SHARE = 1 << 22, 0.25  # that blocks may hold: so many, or such a share of X
SCORE_BYTES, SCORE_SHARE = 1 << 21, 1.0  # that a float64 for each score may: the same
STAGES, STAGE_ROWS = (64, 16, 4), 4  # one row of so many is enough for a start, where that leaves so many a feature
FACTORISATION = 3e8  # operations: some hundredths of a second on one thread
STAGE_WORK = 1e8  # operations of a pass below which all rows cost next to nothing


def pass_operations(facts: Facts) -> float:
    """A pass over dense features."""
    numbers = float(facts.n_rows * facts.n_features)
    return max(1.0, 4.0 * numbers * facts.n_classes, OPERATIONS_A_BYTE * numbers * facts.itemsize)


def block_operations(facts: Facts) -> float:
    """One block of D features: a Gram matrix of some rows, and its inverse, which runs on one thread."""
    columns = float(facts.n_features)
    return max(1.0, min(facts.n_rows, ROWS_A_FEATURE * columns) * columns**2 + 2.0 * columns**3)


def class_groups(facts: Facts) -> int:
    """For how many groups of classes blocks are worth building; 0 where not even one may be."""
    if facts.sparse or not 0 < facts.n_features <= WIDEST_BLOCK or not keeps_scores(facts):
        return 0
    most = MOST_BUILD * pass_operations(facts) / block_operations(facts)
    room = max(BLOCK_BYTES, BLOCK_SHARE * facts.feature_bytes) / (4.0 * max(1, facts.n_features) ** 2)
    return int(max(1.0, min(facts.n_classes, most, room)))


def build_passes(facts: Facts, groups: int) -> float:
    """What building blocks costs, in passes: the scores of all rows, and the blocks."""
    return SCORES_PASS + groups * block_operations(facts) / pass_operations(facts)


def keeps_scores(facts: Facts) -> bool:
    """Whether a number for each score takes no more room than the features do."""
    return 8 * facts.n_rows * facts.n_classes <= max(SCORE_BYTES, SCORE_SHARE * facts.feature_bytes)


def factorises(facts: Facts) -> bool:
    """Whether the Hessian of all parameters is formed and factorised in next to no time."""
    parameters = float(facts.n_classes * (facts.n_features + 1))
    forming = facts.n_rows * parameters**2 / 2
    return forming + parameters**3 / 3 <= FACTORISATION


def row_stages(facts: Facts) -> list[int]:
    """One row of how many to begin with, and then of how many: where so few tell much of the optimum; may be empty.

    They are to be some for each feature, with two of the rarest class, and not a few that weigh all.
    """
    if pass_operations(facts) < STAGE_WORK:
        return []
    most = min(facts.effective_rows / (STAGE_ROWS * max(1, facts.n_features)), facts.rarest_class / 2)
    return [one_of for one_of in STAGES if one_of <= most]
