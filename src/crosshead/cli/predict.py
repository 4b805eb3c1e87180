"""`crosshead predict`: the class of each row, by a saved model."""

from __future__ import annotations

from typing import Annotated

import typer

from crosshead.cli import options


def predict(
    model: options.ModelFolder,
    source: options.Source,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the probability of each class.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write to FILE (.csv, .parquet or .npz). [default: CSV on stdout]",
            show_default=False,
        ),
    ] = None,
    ignore: options.Ignore = None,
    test_rows: options.TestRows = False,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Predict the class of each row of SOURCE with MODEL.

    SOURCE needs no labels. Rows are numbered from 1; images go by their file names. Features are scaled and
    encoded as they were in training.
    """
    options.choice("--engine", engine, options.ENGINES)
    from crosshead.cli.predicting import Request, run

    return run(Request(model, source, proba, output, tuple(ignore or ()), test_rows, engine, threads, as_json))
