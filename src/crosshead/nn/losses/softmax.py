"""Cross-entropy of a linear layer, and of given scores."""

from __future__ import annotations

from torch import Tensor

from crosshead.nn.backends.projections import Linear
from crosshead.nn.fused.inputs import (
    as_rows,
    as_score_rows,
    check_reduction,
    number_between,
    positive_number,
    softmax_targets,
)
from crosshead.nn.fused.positional_weights import loss_at_every_position
from crosshead.nn.fused.reduced_loss import reduced_loss, reduced_score_loss
from crosshead.nn.row_losses import Softmax


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
    """Cross-entropy of softmax(W x + b), computed without storing the scores of all rows and classes.

    ℓ = A·(L + ζ·L²) − Σ_c q_c w_c z_c, in nats, with L = log Σ_c exp z_c, A = Σ_c q_c w_c and q = (1 − ε)·y + ε/C. As
    in PyTorch, class weights w change the smoothing share too, and a mean over class numbers is divided by Σ w_y.

    Parameters
    ----------
    input : Tensor (..., D)
    linear_weight : Tensor (C, D)
        Or (C, d₁, …, d_K, D), one layer for each of d₁ × … × d_K positions.
    target : Tensor
        Class numbers (...), or probabilities (..., C) of a floating type; positions are further dimensions.
    linear_bias : Tensor (C,), optional
        (C, d₁, …, d_K) with positions.
    weight : Tensor (C,), optional
        Class weights w.
    reduction : {"mean", "sum", "none"}
    ignore_index : int
        Rows with this class number are ignored. Only for class numbers.
    label_smoothing : float
        ε in [0, 1].
    softcap : float, optional
        κ > 0: scores are κ·tanh(z/κ).
    z_loss : float
        ζ ≥ 0.
    return_lse : bool
        Return (loss, L) with L (...), which is differentiable too. Then, as for "none", the scores are computed again
        for the gradient.
    all_ignored : {"nan", "zero"}
        The mean if all rows are ignored: NaN as in PyTorch, or 0.

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
    if linear_weight.dim() > 2:

        def at_position(
            x: Tensor, layer: Tensor, own: Tensor, bias: Tensor | None, reduction: str
        ) -> tuple[Tensor, Tensor | None]:
            found = linear_cross_entropy(
                x,
                layer,
                own,
                linear_bias=bias,
                weight=weight,
                reduction=reduction,
                ignore_index=ignore_index,
                label_smoothing=label_smoothing,
                softcap=softcap,
                z_loss=z_loss,
                return_lse=return_lse,
            )
            return found if isinstance(found, tuple) else (found, None)

        value, lse = loss_at_every_position(
            at_position, input, linear_weight, target, linear_bias, weight, reduction, ignore_index, all_ignored
        )
        return value if lse is None else (value, lse)
    loss = _softmax(label_smoothing, softcap, z_loss, return_lse)
    rows = as_rows(input, linear_weight, linear_bias)
    targets, row_weights = softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    value, outputs = reduced_loss(
        loss, Linear(), rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored
    )
    return (value, outputs[0].reshape(rows.leading).to(rows.result)) if return_lse else value


def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    all_ignored: str = "nan",
) -> Tensor | tuple[Tensor, Tensor]:
    """Cross-entropy of given scores (…, C); loss and gradient are computed in one pass over them.

    ℓ = A·(L + ζ·L²) − Σ_c q_c w_c z_c with scores z: formula, options, errors and sources are those of
    `linear_cross_entropy`. ``target`` is class numbers (...) or probabilities (..., C). The last dimension is that of
    the classes, for which PyTorch takes the second: for (N, C) they are the same.

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([[1.0, 2.0, 5.0]]).log()
    >>> cross_entropy(scores, torch.tensor([2])).exp()  # 8/5
    tensor(1.6000)
    """
    check_reduction(reduction, all_ignored)
    loss = _softmax(label_smoothing, softcap, z_loss, return_lse)
    rows = as_score_rows(input)
    targets, row_weights = softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    value, outputs = reduced_score_loss(loss, rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored)
    return (value, outputs[0].reshape(rows.leading).to(rows.result)) if return_lse else value


def _softmax(label_smoothing: float, softcap: float | None, z_loss: float, return_lse: bool) -> Softmax:
    return Softmax(
        number_between("label_smoothing", label_smoothing, 0.0, 1.0),
        0.0 if softcap is None else positive_number("softcap", softcap),
        number_between("z_loss", z_loss, 0.0, float("inf")),
        float(return_lse),
    )
