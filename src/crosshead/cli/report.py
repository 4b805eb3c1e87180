"""`crosshead report`: one page about a model, or about predictions of any tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

LARGEST_LIST = 100  # costliest rows of one page, each with a picture
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class ReportOptions:
    """The options of one `crosshead report`, checked; ``source`` is None for predictions."""

    subject: str
    source: str | None
    output: str
    target: str | None
    ignore: tuple[str, ...]
    all_rows: bool
    scores: bool
    row_id: str | None
    count: int
    resamples: int
    seed: int
    title: str | None
    date: str | None
    engine: str
    threads: int | None
    as_json: bool


def report(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PREDICTIONS",
            help="A folder that `crosshead fit` wrote, with SOURCE; or a file of predictions, alone.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help=f"Labelled rows for MODEL: {options.SOURCES}.", show_default=False),
    ] = None,
    output: Annotated[str, typer.Option(metavar="FILE.html", help="Where to write the page.")] = "report.html",
    target: options.Target = None,
    ignore: options.Ignore = None,
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all-rows",
            help="Judge on all rows of SOURCE. [default: its test rows, if it brings some, or those that "
            "`crosshead fit --test` held out]",
            show_default=False,
        ),
    ] = False,
    scores: Annotated[bool, typer.Option("--scores", help="PREDICTIONS holds scores, not probabilities.")] = False,
    row_id: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of PREDICTIONS that names the rows.", show_default=False),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=LARGEST_LIST, metavar="N", help="Costliest rows to list.")
    ] = 24,
    resamples: Annotated[int, typer.Option(min=1, metavar="N", help="Bootstrap samples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws the bootstrap samples.")] = 0,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The page's title.", show_default=False)] = None,
    date: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A date or note for the page's head; by default there is none."),
    ] = None,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Write one page that says how good a model or a set of predictions is, and why.

    The page is a single file that needs no network: verdict with intervals, training curves, confusion, calibration,
    class templates, the costliest rows, the arithmetic of a right and a wrong prediction, and how to make it again. The
    same input gives the same bytes.
    """
    if source is None and all_rows:
        raise UsageError("--all-rows is for a model with a SOURCE; predictions are judged on all their rows")
    if source is not None and (scores or row_id is not None):
        raise UsageError(f"{'--scores' if scores else '--row-id'} is for a file of predictions, not for a model")
    chosen = ReportOptions(
        subject=subject,
        source=source,
        output=output,
        target=target,
        ignore=tuple(ignore or ()),
        all_rows=all_rows,
        scores=scores,
        row_id=row_id,
        count=count,
        resamples=resamples,
        seed=options.whole("--seed", seed, highest=2**32 - 1),
        title=title,
        date=date,
        engine=options.choice("--engine", engine, options.ENGINES),
        threads=threads,
        as_json=as_json,
    )
    from crosshead.cli.report_run import run

    return run(chosen)
