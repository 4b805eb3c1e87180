"""The rows that a fit held out, found again."""

from __future__ import annotations

from crosshead.data import Dataset, split
from crosshead.models import Model


def held_out_again(model: Model, dataset: Dataset) -> Dataset | None:
    """The rows of what training and held-out rows were split from that the model was not trained on.

    The split is made once more, and believed where its training part has the fingerprint of what the model was trained
    on; else None.
    """
    share = (dataset.n_rows - int(model.training["rows"])) / dataset.n_rows
    training, held_out = split(dataset, share, int(model.hyperparameters.get("seed", 0)))
    return held_out if training.fingerprint() == model.fingerprint else None
