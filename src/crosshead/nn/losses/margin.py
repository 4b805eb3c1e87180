"""Softmax over cosines with a margin for the own class, fused with the linear layer that computes the cosines."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crosshead.nn.backends.products import accumulation_type, working
from crosshead.nn.backends.projections import Cosine, Projection, SubCentreCosine
from crosshead.nn.fused.inputs import Rows, as_rows, check_reduction, number_between, positive_number, softmax_targets
from crosshead.nn.fused.reduced_loss import reduced_loss
from crosshead.nn.row_losses import MarginSoftmax
from crosshead.nn.row_losses.angular_margin import Amount, AngularMargin, MarginGradient


def linear_margin_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    m1: float = 1.0,
    m2: Amount = 0.5,
    m3: Amount = 0.0,
    scale: float = 64.0,
    easy_margin: bool = False,
    margin_gradient: MarginGradient = "exact",
    sub_centers: int = 1,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    all_ignored: str = "nan",
) -> Tensor:
    """Cross-entropy of scaled cosines with a margin, computed without storing the cosines of all rows and classes.

    ℓ = −log softmax(z)_y with z_c = s·cos θ_c for c ≠ y and z_y = s·ψ(cos θ_y), ψ(cos θ) = cos(m₁θ + m₂) − m₃, in nats;
    θ_c is the angle between the features and the row of W of class c, and s is ``scale``. Beyond m₁θ + m₂ = π ψ
    continues so that it falls with θ (see `margin_cosine`). Features are normalised row by row, W tile by tile: there
    is no normalised copy of W.

    Parameters
    ----------
    input : Tensor (..., D)
        Not normalised. A row of zeros has cosine 0 with every class.
    linear_weight : Tensor (C × sub_centers, D)
        Not normalised. With sub-centres the rows of a class follow one another, and the nearest one counts.
    target : Tensor
        Class numbers (...).
    m1, m2, m3 : float
        SphereFace's, ArcFace's (in radians) and CosFace's margin. (1, 0.5, 0) is ArcFace, (1, 0, 0.35) CosFace,
        (1, 0, 0) normalised softmax. ``m2`` and ``m3`` may be tensors (...), a margin for each row, without gradient;
        their values, −π/2 ≤ m₂ ≤ π/2, are not checked.
    scale : float
        s > 0.
    easy_margin : bool
        No angular margin if θ_y ≥ π/2.
    margin_gradient : {"exact", "insightface"}
        "insightface" replaces ∂ψ/∂cos θ = m₁ sin(m₁θ + m₂)/sin θ by 1.
    weight : Tensor (C,), optional
        Class weights, as in `linear_cross_entropy`.
    reduction, ignore_index, label_smoothing, all_ignored
        As in `linear_cross_entropy`.

    Raises
    ------
    ValueError, TypeError, IndexError
        Shapes, types, margins or class numbers that do not fit.

    Examples
    --------
    >>> x, W = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.5, 0.0], [0.0, 2.0]])
    >>> linear_margin_cross_entropy(x, W, torch.tensor([0]), m2=0.0, m3=0.5, scale=2.0)  # log(1 + exp(2·(0 − 1 + 0.5)))
    tensor(0.3133)

    Sources: Liu et al., SphereFace, CVPR 2017; Wang et al., CosFace, CVPR 2018; Deng et al., ArcFace, CVPR 2019; Deng
    et al., Sub-center ArcFace, ECCV 2020.
    """
    check_reduction(reduction, all_ignored)
    loss = margin_softmax(m1, _fixed(m2), _fixed(m3), scale, easy_margin, margin_gradient, label_smoothing)
    projection = cosine_projection(sub_centers)
    if target.is_floating_point():
        raise TypeError(f"a margin belongs to one class a row: target must be class numbers, not {target.dtype}")
    rows = _as_directions(input, linear_weight, projection.rows_per_class)
    targets, row_weights = softmax_targets(rows, target, weight, ignore_index, label_smoothing, reduction)
    targets = replace(targets, parameters=_row_margins(rows, m2, m3))
    return reduced_loss(loss, projection, rows, targets, row_weights, reduction=reduction, all_ignored=all_ignored)[0]


def margin_softmax(
    m1: float,
    m2: float,
    m3: float,
    scale: float,
    easy_margin: bool,
    margin_gradient: MarginGradient,
    label_smoothing: float,
) -> MarginSoftmax:
    """The row loss of these options; ValueError if one is outside its domain."""
    AngularMargin(float(m1), float(m2), float(m3), bool(easy_margin), margin_gradient)  # checks
    return MarginSoftmax(
        float(m1),
        float(m2),
        float(m3),
        positive_number("scale", scale),
        float(easy_margin),
        float(margin_gradient == "insightface"),
        number_between("label_smoothing", label_smoothing, 0.0, 1.0),
    )


def cosine_projection(sub_centers: int) -> Projection:
    """Cosines with one row of W a class, or the largest of several; ValueError for a number outside 1 … 255."""
    return Cosine() if sub_centers == 1 else SubCentreCosine(float(sub_centers))


def directions(features: Tensor) -> Tensor:
    """Features (..., D) divided by their norms, in float32 or float64; a row of zeros stays, with a finite gradient.

    Examples
    --------
    >>> directions(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    wide = working(features)
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / torch.where(length == 0, 1, length)).to(features.dtype)


def _as_directions(input: Tensor, weight: Tensor, rows_per_class: int) -> Rows:
    rows = as_rows(directions(input), weight, None)
    if len(rows.weight) % rows_per_class:
        raise ValueError(
            f"linear_weight must have {rows_per_class} rows for each class (sub_centers), and {len(rows.weight)} rows "
            f"cannot be divided by {rows_per_class}"
        )
    return replace(rows, rows_per_class=rows_per_class)


def _fixed(margin: Amount) -> float:
    return 0.0 if isinstance(margin, Tensor) else float(margin)


def _row_margins(rows: Rows, m2: Amount, m3: Amount) -> Tensor | None:
    """m₂ and m₃ of each row, (2, N), or None if they are the same for all rows."""
    if not isinstance(m2, Tensor) and not isinstance(m3, Tensor):
        return None
    dtype = accumulation_type(rows.input.dtype)
    found = []
    for name, margin in (("m2", m2), ("m3", m3)):
        margins = torch.as_tensor(margin, dtype=dtype, device=rows.input.device)
        if margins.requires_grad:
            raise ValueError(f"{name} requires grad, but there is no gradient for margins: use {name}.detach()")
        if margins.dim() and margins.shape != rows.leading:
            raise ValueError(f"{name} must be a number or have shape {tuple(rows.leading)}, not {tuple(margins.shape)}")
        found.append(margins.expand(rows.leading).reshape(-1))
    return torch.stack(found)
