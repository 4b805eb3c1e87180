"""Coordinate descent on a second-order model stored as rows: native kernel and reference implementation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from crosshead.engines.sweeps import coordinate_minimum, sweep_until_converged
from crosshead.losses.protocol import Float

MIN_CURVATURE = 1e-5  # relative to that without q and r, from which float32 cannot distinguish it


def row_descent(model: Any, tolerance: float, most_sweeps: int, seconds: float = math.inf) -> tuple[Float, int]:
    """The step s (m,) that approximately minimises a `crosshead.curvature.row_model`, and the number of sweeps.

    Sweeps end when one over all coordinates moves ``tolerance`` times as far as the first did, measured as
    √Σ curvature·move², or after ``seconds``. Sweeps in between skip coordinates at zero.
    """
    if not len(model.weight):
        return np.zeros(0), 0
    try:
        from crosshead import _native
    except ImportError:
        return descend_rows(model, tolerance, most_sweeps, seconds)
    step = np.empty(len(model.weight))
    dense = isinstance(model.features, np.ndarray)
    sweeps = _native.descend_rows(
        isa="",
        features=model.features if dense else model.features.data,
        indices=None if dense else model.features.indices.astype(np.int32, copy=False),
        starts=None if dense else model.features.indptr.astype(np.int64, copy=False),
        factors=model.factors,
        column=model.column,
        class_of=model.class_of,
        weight=model.weight,
        gradient=model.gradient,
        l1=model.l1,
        l2=model.l2,
        tolerance=tolerance,
        most_sweeps=most_sweeps,
        seconds=seconds,
        step=step,
    )
    return step, sweeps


def descend_rows(model: Any, tolerance: float, most_sweeps: int, seconds: float = math.inf) -> tuple[Float, int]:
    """The reference implementation of `row_descent`, in NumPy."""
    columns = model.features if isinstance(model.features, np.ndarray) else model.features.T.toarray()
    p, q, r = _three_factors(model)
    x = columns[model.column].astype(np.float64)
    own, taken = x**2 * p[model.class_of], 2 * x**2 * q[model.class_of] * r[model.class_of]
    curvature = np.maximum((own - taken).sum(axis=1), MIN_CURVATURE * own.sum(axis=1)) + model.l2
    step, z = np.zeros(len(model.weight)), np.zeros(p.shape)

    def sweep(everywhere: bool) -> float:
        total = 0.0
        for k, c in enumerate(model.class_of):
            here = model.weight[k] + step[k]
            if not everywhere and model.l1[k] > 0 and here == 0:
                continue
            product = p[c] * z[c] - q[c] * (r * z).sum(axis=0) - r[c] * (q * z).sum(axis=0)
            slope = model.gradient[k] + float(x[k] @ product) + model.l2[k] * step[k]
            there = coordinate_minimum(float(here), slope, float(curvature[k]), float(model.l1[k]))
            step[k] = -model.weight[k] if there == 0 else step[k] + (there - here)  # exactly zero
            z[c] += (there - here) * x[k]
            total += curvature[k] * (there - here) ** 2
        return total

    sweeps = sweep_until_converged(sweep, tolerance, most_sweeps, seconds)
    return step, sweeps


def _three_factors(model: Any) -> tuple[Float, Float, Float]:
    p, *others = model.factors.astype(np.float64)
    if not others:
        return p, np.zeros_like(p), np.zeros_like(p)
    return (p, others[0], others[1]) if len(others) == 2 else (p, others[0], others[0] / 2)
