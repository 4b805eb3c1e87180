"""The rows that an engine sums over: features, targets and weights, validated once and never copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crosshead.engines.row_subset import RowSubset, is_sparse
from crosshead.losses.protocol import Array, Float
from crosshead.sparse_structure import require_structure

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class TrainingData:
    """Features with the targets and weights of their rows.

    * ``features``: (N, D) float32 or float64, a NumPy array in any memory order or a SciPy CSR matrix, or `RowSubset`
      of one
    * ``target``: class indices (N,) int32 (−1: no class, for losses that allow it) or probabilities (N, C) float64;
      second-order models have their coefficients here, which may be float32
    * ``n_classes``: C, the number of score columns
    * ``sample_weight``: (N,) float64, or None for ones

    The indices of a CSR matrix are checked once, because the kernels do not check them. Raises ValueError for shapes
    that do not match, other dtypes and other sparse formats.

    Examples
    --------
    >>> data = TrainingData(np.ones((3, 2)), np.array([0, 1, 1], dtype=np.int32), 2)
    >>> data.n_rows, data.n_features, data.total_weight
    (3, 2, 3.0)
    """

    features: Any
    target: Array
    n_classes: int
    sample_weight: Float | None = None
    rows_of_checked: bool = field(default=False, repr=False, compare=False)  # taken from checked features

    def __post_init__(self) -> None:
        rows = self.features.shape[0]
        if self.features.dtype not in FLOATS:
            raise ValueError(f"features must be float32 or float64, not {self.features.dtype}")
        stored = self._stored
        if self.sparse and stored.format != "csr":
            raise ValueError(f"sparse features must be CSR, not {stored.format.upper()}: use .tocsr()")
        if self.sparse and not self.rows_of_checked:
            require_structure(stored, "the CSR matrix")
        if self.target.shape[0] != rows:
            raise ValueError(f"{rows} rows of features but {self.target.shape[0]} targets")
        if self.target.ndim == 2 and self.target.shape[1] != self.n_classes:
            raise ValueError(f"targets have {self.target.shape[1]} columns for {self.n_classes} classes")
        if self.sample_weight is not None and self.sample_weight.shape != (rows,):
            raise ValueError(f"sample weights have shape {self.sample_weight.shape}, not ({rows},)")

    @property
    def n_rows(self) -> int:
        """N."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @property
    def sparse(self) -> bool:
        """Whether the features are a CSR matrix."""
        return is_sparse(self.features)

    @property
    def _stored(self) -> Any:
        return self.features.features if isinstance(self.features, RowSubset) else self.features

    @property
    def total_weight(self) -> float:
        """Σ sᵢ."""
        return float(self.n_rows) if self.sample_weight is None else float(np.sum(self.sample_weight))

    @property
    def weights(self) -> Float:
        """The sᵢ, (N,)."""
        return np.ones(self.n_rows) if self.sample_weight is None else self.sample_weight

    def rows_in(self, size: int) -> int:
        """The number of rows, at least one, that take about ``size`` bytes."""
        features = self._stored
        if isinstance(features, np.ndarray):
            row = features.dtype.itemsize * self.n_features
        else:
            row = (features.dtype.itemsize + features.indices.itemsize) * features.nnz // max(1, features.shape[0])
        return int(max(1, size // max(1, row)))

    def block(self, first: int, last: int) -> TrainingData:
        """Rows first … last − 1, as views if the storage allows."""
        weight = None if self.sample_weight is None else self.sample_weight[first:last]
        return TrainingData(self.features[first:last], self.target[first:last], self.n_classes, weight, True)

    def take(self, rows: Array) -> TrainingData:
        """The given rows, copied."""
        return self._of(self.features[rows], rows)

    def subset(self, rows: Array) -> TrainingData:
        """The given rows as a `RowSubset`: only their targets and weights are copied."""
        return self._of(RowSubset.of(self.features, rows), rows)

    def _of(self, features: Any, rows: Array) -> TrainingData:
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return TrainingData(features, self.target[rows], self.n_classes, weight, True)
