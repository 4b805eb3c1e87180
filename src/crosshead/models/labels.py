"""Labels and the classes of a model: which is which, and which are unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crosshead.data.checks import class_positions
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError

MOST_NAMED = 5


def as_dataset(X: Any, y: Any = None, *, feature_names: list[str] | None = None) -> Dataset:
    """Features X (N, D), dense or sparse, with labels y (N,) as a `Dataset`; one that is given is returned.

    Raises DataError where the lengths differ, or labels come beside a data set, which has its own.

    Examples
    --------
    >>> as_dataset([[1.0, 2.0], [3.0, 4.0]], ["no", "yes"]).n_features
    2
    """
    if isinstance(X, Dataset):
        if y is not None:
            raise DataError(f"{X.source or 'the data set'}: it has labels of its own; give no others")
        return X
    features = X if sparse.issparse(X) or isinstance(X, np.ndarray) else np.asarray(X)
    if features.ndim != 2:
        raise DataError(f"X has shape {features.shape}, expected (rows, features)")
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float64)
    target = None if y is None else np.asarray(y)
    if target is not None and target.shape != (features.shape[0],):
        raise DataError(f"y has shape {target.shape}, but X has {features.shape[0]} rows")
    return Dataset(features, target, feature_names=feature_names, source="X")


def training_classes(dataset: Dataset) -> Array:
    """The distinct labels of training data, sorted; DataError where there are fewer than two.

    Examples
    --------
    >>> training_classes(as_dataset(np.eye(3), ["no", "yes", "no"])).tolist()
    ['no', 'yes']
    """
    if dataset.target is None:
        raise DataError(f"{dataset.source}: no labels to learn from")
    if dataset.n_rows == 0:
        raise DataError(f"{dataset.source}: there are no rows; a classifier needs at least two classes")
    classes: Array = np.unique(dataset.target)
    if classes.size < 2:
        rows = f"{dataset.n_rows} row{'s' if dataset.n_rows > 1 else ''}"
        raise DataError(
            f"{dataset.source}: {rows} of one class only ({classes[0]}); a classifier needs at least two classes"
        )
    return classes


def class_indices(dataset: Dataset, classes: Array) -> NDArray[np.int32]:
    """The position of each label among the classes, (N,); DataError names labels that are none of them.

    Integers and words that read the same are the same label: 7 in one file, "7" as a folder's name.

    Examples
    --------
    >>> class_indices(as_dataset(np.eye(2), [7, 3]), np.array(["3", "7"])).tolist()
    [1, 0]
    """
    if dataset.target is None:
        raise DataError(f"{dataset.source}: no labels to compare with")
    indices = class_positions(dataset.target, classes)
    if (indices < 0).any():
        raise DataError(_unseen(dataset.source, dataset.target[indices < 0]))
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
