"""The small data sets that come with scikit-learn, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.data.dataset import Dataset
from crosshead.data.errors import load_package

NAMES = ("digits", "iris", "wine", "breast_cancer")


def read_builtin(name: str) -> Dataset:
    """Read one of `NAMES`; classes are words, except those of `digits`.

    Examples
    --------
    >>> read_builtin("iris").target[0]
    np.str_('setosa')
    """
    datasets = load_package("sklearn.datasets", "scikit-learn", f"the built-in data set {name!r}")
    bunch = getattr(datasets, f"load_{name}")()
    encoding: dict[str, Any] = {"kind": "array"}
    if name == "digits":
        target = np.asarray(bunch.target, dtype=np.int64)
        encoding["shape"] = [8, 8]
    else:
        target = np.asarray(bunch.target_names, dtype=np.str_)[bunch.target]
    return Dataset(
        np.ascontiguousarray(bunch.data, dtype=np.float64),
        target,
        feature_names=[str(feature) for feature in bunch.feature_names],
        encoding=encoding,
        source=name,
    )
