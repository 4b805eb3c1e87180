"""`crosshead calibrate`: give a saved model honest probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """The options of one `crosshead calibrate`."""

    model: options.ModelFolder
    source: options.Source
    target: options.Target = None
    ignore: options.Ignore = ()
    folds: Annotated[
        int, typer.Option(min=2, metavar="K", help="Folds of the cross-fitting that judges the temperature.")
    ] = 5
    seed: options.Seed = 0
    bins: options.Bins = 15
    output: Annotated[
        str | None, options.option("FOLDER", "Where the calibrated model goes. [default: <MODEL>-calibrated]")
    ] = None
    images: image_options.OwnImages
    test_rows: options.TestRows = False
    engine: options.Engine = "auto"
    threads: options.Threads = None
    as_json: options.AsJson = False


@command
def calibrate(chosen: CalibrateOptions) -> int:
    """Fit a temperature T for MODEL on the rows of SOURCE, and save a model whose probabilities are softmax(z/T).

    Predicted classes stay as they are. SOURCE must hold rows that the model was not trained on: its training data is
    refused, and where SOURCE is what the model's training rows were split from (`crosshead fit --test 0.2`), the rows
    that were held out are used. What the temperature does is judged on rows it was not fitted on, by cross-fitting;
    the one that is saved is fitted on all of them. A model of any loss may have a temperature, also a hinge, which has
    no probabilities without one.
    """
    from crosshead.cli.commands.calibrate.run import run

    return run(chosen)
