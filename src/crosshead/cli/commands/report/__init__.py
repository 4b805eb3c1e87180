"""`crosshead report`: one page about a model, or about predictions of any tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.errors import UsageError
from crosshead.cli.options import images as image_options
from crosshead.cli.options.predictions import PredictionOptions

LARGEST_LIST = 100  # costliest rows of one page, each with a picture


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The options of one `crosshead report`, checked; ``source`` is None for predictions."""

    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PREDICTIONS",
            help="A folder that `crosshead fit` wrote, with SOURCE; or a file of predictions, alone.",
            show_default=False,
        ),
    ]
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help=f"Labelled rows for MODEL: {options.SOURCES}.", show_default=False),
    ] = None
    output: Annotated[str, typer.Option(metavar="FILE.html", help="Where to write the page.")] = "report.html"
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all-rows",
            help="Judge on all rows of SOURCE. [default: its test rows, if it brings some, or those that "
            "`crosshead fit --test` held out]",
            show_default=False,
        ),
    ] = False
    predictions: PredictionOptions
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=LARGEST_LIST, metavar="N", help="Costliest rows to list.")
    ] = 24
    level: options.Level = 0.95
    resamples: options.Resamples = 1000
    seed: options.Seed = 0
    title: Annotated[str | None, options.option("TEXT", "The page's title.")] = None
    date: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A date or note for the page's head; by default there is none."),
    ] = None
    images: image_options.OwnImages
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    def __post_init__(self) -> None:
        if self.source is None and self.all_rows:
            raise UsageError("--all-rows is for a model with a SOURCE; predictions are judged on all their rows")
        if self.source is None:
            self.predictions.check()
            self.images.refuse("it is for a model with a SOURCE of images, and these are predictions")
        else:
            self.predictions.refuse_for_model()


@command
def report(chosen: ReportOptions) -> int:
    """Write one page that says how good a model or a set of predictions is, and why.

    The page is a single file that needs no network: verdict with intervals, training curves, confusion, calibration,
    class templates, the costliest rows, the arithmetic of a right and a wrong prediction, and how to make it again. The
    same input gives the same bytes.
    """
    from crosshead.cli.commands.report.run import run

    return run(chosen)
