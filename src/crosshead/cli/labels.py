"""Labels and the classes of a model: which is which, and which are unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosshead.cli.errors import UsageError
from crosshead.data.checks import class_positions
from crosshead.data.dataset import Array, Dataset

MOST_NAMED = 5


def training_classes(dataset: Dataset) -> Array:
    """The distinct labels of training data, sorted; UsageError where there are fewer than two."""
    if dataset.target is None:
        raise UsageError(f"{dataset.source}: no labels to learn from")
    classes: Array = np.unique(dataset.target)
    if classes.size < 2:
        rows = f"{dataset.n_rows} row{'s' if dataset.n_rows > 1 else ''}"
        raise UsageError(
            f"{dataset.source}: {rows} of one class only ({classes[0]}); a classifier needs at least two classes"
        )
    return classes


def class_indices(dataset: Dataset, classes: Array) -> NDArray[np.int32]:
    """The position of each label among the classes, (N,); UsageError names labels that are none of them.

    Integers and words that read the same are the same label: 7 in one file, "7" as a folder's name.
    """
    if dataset.target is None:
        raise UsageError(f"{dataset.source}: no labels to compare with")
    indices = class_positions(dataset.target, classes)
    if (indices < 0).any():
        raise UsageError(_unseen(dataset.source, dataset.target[indices < 0]))
    return np.asarray(indices, dtype=np.int32)


def _unseen(source: str, labels: Array) -> str:
    names, counts = np.unique(labels, return_counts=True)
    shown = ", ".join(
        f"{name} ({count} row{'s' if count > 1 else ''})"
        for name, count in list(zip(names.tolist(), counts.tolist(), strict=True))[:MOST_NAMED]
    )
    more = f" and {names.size - MOST_NAMED} more" if names.size > MOST_NAMED else ""
    what = "label" if names.size == 1 else "labels"
    return f"{source}: {what} unseen in training: {shown}{more}; remove these rows, or train with such rows too"
