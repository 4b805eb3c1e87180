"""`crosshead compare`: two or more models on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options
from crosshead.cli.options import predictions as prediction_options


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of one `crosshead compare`; ``models`` are files of predictions, or models' folders and a source."""

    models: Annotated[
        tuple[str, ...],
        typer.Argument(
            metavar="MODEL|PREDICTIONS|SOURCE",
            help="Two or more files of predictions; or two or more folders that `crosshead fit` wrote, and last the "
            "data to compare them on.",
            show_default=False,
        ),
    ]
    target: options.Target = None
    ignore: options.Ignore = ()
    labels: prediction_options.Labels = None
    row_id: prediction_options.RowId = None
    scores: prediction_options.Scores = False
    most: Annotated[
        int, typer.Option("-n", "--rows", min=0, metavar="N", help="Show the N rows on which two models differ most.")
    ] = 10
    level: options.Level = 0.95
    resamples: options.Resamples = 1000
    seed: options.Seed = 0
    bins: options.Bins = 15
    images: image_options.OwnImages
    test_rows: options.TestRows = False
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    @property
    def predictions(self) -> prediction_options.PredictionOptions:
        """The options about files of predictions."""
        return prediction_options.PredictionOptions(self.target, self.ignore, self.labels, self.row_id, self.scores)

    @property
    def measuring(self) -> dict[str, Any]:
        """The options of `crosshead.compare` about what is measured."""
        return {"level": self.level, "resamples": self.resamples, "seed": self.seed, "bins": self.bins}


@command
def compare(chosen: CompareOptions) -> int:
    """Say which of several models is better, by how much, how surely, and on which rows.

    Shows error, cross-entropy, squared error (MSE, summed over classes) and calibration error with bootstrap
    intervals; for every pair McNemar's test and the differences, where one draw of rows serves both models; and the
    rows on which they differ most. Predictions for other rows or labels are refused.
    """
    from crosshead.cli.commands.compare.run import run

    return run(chosen)
