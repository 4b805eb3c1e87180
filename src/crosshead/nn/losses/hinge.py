"""Multi-class hinge losses of a linear layer: PyTorch's margin loss, Weston–Watkins, Crammer–Singer."""

from __future__ import annotations

from torch import Tensor

from crosshead.nn.backends.projections import Linear
from crosshead.nn.fused.inputs import as_rows, check_reduction, index_targets, number_between
from crosshead.nn.fused.reduced_loss import reduced_loss
from crosshead.nn.row_losses import CrammerSinger, RowLoss, WestonWatkins


def linear_multi_margin_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """PyTorch's multi-class margin loss of W x + b: Weston and Watkins' hinge divided by C.

    ℓ = (w_y / C)·Σ_{j≠y} max(0, Δ − z_y + z_j)^p with Δ = ``margin`` and p = 1 or 2. As in PyTorch the class weight w_y
    stays outside the power, and a mean is over rows whatever the weights. For the sum itself, see
    `linear_weston_watkins_loss`.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for shapes, types, options or class numbers that do not fit.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.tensor([[3.0, 2.5, 1.0]]), torch.eye(3)
    >>> linear_multi_margin_loss(x, W, torch.tensor([0]))  # (2.5 - 3 + 1) / 3
    tensor(0.1667)

    Source: Weston and Watkins, Support vector machines for multi-class pattern recognition, ESANN 1999.
    """
    check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, not {p!r}")
    loss = WestonWatkins(_finite("margin", margin), float(p))
    rows = as_rows(input, linear_weight, linear_bias)
    targets, row_weights = index_targets(
        rows, target, weight, None, reduction, factor=1 / rows.classes, weighted_mean=False
    )
    return reduced_loss(loss, Linear(), rows, targets, row_weights, reduction=reduction)[0]


def linear_weston_watkins_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    margin: float = 1.0,
    squared: bool = False,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    all_ignored: str = "nan",
) -> Tensor:
    """Weston and Watkins' multi-class hinge loss of W x + b, not divided by C.

    ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ), or the sum of the squares with ``squared``; the losses "hinge" and
    "squared_hinge" of `crosshead.LinearClassifier`. A mean is Σ w_y ℓ / Σ w_y.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for shapes, types, options or class numbers that do not fit.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.tensor([[3.0, 2.5, 1.0]]), torch.eye(3)
    >>> linear_weston_watkins_loss(x, W, torch.tensor([0]))
    tensor(0.5000)

    Source: Weston and Watkins, Support vector machines for multi-class pattern recognition, ESANN 1999.
    """
    loss = WestonWatkins(_finite("margin", margin), 2.0 if squared else 1.0)
    return _index_loss(loss, input, linear_weight, target, linear_bias, weight, reduction, ignore_index, all_ignored)


def linear_crammer_singer_loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    all_ignored: str = "nan",
) -> Tensor:
    """Crammer and Singer's multi-class hinge loss of W x + b: only the wrong class with the largest score counts.

    ℓ = max(0, max_{j≠y} z_j − z_y + Δ), the loss "crammer_singer" of `crosshead.LinearClassifier`. Of several
    such classes the first gets the gradient. A mean is Σ w_y ℓ / Σ w_y.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for shapes, types, options or class numbers that do not fit.

    Examples
    --------
    >>> import torch
    >>> x, W = torch.tensor([[3.0, 2.5, 2.25]]), torch.eye(3)
    >>> linear_crammer_singer_loss(x, W, torch.tensor([0]))
    tensor(0.5000)

    Source: Crammer and Singer, On the algorithmic implementation of multiclass kernel-based vector machines, JMLR 2,
    2001.
    """
    loss = CrammerSinger(_finite("margin", margin))
    return _index_loss(loss, input, linear_weight, target, linear_bias, weight, reduction, ignore_index, all_ignored)


def _index_loss(
    loss: RowLoss,
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    all_ignored: str,
) -> Tensor:
    check_reduction(reduction, all_ignored)
    rows = as_rows(input, linear_weight, linear_bias)
    targets, row_weights = index_targets(rows, target, weight, ignore_index, reduction)
    return reduced_loss(loss, Linear(), rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored)[0]


def _finite(name: str, value: float) -> float:
    return number_between(name, value, -float("inf"), float("inf"))
