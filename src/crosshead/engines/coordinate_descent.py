"""Coordinate descent on the quadratic model of an L1-penalised objective: native kernel and NumPy reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crosshead.engines.sweeps import coordinate_minimum, sweep_until_converged
from crosshead.losses.protocol import Float

MIN_CURVATURE = 1e-3  # relative to the metric's own, where the low-rank part cancels most of it


@dataclass(frozen=True)
class QuadraticModel:
    """The model ⟨g, S⟩ + ½⟨S, B S A⟩ + ½ Σ l2_d S²_cd − ½ sᵀ Q K Qᵀ s + Σ l1_d |W_cd + S_cd| of a step S (C, D).

    * ``weight`` W and ``gradient`` g: (C, D)
    * ``class_matrix`` B: (C, C), or its diagonal (C,)
    * ``feature_matrix`` A: (D, D), or its diagonal (D,)
    * ``l1``, ``l2``: (D,)
    * ``low_rank`` Q and ``low_rank_scaled`` Q K: (C·D, r)
    """

    weight: Float
    gradient: Float
    class_matrix: Float
    feature_matrix: Float
    l1: Float
    l2: Float
    low_rank: Float
    low_rank_scaled: Float


def coordinate_descent(
    model: QuadraticModel, tolerance: float, most_sweeps: int, seconds: float = math.inf
) -> tuple[Float, int]:
    """The step S (C, D) that approximately minimises the model, and the number of sweeps.

    Sweeps end when one over all coordinates moves ``tolerance`` times as far as the first did, measured as
    √Σ curvature·move², or after ``seconds``. Sweeps in between skip coordinates at zero.
    """
    try:
        from crosshead import _native
    except ImportError:
        return descend(model, tolerance, most_sweeps, seconds)
    step = np.empty(model.weight.shape)
    sweeps = _native.coordinate_descent(
        weight=np.ascontiguousarray(model.weight),
        gradient=np.ascontiguousarray(model.gradient),
        class_matrix=np.ascontiguousarray(model.class_matrix),
        feature_matrix=np.ascontiguousarray(model.feature_matrix),
        l1=model.l1,
        l2=model.l2,
        low_rank=np.ascontiguousarray(model.low_rank),
        low_rank_scaled=np.ascontiguousarray(model.low_rank_scaled),
        tolerance=tolerance,
        most_sweeps=most_sweeps,
        seconds=seconds,
        step=step,
    )
    return step, sweeps


def descend(model: QuadraticModel, tolerance: float, most_sweeps: int, seconds: float = math.inf) -> tuple[Float, int]:
    """The reference implementation of `coordinate_descent`, in NumPy."""
    B = model.class_matrix if model.class_matrix.ndim == 2 else np.diag(model.class_matrix)
    A = model.feature_matrix if model.feature_matrix.ndim == 2 else np.diag(model.feature_matrix)
    step, low = np.zeros_like(model.weight), np.zeros(model.low_rank.shape[1])
    columns = model.weight.shape[1]
    own = np.diag(B)[:, None] * np.diag(A) + model.l2
    taken = np.einsum("jk,jk->j", model.low_rank_scaled, model.low_rank).reshape(own.shape)
    curvature = np.maximum(own - taken, MIN_CURVATURE * own)

    def sweep(everywhere: bool) -> float:
        nonlocal low
        total = 0.0
        for d in range(columns):
            for c in range(len(B)):
                here = model.weight[c, d] + step[c, d]
                if not everywhere and model.l1[d] > 0 and here == 0:
                    continue
                j = c * columns + d
                slope = model.gradient[c, d] + B[c] @ (step @ A[:, d]) + model.l2[d] * step[c, d]
                slope -= model.low_rank_scaled[j] @ low
                there = coordinate_minimum(float(here), float(slope), float(curvature[c, d]), float(model.l1[d]))
                by = there - here
                step[c, d] = -model.weight[c, d] if there == 0 else step[c, d] + by  # exactly zero
                low = low + by * model.low_rank[j]
                total += curvature[c, d] * by * by
        return total

    sweeps = sweep_until_converged(sweep, tolerance, most_sweeps, seconds)
    return step, sweeps
