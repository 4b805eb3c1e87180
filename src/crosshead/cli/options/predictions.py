"""The options about files of predictions that commands share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

Labels = Annotated[
    str | None,
    options.option(
        "SOURCE",
        "Where the labels of predictions are, if not beside them: a source with the same rows in the same order.",
    ),
]
RowId = Annotated[
    str | None,
    options.option("COLUMN", "The column of predictions that names their rows. [default: row, file, id or row_id]"),
]
Scores = Annotated[bool, typer.Option("--scores", help="Predictions are scores (logits), not probabilities.")]
ScoreLoss = Annotated[
    str | None,
    options.option("NAME", f"With --scores, what they cost: {', '.join(options.LOSSES)}. [default: softmax]"),
    options.one_of(options.LOSSES),
]


@dataclass(frozen=True)
class PredictionOptions:
    """The options about files of predictions."""

    target: options.Target = None
    ignore: options.Ignore = ()
    labels: Labels = None
    row_id: RowId = None
    scores: Scores = False
    loss: ScoreLoss = None

    def check(self) -> None:
        """UsageError where options contradict each other."""
        if self.loss is not None and not self.scores:
            raise UsageError("--loss names what scores cost; say --scores where the file holds scores")

    def refuse_for_model(self) -> None:
        """UsageError where an option is given that means nothing for a model."""
        given = {
            "--labels": self.labels is not None,
            "--row-id": self.row_id is not None,
            "--scores": self.scores,
            "--loss": self.loss is not None,
        }
        for option, is_given in given.items():
            if is_given:
                raise UsageError(f"{option} is for files of predictions, and this is a model with a source")
