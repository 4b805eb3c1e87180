"""`crosshead check`: does learning work on these data, before any long run."""

from __future__ import annotations

from crosshead.cli.check_options import CheckOptions
from crosshead.cli.command import command


@command
def check(chosen: CheckOptions) -> int:
    """Check SOURCE and the chosen loss before a long training.

    The first loss against what ignorance costs, the gradient against finite differences, a few rows learnt by heart,
    and the usual troubles of data. Each check says what it means when it fails. Exit code 1 where one fails; warnings
    alone leave it at 0.
    """
    from crosshead.cli.checking import run

    return run(chosen)
