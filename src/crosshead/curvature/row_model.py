"""The second-order model of an L1-penalised objective over some of its weights, stored as rows.

With the loss's Hessians Hᵢ (C, C) at the rows' scores, a step s of the weights and z_ic = Σ_d s_cd x̃_id,

    ⟨g, s⟩ + ½ Σ wᵢ zᵢᵀ Hᵢ zᵢ + α(1 − ρ)/2·‖s‖² + αρ Σ |W + s|,    Hᵢ = diag p − q rᵀ − r qᵀ,

is minimised by proximal Newton methods. No matrix of features by features or of weights by weights is formed:
coordinate descent maintains z, and a coordinate costs as much as its column has entries (Yuan, Ho and Lin, JMLR 13,
2012; Friedman, Hastie and Tibshirani, Journal of Statistical Software 33, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import sparse

from crosshead.curvature.row_sampling import CurvedSample
from crosshead.engines.row_subset import RowSubset, is_sparse
from crosshead.losses.protocol import Array, Float

BLOCK_ROWS = 256  # rows of a `RowSubset` copied at a time


@final
@dataclass(frozen=True)
class RowModel:
    """The model over m coordinates; the k-th is the weight of feature ``column[k]`` in class ``class_of[k]``.

    * ``features``: dense columns (M, n), or a CSC matrix (n, M)
    * ``factors``: wᵢ (p, q, r) as (3, C, n), in the dtype of the features; (2, C, n) for Hᵢ = diag p − q qᵀ,
      (1, C, n) for diag p
    * ``weight``, ``gradient``, ``l1``, ``l2``: (m,)
    """

    features: Any
    factors: Array
    column: Array
    class_of: Array
    weight: Float
    gradient: Float
    l1: Float
    l2: Float


@final
@dataclass(frozen=True)
class ActiveModel:
    """A `RowModel` with the ``feature`` (m,) and the mean feature ``center`` (m,) of each coordinate.

    With an intercept, the last C coordinates of the model are the biases, relative to the mean feature.
    """

    rows: RowModel
    feature: Array
    center: Float
    fit_intercept: bool

    def step(self, found: Float, shape: tuple[int, int]) -> tuple[Float, Float]:
        """Convert a step (m,) of the coordinates to steps of W, of ``shape`` (C, D), and b (C,)."""
        weight, bias = np.zeros(shape), np.zeros(shape[0])
        count, class_of = len(self.feature), self.rows.class_of[: len(self.feature)]
        weight[class_of, self.feature] = found[:count]
        if self.fit_intercept:
            bias = found[count:] - np.bincount(class_of, weights=found[:count] * self.center, minlength=shape[0])
        return weight, bias


def build_active_model(
    sample: CurvedSample,
    weight: Float,
    gradient: Float,
    bias_gradient: Float | None,
    coordinates: Array,
    *,
    l1: float,
    l2: float,
    stretch: float = 1.0,
) -> ActiveModel | None:
    """Build the model over ``coordinates`` (m,), flat positions in W (C, D), and the bias if it has a gradient (C,).

    The curvature of the loss is multiplied by ``stretch``. None without a second-order model of rows.
    """
    if sample.quadratic is None or sample.coefficients is None:
        return None
    classes, width = weight.shape
    class_of, feature = np.divmod(coordinates, width)
    order = np.argsort(feature, kind="stable")  # coordinates of a column are adjacent
    class_of, feature = class_of[order], feature[order]
    chosen, column = np.unique(feature, return_inverse=True)
    columns, center = _columns(sample, chosen, bias_gradient is not None)
    here, slope = weight[class_of, feature], gradient[class_of, feature]
    l1s, l2s = np.full(len(here), l1), np.full(len(here), l2)
    middle = center[column]
    if bias_gradient is not None:
        slope = np.concatenate([slope - middle * bias_gradient[class_of], bias_gradient])
        column = np.append(column, np.full(classes, len(chosen)))
        here, class_of = np.append(here, np.zeros(classes)), np.append(class_of, np.arange(classes))
        l1s, l2s = np.append(l1s, np.zeros(classes)), np.append(l2s, np.zeros(classes))
    factors = sample.quadratic.factors(sample.coefficients, stretch * sample.weight)
    tables = np.ascontiguousarray([factor.T for factor in factors], dtype=sample.features.dtype)
    rows = RowModel(columns, tables, column.astype(np.int64), class_of.astype(np.int64), here, slope, l1s, l2s)
    return ActiveModel(rows, feature, middle, bias_gradient is not None)


def _columns(sample: CurvedSample, chosen: Array, ones: bool) -> tuple[Any, Float]:
    """The selected columns followed by one of ones, and what was subtracted: the mean, for dense columns."""
    features, count = sample.features, len(chosen)
    n_rows = features.shape[0]
    if is_sparse(features):
        sparse_columns = (features[:] if isinstance(features, RowSubset) else features)[:, chosen].tocsc()
        if ones:
            sparse_columns = sparse.hstack([sparse_columns, np.ones((n_rows, 1), dtype=features.dtype)], format="csc")
        return sparse_columns, np.zeros(count)
    columns = np.ones((count + ones, n_rows), dtype=features.dtype)
    for first in range(0, n_rows, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, n_rows)
        columns[:count, first:last] = features[first:last][:, chosen].T
    if not ones:
        return columns, np.zeros(count)
    share = sample.weight * sample.curvature.rows
    total = float(share.sum())
    center = columns[:count] @ (share / total if total > 0 else sample.weight).astype(features.dtype)
    columns[:count] -= center[:, None]
    return columns, center.astype(np.float64)
