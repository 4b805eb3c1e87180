"""`crosshead path`: many alphas at the price of a few, and the one that does best on rows held out."""

from __future__ import annotations

from crosshead.cli.command import command
from crosshead.cli.path_options import PathOptions


@command
def path(chosen: PathOptions) -> int:
    """Train at many strengths of the penalty, from strong to weak, and choose one by cross-validation.

    Each fit goes on from the last, so that all together cost about as much as a few; each is certified.
    """
    from crosshead.cli.path_run import run

    return run(chosen)
