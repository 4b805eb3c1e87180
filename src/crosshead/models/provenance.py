"""Which rows of a data set a model has seen: in training, or where its temperature was fitted.

A model keeps the fingerprint (SHA-256) of its training rows, and of the data set that they were split from.
"""

from __future__ import annotations

from dataclasses import dataclass

from crosshead.data.dataset import Dataset, split
from crosshead.data.errors import DataError
from crosshead.models.model import Model


@dataclass(frozen=True)
class SeenRows:
    """How many of a data set's ``rows`` a model is known to have seen; ``fingerprint`` is the data set's.

    * ``training``: rows that it was trained on; ``calibration``: rows that its temperature was fitted on
    """

    rows: int
    training: int
    calibration: int
    fingerprint: str


def seen_rows(model: Model, dataset: Dataset) -> SeenRows:
    """How many of these rows the model is known to have seen, in training and in calibration.

    Reads the rows once, for their fingerprint. 0 says only that nothing is known.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.eye(2), np.array(["no", "yes"]))
    >>> model = Model(np.eye(2), np.zeros(2), data.target, "softmax", fingerprint=data.fingerprint())
    >>> seen_rows(model, data).training
    2
    """
    fingerprint, n_rows = dataset.fingerprint(), dataset.n_rows
    if fingerprint == model.fingerprint:
        training = n_rows
    else:
        training = int(model.training["rows"]) if fingerprint == model.training.get("split_from") else 0
    known = model.calibration
    if fingerprint == known.get("fingerprint"):
        calibration = n_rows
    else:
        calibration = int(known["rows"]) if fingerprint == known.get("source_fingerprint") else 0
    return SeenRows(n_rows, training, calibration, fingerprint)


def held_out_rows(model: Model, dataset: Dataset) -> Dataset | None:
    """The rows that `crosshead fit --test FRACTION` held out of a data set, found again; None where they cannot be.

    The split is made once more, with the model's seed. It is believed where its training part has the fingerprint of
    what the model was trained on.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.arange(8.0)[:, None], np.array(["a", "b"] * 4))
    >>> training, held_out = split(data, 0.25, seed=0)
    >>> model = Model(np.eye(2, 1), np.zeros(2), np.array(["a", "b"]), "softmax",
    ...               training={"rows": 6}, fingerprint=training.fingerprint())
    >>> held_out_rows(model, data).fingerprint() == held_out.fingerprint()
    True
    """
    share = (dataset.n_rows - int(model.training["rows"])) / dataset.n_rows
    training, held_out = split(dataset, share, int(model.hyperparameters.get("seed", 0)))
    return held_out if training.fingerprint() == model.fingerprint else None


def unseen_rows(model: Model, dataset: Dataset, seen: SeenRows | None = None) -> Dataset:
    """The rows of a data set that the model was not trained on: all of them, or those that were held out.

    ``seen`` is what `seen_rows` found, where it was asked already. Raises DataError where the model was trained on all
    of the rows, or on some that cannot be told from the others.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.eye(2), np.array(["no", "yes"]))
    >>> unseen_rows(Model(np.eye(2), np.zeros(2), data.target, "softmax"), data).n_rows
    2
    """
    seen = seen_rows(model, dataset) if seen is None else seen
    if not seen.training:
        return dataset
    held_out = held_out_rows(model, dataset) if seen.training < seen.rows else None
    if held_out is not None:
        return held_out
    raise DataError(
        f"{dataset.source}: the model was trained on {seen.training} of these {seen.rows} rows, on which it is surer "
        "of itself than on new ones; give rows that it has not seen"
    )
