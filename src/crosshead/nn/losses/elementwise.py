"""Losses of a linear layer in which every score has its own term: binary cross-entropy and squared error."""

from __future__ import annotations

from torch import Tensor

from crosshead.nn.backends.projections import Linear
from crosshead.nn.fused.inputs import as_rows, check_element_reduction, element_targets
from crosshead.nn.fused.reduced_loss import reduced_loss
from crosshead.nn.row_losses import Binary, RowLoss, SquaredError


def linear_binary_cross_entropy_with_logits(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    all_ignored: str = "nan",
) -> Tensor:
    """Binary cross-entropy of every score in W x + b: a binary problem for each class.

    ℓ_c = w_c·( (1 − t_c)·log(1 + exp z_c) + v_c·t_c·log(1 + exp −z_c) ), in nats, v being ``pos_weight``.

    Parameters
    ----------
    input : Tensor (..., D)
    linear_weight : Tensor (C, D)
    target : Tensor
        Probabilities (..., C) in [0, 1] of a floating type; or class numbers (...): 1 for that class, 0 for all others.
    linear_bias : Tensor (C,), optional
    weight : Tensor (C,) or (..., 1), optional
        Weights w of the classes, or of the rows.
    pos_weight : Tensor (C,), optional
    reduction : {"mean", "sum", "batchmean", "rows"}
        Over rows × classes, as in PyTorch (a mean is divided by their number, whatever the weights). "batchmean"
        divides by the number of rows; "rows" gives the sum over classes of each row, (...). "none" would store
        rows × classes losses and raises ValueError.
    ignore_index : int
        Rows with this class number are ignored. Only for class numbers.
    all_ignored : {"nan", "zero"}
        The mean if all rows are ignored.

    Raises
    ------
    ValueError, TypeError, IndexError
        Shapes, types or class numbers that do not fit.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.zeros(1, 2), torch.ones(3, 2)
    >>> linear_binary_cross_entropy_with_logits(x, W, torch.tensor([1]))  # log 2
    tensor(0.6931)
    """
    return _element_loss(
        Binary(), input, linear_weight, target, linear_bias, weight, pos_weight, reduction, ignore_index, all_ignored
    )


def linear_mse_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    all_ignored: str = "nan",
) -> Tensor:
    """Squared error of the scores z = W x + b.

    ℓ_c = w_c·(z_c − t_c)². ``target`` is numbers (..., C), or class numbers (...), which stand for one-hot rows. Other
    arguments, reductions and errors are those of `linear_binary_cross_entropy_with_logits`, except that a mean with
    weights is divided by their sum over rows × classes, as in PyTorch.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.tensor([[0.5, 0.25, 0.25]]), torch.eye(3)
    >>> linear_mse_loss(x, W, torch.tensor([0]), reduction="sum")
    tensor(0.3750)
    """
    return _element_loss(
        SquaredError(),
        input,
        linear_weight,
        target,
        linear_bias,
        weight,
        None,
        reduction,
        ignore_index,
        all_ignored,
        weighted_mean=True,
    )


def _element_loss(
    loss: RowLoss,
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    all_ignored: str,
    *,
    weighted_mean: bool = False,
) -> Tensor:
    check_element_reduction(reduction, all_ignored)
    rows = as_rows(input, linear_weight, linear_bias)
    targets, row_weights = element_targets(
        rows, target, weight, pos_weight, ignore_index, reduction, weighted_mean=weighted_mean
    )
    return reduced_loss(loss, Linear(), rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored)[0]
