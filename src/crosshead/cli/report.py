"""`crosshead report`: one page about a model, or about predictions of any tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

if TYPE_CHECKING:
    from crosshead.cli.predicted import PredictionOptions

LARGEST_LIST = 100  # costliest rows of one page, each with a picture
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class ReportOptions:
    """The options of one `crosshead report`, checked; ``source`` is None for predictions."""

    subject: str
    source: str | None
    output: str
    predictions: PredictionOptions
    all_rows: bool
    count: int
    level: float
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
        typer.Argument(metavar="SOURCE", help=f"Labelled rows for MODEL: {options.SOURCES}.", show_default=False),
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
    labels: options.Labels = None,
    row_id: options.RowId = None,
    scores: options.Scores = False,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"With --scores, what they cost: {', '.join(options.LOSSES)}. [default: softmax]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=LARGEST_LIST, metavar="N", help="Costliest rows to list.")
    ] = 24,
    level: options.Level = "0.95",
    resamples: options.Resamples = 1000,
    seed: options.Seed = 0,
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
    from crosshead.cli.predicted import PredictionOptions

    loss = None if loss is None else options.choice("--loss", loss, options.LOSSES)
    predictions = PredictionOptions(target, tuple(ignore or ()), labels, row_id, scores, loss)
    predictions.check() if source is None else predictions.refuse_for_model()
    chosen = ReportOptions(
        subject=subject,
        source=source,
        output=output,
        predictions=predictions,
        all_rows=all_rows,
        count=count,
        level=options.share("--level", level),
        resamples=resamples,
        seed=options.whole("--seed", seed, highest=options.HIGHEST_SEED),
        title=title,
        date=date,
        engine=options.choice("--engine", engine, options.ENGINES),
        threads=threads,
        as_json=as_json,
    )
    from crosshead.cli.report_run import run

    return run(chosen)
