"""What `crosshead predict` does once its options are read."""

from __future__ import annotations

from crosshead.cli.commands.predict import PredictOptions
from crosshead.cli.commands.predict import images as predicting_images
from crosshead.cli.commands.predict import rows as predicting_rows
from crosshead.cli.commands.predict.writers import SUFFIXES
from crosshead.cli.destinations import check_output
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import UsageError
from crosshead.models import Model, has_probabilities


def run(options: PredictOptions) -> int:
    """Predict and write; returns the exit code."""
    output = None if options.output is None else check_output(options.output, SUFFIXES)
    check_engine(options.engine)
    model = Model.load(options.model)
    if options.proba and not has_probabilities(model):
        raise UsageError(
            f"--proba: the model was trained with {model.loss}, which has no probabilities; "
            "train with --loss softmax or binary, or give it a temperature with crosshead calibrate"
        )
    if predicting_images.are_images(model, options.sources):
        return predicting_images.run(options, model, output)
    return predicting_rows.run(options, model, output)
