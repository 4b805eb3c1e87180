"""`crosshead explain`: the arithmetic of one sample, or of a few, step by step."""

from __future__ import annotations

from crosshead.cli.command import command
from crosshead.cli.explain_options import ExplainOptions


@command
def explain(chosen: ExplainOptions) -> int:
    """Show how the loss of a sample comes about: every step with its formula, its numbers and its result.

    From scores (--scores 3.2,5.1,-1.7 --target 0), probabilities, weights and features, or a row of SOURCE and a
    MODEL. Several samples also get their sum, mean and error.
    """
    from crosshead.cli.explaining import run

    return run(chosen)
