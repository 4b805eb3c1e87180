"""Calls of the native kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead import _native
from crosshead.data.memmap import check_mapped
from crosshead.engines.data import TrainingData
from crosshead.engines.protocol import MovedSums, PassSums, ResidualMove
from crosshead.losses.protocol import Array, Float, PassLoss


def native_pass(
    data: TrainingData,
    features: Any,
    instruction_set: str,
    threads: int,
    weight: Float,
    bias: Float,
    loss: PassLoss,
    *,
    double_precision: bool,
) -> PassSums:
    """Run one pass over ``features``, the kernels' handle of ``data.features`` or of a copy of it."""
    gradient = np.empty(weight.size + bias.size)  # one array: see `PassSums.gradient`
    weight_gradient, bias_gradient = gradient[: weight.size].reshape(weight.shape), gradient[weight.size :]
    sums = _native.evaluate(
        isa=instruction_set,
        features=features,
        weight=np.ascontiguousarray(weight),
        bias=np.ascontiguousarray(bias),
        double_precision=double_precision,
        threads=threads,
        weight_gradient=weight_gradient,
        bias_gradient=bias_gradient,
        **_described(data, loss),
    )
    check_mapped(data.features)
    return PassSums(*sums, weight_gradient, bias_gradient)


def native_sums(
    data: TrainingData,
    features: Any,
    instruction_set: str,
    threads: int,
    scores: Array,
    bias: Float,
    loss: PassLoss,
) -> PassSums:
    """Compute the sums at given scores (N, C) + b, in the dtype of the scores."""
    bias_gradient = np.empty(len(bias))
    sums = _native.sum_scores(
        isa=instruction_set,
        features=features,
        scores=np.require(scores, requirements=["C", "A"]),
        bias=np.ascontiguousarray(bias),
        threads=threads,
        bias_gradient=bias_gradient,
        **_described(data, loss),
    )
    return PassSums(*sums, np.zeros((len(bias), 0)), bias_gradient)


def native_move(
    data: TrainingData,
    features: Any,
    instruction_set: str,
    threads: int,
    move: ResidualMove,
    weight: Float,
    bias: Float,
    loss: PassLoss,
    *,
    double_precision: bool,
) -> MovedSums:
    """Update the residuals in one pass, in place."""
    weight_gradient, bias_gradient = np.empty(weight.shape), np.empty(bias.shape)
    described = _described(data, loss)
    if described["soft_target"] is not None:
        described["soft_target"] = _in_order(described["soft_target"], np.float64)
    travelled, distance, dual = _native.move_residuals(
        isa=instruction_set,
        features=features,
        weight=np.ascontiguousarray(weight),
        bias=np.ascontiguousarray(bias),
        double_precision=double_precision,
        threads=threads,
        residual=move.residual,
        anchor=move.anchor,
        curvature=move.curvature,
        share=move.share,
        weight_gradient=weight_gradient,
        bias_gradient=bias_gradient,
        **described,
    )
    check_mapped(data.features)
    return MovedSums(dual, distance, travelled, weight_gradient, bias_gradient)


def _described(data: TrainingData, loss: PassLoss) -> dict[str, Any]:
    """The targets, weights and loss as arguments of a kernel."""
    name, (margin, smoothing, label_smoothing) = loss.kernel
    labels, soft = _targets(data.target)
    weight = None if data.sample_weight is None else _in_order(data.sample_weight, np.float64)
    return {
        "labels": labels,
        "soft_target": soft,
        "sample_weight": weight,
        "loss": name,
        "margin": margin,
        "smoothing": smoothing,
        "label_smoothing": label_smoothing,
    }


def _targets(target: Array) -> tuple[Array | None, Array | None]:
    if target.ndim == 1:
        return _in_order(target, np.int32), None
    # Coefficients of second-order models may be float32; targets of a loss are float64.
    return None, _in_order(target, target.dtype if target.dtype == np.float32 else np.float64)


def _in_order(values: Array, dtype: Any) -> Array:
    """The values as a contiguous, aligned array, copied if necessary."""
    return np.require(values, dtype, ["C", "A"])
