"""`crosshead top-losses`: the samples that cost most, or whose labels are doubtful."""

from __future__ import annotations

from crosshead.cli.command import command
from crosshead.cli.top_losses_options import TopLossesOptions


@command
def top_losses(chosen: TopLossesOptions) -> int:
    """List the samples of SOURCE on which MODEL loses most.

    Each with its file or row, true and predicted class, probability of the true class, loss, and share of the total
    loss. With --label-errors, models like MODEL are trained on SOURCE itself, each without one fold, and the samples
    that confidently belong to another class than their label says are listed (confident learning, Northcutt et al.,
    JAIR 2021).
    """
    from crosshead.cli.top_losses_run import run

    return run(chosen)
