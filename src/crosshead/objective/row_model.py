"""The second-order model of an L1-penalised objective over some of its weights, kept as rows, and its minimiser.

With the loss's Hessians Hᵢ (C, C) at the rows' scores, a step s of the weights and z_ic = Σ_d s_cd x̃_id,

    ⟨g, s⟩ + ½ Σ wᵢ zᵢᵀ Hᵢ zᵢ + α(1 − ρ)/2·‖s‖² + αρ Σ |W + s|,    Hᵢ = diag p − q rᵀ − r qᵀ,

is what proximal Newton methods minimise. No matrix of features by features or of weights by weights is formed:
coordinate descent keeps z, and a coordinate costs as much as its column has entries (Yuan, Ho and Lin, JMLR 13, 2012;
Friedman, Hastie and Tibshirani, Journal of Statistical Software 33, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import sparse

from crosshead.engines.chosen_rows import ChosenRows, is_sparse
from crosshead.losses.protocol import Array, Float
from crosshead.objective.sampling import CurvedSample

BLOCK_ROWS = 256  # that are copied at a time, where drawn rows are read where they lie
LEAST_CURVATURE = 1e-5  # of that without q and r, which float32 does not tell apart


@final
@dataclass(frozen=True)
class RowModel:
    """The model over m coordinates, of which the k-th is the weight of ``column[k]`` in the class ``class_of[k]``.

    * ``features``: dense columns (M, n), or a CSC matrix (n, M)
    * ``factors``: wᵢ (p, q, r) as (3, C, n), in the features' type; (2, C, n) for Hᵢ = diag p − q qᵀ,
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

    def minimise(self, tolerance: float, most_sweeps: int) -> Float:
        """The step s (m,) that nearly minimises the model.

        Sweeps end when one over all coordinates moves ``tolerance`` times less than the first did, measured as
        √Σ curvature·move²; in between, coordinates at zero are left alone.
        """
        try:
            from crosshead import _native
        except ImportError:
            return self.descend(tolerance, most_sweeps)
        step = np.empty(len(self.weight))
        dense = isinstance(self.features, np.ndarray)
        _native.descend_rows(
            isa="",
            features=self.features if dense else self.features.data,
            indices=None if dense else self.features.indices.astype(np.int32, copy=False),
            starts=None if dense else self.features.indptr.astype(np.int64, copy=False),
            factors=self.factors,
            column=self.column,
            class_of=self.class_of,
            weight=self.weight,
            gradient=self.gradient,
            l1=self.l1,
            l2=self.l2,
            tolerance=tolerance,
            most_sweeps=most_sweeps,
            step=step,
        )
        return step

    def descend(self, tolerance: float, most_sweeps: int) -> Float:
        """`minimise` in NumPy."""
        columns = self.features if isinstance(self.features, np.ndarray) else self.features.T.toarray()
        p, q, r = self._three_factors()
        x = columns[self.column].astype(np.float64)
        own, taken = x**2 * p[self.class_of], 2 * x**2 * q[self.class_of] * r[self.class_of]
        curvature = np.maximum((own - taken).sum(axis=1), LEAST_CURVATURE * own.sum(axis=1)) + self.l2
        step, z = np.zeros(len(self.weight)), np.zeros(p.shape)

        def sweep(everywhere: bool) -> float:
            total = 0.0
            for k, c in enumerate(self.class_of):
                here = self.weight[k] + step[k]
                if not everywhere and self.l1[k] > 0 and here == 0:
                    continue
                product = p[c] * z[c] - q[c] * (r * z).sum(axis=0) - r[c] * (q * z).sum(axis=0)
                slope = self.gradient[k] + float(x[k] @ product) + self.l2[k] * step[k]
                there = _minimum(float(here), slope, float(curvature[k]), float(self.l1[k]))
                step[k] = -self.weight[k] if there == 0 else step[k] + (there - here)  # zero to the last bit
                z[c] += (there - here) * x[k]
                total += curvature[k] * (there - here) ** 2
            return total

        first = sweep(True)
        enough, sweeps = tolerance**2 * first, 1
        while sweeps < most_sweeps:
            last = first
            while sweeps < most_sweeps and last > enough:
                last = sweep(False)
                sweeps += 1
            sweeps += 1
            if sweep(True) <= enough:
                break
        return step

    def _three_factors(self) -> tuple[Float, Float, Float]:
        p, *others = self.factors.astype(np.float64)
        if not others:
            return p, np.zeros_like(p), np.zeros_like(p)
        return (p, others[0], others[1]) if len(others) == 2 else (p, others[0], others[0] / 2)


def _minimum(here: float, slope: float, curvature: float, l1: float) -> float:
    """The t that minimises slope·t + curvature/2·(t − here)² + l1·|t|."""
    if curvature <= 0:  # a constant column: the loss does not see it, the penalty does
        return 0.0 if abs(slope) <= l1 else here
    target = here - slope / curvature
    return float(np.copysign(max(abs(target) - l1 / curvature, 0.0), target))


@final
@dataclass(frozen=True)
class ActiveModel:
    """A `RowModel` and where its coordinates lie: ``feature`` (m,), and the mean feature ``center`` (m,) of each.

    With an intercept the last C coordinates of the model are the biases, as seen from the mean feature.
    """

    rows: RowModel
    feature: Array
    center: Float
    fit_intercept: bool

    def step(self, shape: tuple[int, int], tolerance: float, most_sweeps: int) -> tuple[Float, Float]:
        """The step of W, ``shape`` is (C, D), and of b (C,) that nearly minimises the model."""
        found = self.rows.minimise(tolerance, most_sweeps)
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
    """The model over ``coordinates`` (m,), positions in W (C, D) row by row, and the bias where it has a gradient (C,).

    The loss's curvature counts ``stretch`` times. None where the loss has no second-order model of rows.
    """
    if sample.quadratic is None or sample.coefficients is None:
        return None
    classes, width = weight.shape
    class_of, feature = np.divmod(coordinates, width)
    order = np.argsort(feature, kind="stable")  # one column's coordinates follow each other
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
    """The chosen columns with one of ones after them, and what was taken off each: the mean, of dense columns."""
    features, count = sample.features, len(chosen)
    n_rows = features.shape[0]
    if is_sparse(features):
        sparse_columns = (features[:] if isinstance(features, ChosenRows) else features)[:, chosen].tocsc()
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
