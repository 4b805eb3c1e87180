"""A linear layer and its loss in one, in memory that does not grow with rows × classes.

Arguments, defaults and values are those of the functions of the same name in `torch.nn.functional`, applied to
``F.linear(input, linear_weight, linear_bias)``. ``input`` may have any leading shape (…, D), where PyTorch's allow (D,)
and (N, D): class numbers then have the shape (…), numbers for each class (…, C). Results have the input's type; inside,
everything is summed in float32 (float64 for float64), and under autocast the result is float32.
"""

from __future__ import annotations

from torch import Tensor

from crosshead.nn.angular import margin_cosine as margin_cosine
from crosshead.nn.arguments import as_rows, as_score_rows, number_between, positive_number
from crosshead.nn.bundles import element_targets, index_targets, softmax_targets
from crosshead.nn.fused import reduced_loss, reduced_score_loss
from crosshead.nn.margin_loss import linear_margin_cross_entropy as linear_margin_cross_entropy
from crosshead.nn.positions import loss_at_every_position
from crosshead.nn.projections import Linear
from crosshead.nn.reduction import check_element_reduction, check_reduction
from crosshead.nn.row_losses import Binary, CrammerSinger, RowLoss, Softmax, SquaredError, WestonWatkins


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
        Or (C, d₁, …, d_K, D), a layer for each of d₁ × … × d_K positions.
    target : Tensor
        Class numbers (...), or probabilities (..., C) of a floating type; positions are further dimensions.
    linear_bias : Tensor (C,), optional
        (C, d₁, …, d_K) with positions.
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
    targets, share = softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    value, products = reduced_loss(loss, Linear(), rows, targets, share, reduction=reduction, all_ignored=all_ignored)
    return (value, products[0].reshape(rows.leading).to(rows.result)) if return_lse else value


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
    """Cross-entropy of given scores (…, C), loss and gradient in one pass over them.

    Formula, options, errors and sources are those of `linear_cross_entropy`. The classes are the last dimension, where
    PyTorch takes the second: for (N, C) they are the same.

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
    targets, share = softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    value, products = reduced_score_loss(loss, rows, targets, share, reduction=reduction, all_ignored=all_ignored)
    return (value, products[0].reshape(rows.leading).to(rows.result)) if return_lse else value


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
    """PyTorch's multi-class margin loss of W x + b: the hinge of Weston and Watkins divided by C.

    ℓ = (w_y / C)·Σ_{j≠y} max(0, Δ − z_y + z_j)^p with Δ = ``margin`` and p = 1 or 2. As in PyTorch the class weight w_y
    stays outside the power, and a mean is over rows whatever the weights. For the sum itself, see
    `linear_weston_watkins_loss`.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for what does not fit.

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
    targets, share = index_targets(rows, target, weight, None, reduction, each=1 / rows.classes, weighted_mean=False)
    return reduced_loss(loss, Linear(), rows, targets, share, reduction=reduction)[0]


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
    """The multi-class hinge of Weston and Watkins of W x + b, not divided by C.

    ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ), or the sum of the squares where ``squared``; the losses "hinge" and
    "squared_hinge" of `crosshead.LinearClassifier`. A mean is Σ w_y ℓ / Σ w_y.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for what does not fit.

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
    """The multi-class hinge of Crammer and Singer of W x + b: the worst wrong class alone.

    ℓ = max(0, max_{j≠y} z_j − z_y + Δ), the loss "crammer_singer" of `crosshead.LinearClassifier`. Of several worst
    classes the first takes the gradient. A mean is Σ w_y ℓ / Σ w_y.

    ``input`` (..., D), ``linear_weight`` (C, D), ``target`` class numbers (...), ``linear_bias`` and ``weight`` (C,).
    Raises ValueError, TypeError or IndexError for what does not fit.

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
    """One yes-or-no question a class, each with the logistic loss of its score in W x + b.

    ℓ_c = w_c·( (1 − t_c)·log(1 + exp z_c) + v_c·t_c·log(1 + exp −z_c) ), in nats, v being ``pos_weight``.

    Parameters
    ----------
    input : Tensor (..., D)
    linear_weight : Tensor (C, D)
    target : Tensor
        Answers (..., C) in [0, 1] of a floating type; or class numbers (...): yes for that class, no for all others.
    linear_bias : Tensor (C,), optional
    weight : Tensor (C,) or (..., 1), optional
        Weights w of the classes, or of the rows.
    pos_weight : Tensor (C,), optional
    reduction : {"mean", "sum", "batchmean", "rows"}
        Of all rows × classes, as in PyTorch (a mean is divided by their number whatever the weights); "batchmean"
        divides by the rows alone; "rows" gives each row's sum over classes, (...). "none" would hold rows × classes
        losses and is refused.
    ignore_index : int
        Rows of this class number count for nothing. Only for class numbers.
    all_ignored : {"nan", "zero"}
        The mean of no rows.

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
    """Squared error of the scores W x + b.

    ℓ_c = w_c·(z_c − t_c)². ``target`` holds numbers (..., C), or class numbers (...), which stand for one-hot rows.
    Other arguments, reductions and errors are those of `linear_binary_cross_entropy_with_logits`, but for a mean with
    weights, which is divided by their sum over all rows × classes, as in PyTorch.

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


def _softmax(label_smoothing: float, softcap: float | None, z_loss: float, return_lse: bool) -> Softmax:
    return Softmax(
        number_between("label_smoothing", label_smoothing, 0.0, 1.0),
        0.0 if softcap is None else positive_number("softcap", softcap),
        number_between("z_loss", z_loss, 0.0, float("inf")),
        float(return_lse),
    )


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
    targets, share = index_targets(rows, target, weight, ignore_index, reduction)
    return reduced_loss(loss, Linear(), rows, targets, share, reduction=reduction, all_ignored=all_ignored)[0]


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
    targets, share = element_targets(
        rows, target, weight, pos_weight, ignore_index, reduction, weighted_mean=weighted_mean
    )
    return reduced_loss(loss, Linear(), rows, targets, share, reduction=reduction, all_ignored=all_ignored)[0]


def _finite(name: str, value: float) -> float:
    return number_between(name, value, -float("inf"), float("inf"))
