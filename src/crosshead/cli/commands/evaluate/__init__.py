"""`crosshead evaluate`: how well a saved model, or a file of predictions, does on labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options
from crosshead.cli.options.predictions import PredictionOptions


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of one `crosshead evaluate`; ``subject`` is a model's folder or a file of predictions."""

    subject: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PREDICTIONS",
            help="A folder that `crosshead fit` wrote; or a file of predictions of any tool: a table with one column "
            "a class, JSON lines, .npz, or P.npy,y.npy.",
            show_default=False,
        ),
    ]
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help=f"With MODEL, the data: {options.SOURCES}.",
            show_default=False,
        ),
    ] = None
    predictions: PredictionOptions
    intervals: Annotated[bool, typer.Option("--intervals", help="Also give bootstrap intervals.")] = False
    level: options.Level = 0.95
    resamples: options.Resamples = 1000
    seed: options.Seed = 0
    top_k: Annotated[int, typer.Option(min=1, metavar="K", help="For the top-K error.")] = 5
    bins: options.Bins = 15
    confusion: Annotated[bool, typer.Option("--confusion", help="Also show the confusion matrix.")] = False
    reliability: Annotated[
        bool, typer.Option("--reliability", help="Also show confidence against accuracy, bin by bin.")
    ] = False
    images: image_options.OwnImages
    test_rows: options.TestRows = False
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False

    @property
    def measuring(self) -> dict[str, Any]:
        """The options of `crosshead.evaluate` about what is measured."""
        return {
            "level": self.level if self.intervals else None,
            "resamples": self.resamples,
            "seed": self.seed,
            "top_k": self.top_k,
            "bins": self.bins,
        }


@command
def evaluate(chosen: EvaluateOptions) -> int:
    """Compare MODEL's predictions on SOURCE, or those in a file, with the labels.

    Shows the share of wrong predictions, the cross-entropy in nats and bits, the Brier score (squared error summed
    over classes, mean over rows), how far confidence is from accuracy, and the errors class by class where there are
    at most 20 classes. A model without probabilities has its own mean loss instead. --json has everything.
    """
    from crosshead.cli.commands.evaluate.run import run

    return run(chosen)
