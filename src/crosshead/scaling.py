"""Scaling of features before training: none, standard, or maxabs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from crosshead.sparse_structure import require_structure

ScalingKind = Literal["none", "standard", "maxabs"]
Float = NDArray[np.float64]

BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Scaler:
    """Scales features: (x − centre) / scale.

    * ``none`` does not change the features.
    * ``standard`` subtracts the mean of each column and divides by its standard deviation (of the population,
      1/Σs). Constant columns are divided by 1. Sparse features are divided but *not* centred, which would make
      them dense; `centre` is then None.
    * ``maxabs`` divides *all* features by one number, the largest absolute value, so that pixels 0…255 become
      pixels/255. Unlike scikit-learn's MaxAbsScaler, it has one divisor for all columns. All-zero features are
      divided by 1.

    ``centre`` is (D,) or None; ``scale`` is (D,) for standard, (1,) for maxabs, None for none.

    Examples
    --------
    >>> Scaler.fit("maxabs", np.array([[0.0, 51.0], [255.0, 0.0]])).apply(np.array([[51.0, 255.0]]))
    array([[0.2, 1. ]])
    """

    kind: ScalingKind = "none"
    n_features: int | None = None
    centre: Float | None = None
    scale: Float | None = None

    @classmethod
    def fit(cls, kind: ScalingKind, features: Any, sample_weight: ArrayLike | None = None) -> Scaler:
        """Fit a scaling to training features; statistics are float64, computed in blocks of rows.

        A row of weight k counts as k rows.

        Raises
        ------
        ValueError
            For an unknown kind, non-finite features, or weights that are negative or sum to 0.
        """
        if kind not in get_args(ScalingKind):
            raise ValueError(f"scaling {kind!r} is unknown; choose none, standard or maxabs")
        require_structure(features)
        n_rows, n_features = features.shape
        weight = _checked_weight(sample_weight, n_rows)
        if kind == "none":
            return cls("none", n_features)
        if kind == "maxabs":
            largest = _largest_magnitude(features, weight)
            return cls("maxabs", n_features, None, np.array([largest if largest > 0.0 else 1.0]))
        mean, scale = _mean_and_deviation(features, weight)
        return cls("standard", n_features, None if sparse.issparse(features) else mean, scale)

    def apply(self, features: Any) -> Any:
        """Scale features: float32 remains float32, other dtypes become float64; ``none`` returns `features` itself.

        Raises
        ------
        ValueError
            If the number of features differs from training, or centred scaling meets sparse features.
        """
        if self.n_features is not None and features.shape[1] != self.n_features:
            raise ValueError(f"{features.shape[1]} features per row, but the scaling was fitted to {self.n_features}")
        if self.scale is None:
            return features
        require_structure(features)
        dtype = np.float32 if features.dtype == np.float32 else np.float64
        if sparse.issparse(features):
            return self._apply_sparse(features, dtype)
        out = np.empty(features.shape, dtype=dtype)
        for start, stop in _blocks(features):
            block = features[start:stop].astype(np.float64)
            if self.centre is not None:
                block -= self.centre
            np.divide(block, self.scale, out=out[start:stop], casting="same_kind")
        return out

    def _apply_sparse(self, features: Any, dtype: type[np.floating[Any]]) -> Any:
        if self.centre is not None:
            raise ValueError("the scaling subtracts means, which sparse features do not allow; give dense ones")
        assert self.scale is not None  # checked by the caller
        divisor = self.scale if self.scale.size == 1 else self.scale[features.indices]
        data = (features.data.astype(np.float64) / divisor).astype(dtype)
        return type(features)((data, features.indices, features.indptr), shape=features.shape)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON document, without loss of precision.

        Examples
        --------
        >>> Scaler("maxabs", 2, None, np.array([255.0])).to_dict()
        {'kind': 'maxabs', 'n_features': 2, 'centre': None, 'scale': [255.0]}
        """
        return {
            "kind": self.kind,
            "n_features": self.n_features,
            "centre": None if self.centre is None else self.centre.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Scaler:
        """Create a scaler from the document of `to_dict`; ValueError if it is invalid."""
        kind: Any = document.get("kind")
        if kind not in get_args(ScalingKind):
            raise ValueError(f"scaling {kind!r} is unknown; choose none, standard or maxabs")
        centre, scale = document.get("centre"), document.get("scale")
        return cls(
            kind,
            document.get("n_features"),
            None if centre is None else np.asarray(centre, dtype=np.float64),
            None if scale is None else np.asarray(scale, dtype=np.float64),
        )


def _checked_weight(sample_weight: ArrayLike | None, n_rows: int) -> Float:
    if n_rows == 0:
        raise ValueError("scaling needs at least one row")
    if sample_weight is None:
        return np.ones(n_rows)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected ({n_rows},)")
    if not np.isfinite(weight).all() or weight.min() < 0.0 or weight.sum() <= 0.0:
        raise ValueError("sample_weight must be finite, not negative, and positive somewhere")
    return weight


def _blocks(features: Any) -> Iterator[tuple[int, int]]:
    n_rows, n_features = features.shape
    width = features.nnz / n_rows if sparse.issparse(features) else n_features
    step = max(1, int(BLOCK_BYTES // (8 * max(width, 1))))
    for start in range(0, n_rows, step):
        yield start, min(start + step, n_rows)


def _counted_blocks(features: Any, weight: Float) -> Iterator[tuple[Any, Float]]:
    """Blocks of float64 rows with positive weight, and their weights."""
    for start, stop in _blocks(features):
        block, block_weight = features[start:stop], weight[start:stop]
        if not block_weight.all():
            kept = np.flatnonzero(block_weight)
            block, block_weight = block[kept], block_weight[kept]
        if not block_weight.size:
            continue
        block = block.astype(np.float64)
        if sparse.issparse(block):
            block.sum_duplicates()
        yield block, block_weight


def _largest_magnitude(features: Any, weight: Float) -> float:
    largest = 0.0
    for block, _ in _counted_blocks(features, weight):
        values = block.data if sparse.issparse(block) else block
        if values.size:
            largest = max(largest, _finite(float(np.max(np.abs(values)))))
            _finite(float(np.min(values)))
    return largest


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise ValueError("features contain NaN or infinite values; scaling needs finite ones")
    return value


def _mean_and_deviation(features: Any, weight: Float) -> tuple[Float, Float]:
    """Column means and standard deviations, in two passes: the second sums squares about the mean.

    A single pass with Σx² would lose all digits of a small spread around a large mean.
    """
    total = float(weight.sum())
    mean = np.zeros(features.shape[1])
    for block, block_weight in _counted_blocks(features, weight):
        mean += block.T @ (block_weight / total)
    _finite(float(mean.sum()))
    variance = np.zeros_like(mean)
    for block, block_weight in _counted_blocks(features, weight):
        variance += _squares_about(block, mean, block_weight / total)
    if not np.isfinite(variance.sum()):  # the mean was finite
        raise ValueError("features are so large that their squares overflow; choose maxabs scaling, which needs none")
    deviation = np.sqrt(variance)
    # A constant column can deviate by rounding errors of its mean; it is still constant.
    deviation[_constant_columns(features, weight) | (deviation == 0.0)] = 1.0
    return mean, deviation


def _squares_about(block: Any, mean: Float, share: Float) -> Float:
    if not sparse.issparse(block):
        return np.asarray(share @ np.square(block - mean))
    # Absent entries are zeros, each (0 − mean)² from the mean. Their weight is the total minus that of present ones:
    # exactly zero in a full column, where a rounding error times a large mean² would dominate.
    present = block.copy()
    present.data = np.ones_like(block.data)
    count = np.bincount(block.indices, minlength=mean.size)
    absent = np.where(count == block.shape[0], 0.0, np.maximum(share.sum() - present.T @ share, 0.0))
    present.data = np.square(block.data - mean[block.indices])
    return np.asarray(present.T @ share + absent * np.square(mean))


def _constant_columns(features: Any, weight: Float) -> NDArray[np.bool_]:
    lowest = np.full(features.shape[1], np.inf)
    highest = np.full(features.shape[1], -np.inf)
    for block, _ in _counted_blocks(features, weight):
        low, high = block.min(axis=0), block.max(axis=0)
        if sparse.issparse(block):
            low, high = low.toarray().ravel(), high.toarray().ravel()
        np.minimum(lowest, low, out=lowest)
        np.maximum(highest, high, out=highest)
    return np.asarray(lowest == highest)
