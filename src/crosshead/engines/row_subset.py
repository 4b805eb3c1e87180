"""A subset of the rows of a feature matrix, by their indices and without a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from crosshead.losses.protocol import Array


@final
@dataclass(frozen=True)
class RowSubset:
    """Rows ``rows`` (n,) int64 of ``features``, (N, D) dense or CSR, without a copy of them.

    Indexing copies, as fancy indexing of an array does; code that runs over blocks copies one block at a time.

    Example:
        >>> chosen = RowSubset(np.arange(8.0).reshape(4, 2), np.array([3, 1]))
        >>> chosen.shape, chosen[:1]
        ((2, 2), array([[6., 7.]]))
    """

    features: Any
    rows: Array

    @classmethod
    def of(cls, features: Any, rows: Array) -> RowSubset:
        """Create a subset of features that may be a subset themselves."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        return cls(features.features, features.rows[rows]) if isinstance(features, cls) else cls(features, rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return len(self.rows), int(self.features.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the features."""
        dtype: np.dtype[Any] = self.features.dtype
        return dtype

    def __getitem__(self, which: Any) -> Any:
        """Copy some of the rows; the second of two indices selects columns."""
        if not isinstance(which, tuple):
            return self.features[self.rows[which]]
        rows, columns = self.rows[which[0]], which[1]
        if isinstance(columns, np.ndarray) and isinstance(self.features, np.ndarray):
            return self.features[rows[:, None], columns]  # no copy of the other columns
        return self.features[rows][:, columns]


def is_sparse(features: Any) -> bool:
    """Whether features, or those they are a subset of, are a CSR matrix."""
    return not isinstance(features.features if isinstance(features, RowSubset) else features, np.ndarray)
