"""`crosshead predict`: the class of each row, by a saved model."""

from __future__ import annotations

from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options


@command
def predict(
    model: options.ModelFolder,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help=f"The data: {options.SOURCES}. Of images there may be several, such as photo.jpg folder/.",
            show_default=False,
        ),
    ],
    *,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the probability of each class.")] = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Also write the K likeliest classes, each with its probability, or its score where there are none.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write to FILE (.csv, .parquet or .npz). [default: CSV on stdout]",
            show_default=False,
        ),
    ] = None,
    spreadsheet_safe: options.SpreadsheetSafe = True,
    ignore: options.Ignore = (),
    images: image_options.StreamedImages,
    test_rows: options.TestRows = False,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Predict the class of each row of SOURCE with MODEL.

    SOURCE needs no labels. Rows are numbered from 1; images go by their file names. Features are scaled and
    encoded as they were in training. A model of images, of their pixels or with a backbone, predicts them as they are
    read, however many there are.
    """
    from crosshead.cli.commands.predict.output import Request
    from crosshead.cli.commands.predict.run import run

    sources = tuple(source)
    return run(
        Request(
            model, sources, proba, top, output, ignore, test_rows, engine, threads, as_json, images, spreadsheet_safe
        )
    )
