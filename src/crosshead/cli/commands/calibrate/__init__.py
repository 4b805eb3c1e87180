"""`crosshead calibrate`: give a saved model honest probabilities."""

from __future__ import annotations

from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.options import images as image_options


@command
def calibrate(
    model: options.ModelFolder,
    source: options.Source,
    *,
    target: options.Target = None,
    ignore: options.Ignore = (),
    folds: Annotated[
        int, typer.Option(min=2, metavar="K", help="Folds of the cross-fitting that judges the temperature.")
    ] = 5,
    seed: options.Seed = 0,
    bins: options.Bins = 15,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the calibrated model goes. [default: <MODEL>-calibrated]",
            show_default=False,
        ),
    ] = None,
    images: image_options.OwnImages,
    test_rows: options.TestRows = False,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Fit a temperature T for MODEL on the rows of SOURCE, and save a model whose probabilities are softmax(z/T).

    Predicted classes stay as they are. SOURCE must hold rows that the model was not trained on: its training data is
    refused, and where SOURCE is what the model's training rows were split from (`crosshead fit --test 0.2`), the rows
    that were held out are used. What the temperature does is judged on rows it was not fitted on, by cross-fitting;
    the one that is saved is fitted on all of them. A model of any loss may have a temperature, also a hinge, which has
    no probabilities without one.
    """
    from crosshead.cli.commands.calibrate.run import Request, run

    return run(
        Request(model, source, target, ignore, folds, seed, bins, output, test_rows, engine, threads, as_json, images)
    )
