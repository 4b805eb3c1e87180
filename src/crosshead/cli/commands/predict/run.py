"""What `crosshead predict` does once its options are read."""

from __future__ import annotations

from crosshead.cli.commands.predict import images as predicting_images
from crosshead.cli.commands.predict import rows as predicting_rows
from crosshead.cli.commands.predict.output import Request
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import UsageError
from crosshead.cli.measures import has_probabilities
from crosshead.cli.writers import check_output
from crosshead.models import Model


def run(request: Request) -> int:
    """Predict and write; returns the exit code."""
    output = None if request.output is None else check_output(request.output)
    check_engine(request.engine)
    model = Model.load(request.model)
    if request.proba and not has_probabilities(model):
        raise UsageError(
            f"--proba: the model was trained with {model.loss}, which has no probabilities; "
            "train with --loss softmax or binary, or give it a temperature with crosshead calibrate"
        )
    if predicting_images.are_images(model, request.sources):
        return predicting_images.run(request, model, output)
    return predicting_rows.run(request, model, output)
