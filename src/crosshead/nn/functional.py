"""A linear layer and its loss in one, in memory that does not grow with rows × classes.

Arguments, defaults and values are those of the functions of the same name in `torch.nn.functional`, applied to
``F.linear(input, linear_weight, linear_bias)``. ``input`` may have any leading shape (…, D), where PyTorch's allow (D,)
and (N, D): class numbers then have the shape (…), numbers for each class (…, C). Results have the input's type; inside,
everything is summed in float32 (float64 for float64), and under autocast the result is float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crosshead.nn.angular import margin_cosine
from crosshead.nn.arguments import Rows, as_rows, class_vector, dense_target, index_target, is_dense
from crosshead.nn.fused import reduced_loss
from crosshead.nn.margin_loss import linear_margin_cross_entropy
from crosshead.nn.products import accumulation_type
from crosshead.nn.projections import Linear
from crosshead.nn.reduction import Share, check_reduction, share_of_rows
from crosshead.nn.row_losses import Softmax, Targets

__all__ = ["linear_cross_entropy", "linear_margin_cross_entropy", "margin_cosine"]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    all_ignored: str = "nan",
) -> Tensor | tuple[Tensor, Tensor]:
    """Cross-entropy of softmax(W x + b) without ever holding the scores of all rows and classes.

    ℓ = A·(L + ζ·L²) − Σ_c q_c w_c z_c, in nats, with L = log Σ_c exp z_c, A = Σ_c q_c w_c and q = (1 − ε)·y + ε/C. As
    in PyTorch, class weights w change the smoothing share too, and a mean over class numbers is divided by Σ w_y.

    Parameters
    ----------
    input : Tensor (..., D)
    linear_weight : Tensor (C, D)
    target : Tensor
        Class numbers (...), or probabilities (..., C) of a floating type.
    linear_bias : Tensor (C,), optional
    weight : Tensor (C,), optional
        Class weights w.
    reduction : {"mean", "sum", "none"}
    ignore_index : int
        Rows of this class number count for nothing. Only for class numbers.
    label_smoothing : float
        ε in [0, 1].
    softcap : float, optional
        κ > 0: scores are κ·tanh(z/κ).
    z_loss : float
        ζ ≥ 0.
    return_lse : bool
        Return (loss, L) with L of shape (...), differentiable as well. Then, as for "none", the gradient computes the
        scores once more.
    all_ignored : {"nan", "zero"}
        The mean of no rows: NaN as in PyTorch, or 0.

    Raises
    ------
    ValueError, TypeError, IndexError
        Shapes, types or class numbers that do not fit.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.eye(3), torch.eye(3)
    >>> linear_cross_entropy(x, W, torch.tensor([0, 1, -100]))
    tensor(0.5514)

    Sources: Wijmans et al., Cut your losses in large-vocabulary language models, ICLR 2025; Szegedy et al., CVPR 2016
    (label smoothing); Chowdhery et al., JMLR 24, 2023 (z-loss); Gemma Team, arXiv:2408.00118 (soft cap).
    """
    check_reduction(reduction, all_ignored)
    loss = Softmax(
        _number("label_smoothing", label_smoothing, 0.0, 1.0),
        0.0 if softcap is None else _positive("softcap", softcap),
        _number("z_loss", z_loss, 0.0, float("inf")),
        float(return_lse),
    )
    rows = as_rows(input, linear_weight, linear_bias)
    weight = class_vector("weight", weight, rows.classes)
    targets, share = _softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    value, products = reduced_loss(loss, Linear(), rows, targets, share, reduction=reduction, all_ignored=all_ignored)
    return (value, products[0].reshape(rows.leading).to(rows.result)) if return_lse else value


def _softmax_targets(
    rows: Rows, target: Tensor, weight: Tensor | None, ignore_index: int, label_smoothing: float, reduction: str
) -> tuple[Targets, Share]:
    dtype = accumulation_type(rows.input.dtype)
    count = rows.input.shape[0]
    if is_dense(target, rows.leading, rows.classes) and target.is_floating_point():
        ones = rows.input.new_ones(count, dtype=dtype)
        dense = dense_target(target, rows.classes)
        return Targets(rows.classes, dense=dense, class_weight=weight), share_of_rows(ones, reduction)
    index = index_target(target, rows.leading, rows.classes, ignore_index)
    counted = (index >= 0).to(dtype)
    if weight is None:
        return Targets(rows.classes, index), share_of_rows(counted, reduction)
    weighted = counted * weight.to(dtype)[index.clamp_min(0)]
    if label_smoothing == 0:  # the weight is then a factor of the whole row
        return Targets(rows.classes, index), share_of_rows(weighted, reduction)
    return Targets(rows.classes, index, class_weight=weight), share_of_rows(counted, reduction, weighted.sum())


def _number(name: str, value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        between = f"between {least:g} and {most:g}" if most < float("inf") else f"at least {least:g}"
        raise ValueError(f"{name} must be {between}, not {value!r}")
    return float(value)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return float(value)
