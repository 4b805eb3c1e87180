"""`crosshead top-losses`: the samples that cost most, or whose labels are doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import Says, command
from crosshead.cli.errors import UsageError
from crosshead.cli.options import images as image_options


@dataclass(frozen=True, kw_only=True)
class TopLossesOptions:
    """The options of one `crosshead top-losses`, checked."""

    model: options.ModelFolder
    source: options.Source
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="How many samples to list.")] = 50
    label_errors: Annotated[
        bool,
        typer.Option(
            "--label-errors",
            help="List samples whose label is probably wrong, by models of the same kind that have not seen them.",
        ),
    ] = False
    folds: Annotated[int, typer.Option(min=2, metavar="K", help="Folds of --label-errors.")] = 5
    seed: Annotated[options.Seed, Says("Shuffles the rows of --label-errors into folds.")] = 0
    target: options.Target = None
    ignore: options.Ignore = ()
    test_rows: options.TestRows = False
    images: image_options.OwnImages
    output: Annotated[str | None, options.option("FILE.csv", "Write the list to FILE as CSV.")] = None
    spreadsheet_safe: options.SpreadsheetSafe = True
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    def __post_init__(self) -> None:
        if not self.label_errors and (self.folds != 5 or self.seed != 0):
            raise UsageError(f"{'--folds' if self.folds != 5 else '--seed'} is for --label-errors only")


@command
def top_losses(chosen: TopLossesOptions) -> int:
    """List the samples of SOURCE on which MODEL loses most.

    Each with its file or row, true and predicted class, probability of the true class, loss, and share of the total
    loss. With --label-errors, models like MODEL are trained on SOURCE itself, each without one fold, and the samples
    that confidently belong to another class than their label says are listed (confident learning, Northcutt et al.,
    JAIR 2021).
    """
    from crosshead.cli.commands.top_losses.run import run

    return run(chosen)
