"""`crosshead predict`: the class of each row, by a saved model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of one `crosshead predict`."""

    model: options.ModelFolder
    sources: Annotated[
        tuple[str, ...],
        typer.Argument(
            metavar="SOURCE...",
            help=f"The data: {options.SOURCES}. Of images there may be several, such as photo.jpg folder/.",
            show_default=False,
        ),
    ]
    proba: Annotated[bool, typer.Option("--proba", help="Also write the probability of each class.")] = False
    top: Annotated[
        int | None,
        options.option(
            "K",
            "Also write the K likeliest classes, each with its probability, or its score where there are none.",
            min=1,
        ),
    ] = None
    output: Annotated[
        str | None, options.option("FILE", "Write to FILE (.csv, .parquet or .npz). [default: CSV on stdout]")
    ] = None
    spreadsheet_safe: options.SpreadsheetSafe = True
    ignore: options.Ignore = ()
    images: image_options.StreamedImages
    test_rows: options.TestRows = False
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    @property
    def source(self) -> str:
        """The sources as one name."""
        return " ".join(self.sources)


@command
def predict(chosen: PredictOptions) -> int:
    """Predict the class of each row of SOURCE with MODEL.

    SOURCE needs no labels. Rows are numbered from 1; images go by their file names. Features are scaled and
    encoded as they were in training. A model of images, of their pixels or with a backbone, predicts them as they are
    read, however many there are.
    """
    from crosshead.cli.commands.predict.run import run

    return run(chosen)
