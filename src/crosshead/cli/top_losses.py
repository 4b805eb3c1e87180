"""`crosshead top-losses`: the samples that cost most, or whose labels are doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError


@dataclass(frozen=True)
class TopLossesOptions:
    """The options of one `crosshead top-losses`, checked."""

    model: str
    source: str
    count: int
    label_errors: bool
    folds: int
    seed: int
    target: str | None
    ignore: tuple[str, ...]
    test_rows: bool
    engine: str
    threads: int | None
    output: str | None
    as_json: bool


def top_losses(
    model: options.ModelFolder,
    source: options.Source,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="How many samples to list.")] = 50,
    label_errors: Annotated[
        bool,
        typer.Option(
            "--label-errors",
            help="List samples whose label is probably wrong, by models of the same kind that have not seen them.",
        ),
    ] = False,
    folds: Annotated[int, typer.Option(min=2, metavar="K", help="Folds of --label-errors.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Shuffles the rows of --label-errors into folds.")] = 0,
    target: options.Target = None,
    ignore: options.Ignore = None,
    test_rows: options.TestRows = False,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", help="Write the list to FILE as CSV.", show_default=False),
    ] = None,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """List the samples of SOURCE on which MODEL loses most.

    Each with its file or row, true and predicted class, probability of the true class, loss, and share of the total
    loss. With --label-errors, models like MODEL are trained on SOURCE itself, each without one fold, and the samples
    that confidently belong to another class than their label says are listed (confident learning, Northcutt et al.,
    JAIR 2021).
    """
    if not label_errors and (folds != 5 or seed != 0):
        raise UsageError(f"{'--folds' if folds != 5 else '--seed'} is for --label-errors only")
    chosen = TopLossesOptions(
        model=model,
        source=source,
        count=count,
        label_errors=label_errors,
        folds=folds,
        seed=options.whole("--seed", seed, highest=options.HIGHEST_SEED),
        target=target,
        ignore=tuple(ignore or ()),
        test_rows=test_rows,
        engine=options.choice("--engine", engine, options.ENGINES),
        threads=threads,
        output=output,
        as_json=as_json,
    )
    from crosshead.cli.top_losses_run import run

    return run(chosen)
