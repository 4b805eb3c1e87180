"""Weights with dimensions between classes and features, against PyTorch's K-dimensional cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crosshead.nn import functional as fused

ROWS, FEATURES, CLASSES, POSITIONS = 6, 3, 4, (2, 3)


def problem():
    x = torch.randn(ROWS, FEATURES, dtype=torch.float64)
    W = torch.randn(CLASSES, *POSITIONS, FEATURES, dtype=torch.float64)
    b = torch.randn(CLASSES, *POSITIONS, dtype=torch.float64)
    return [part.requires_grad_() for part in (x, W, b)]


def scores(x, W, b):
    return torch.einsum("nd,cijd->ncij", x, W) + b


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"weight": True}, {"weight": True, "label_smoothing": 0.3}])
def test_every_position_counts_as_a_row(dense, reduction, options):
    parts, target = problem(), torch.randint(0, CLASSES, (ROWS, *POSITIONS))
    target[2, 0] = -100
    target[:, 1, 1] = -100  # a position that is ignored altogether
    if dense:
        target = torch.rand(ROWS, CLASSES, *POSITIONS, dtype=torch.float64)
    options = {k: torch.linspace(0.5, 2, CLASSES).double() if k == "weight" else v for k, v in options.items()}
    x, W, b = parts
    value = fused.linear_cross_entropy(x, W, target, linear_bias=b, reduction=reduction, **options)
    truth = F.cross_entropy(scores(x, W, b), target, reduction=reduction, **options)
    torch.testing.assert_close(value, truth)
    upstream = torch.randn_like(truth)
    ours = torch.autograd.grad(value, parts, upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, parts, upstream))


def test_log_sum_exps_have_the_shape_of_the_positions():
    x, W, b = problem()
    target = torch.randint(0, CLASSES, (ROWS, *POSITIONS))
    _, lse = fused.linear_cross_entropy(x, W, target, linear_bias=b, return_lse=True)
    torch.testing.assert_close(lse, scores(x, W, b).logsumexp(dim=1))


def test_the_mean_of_nothing_is_a_choice():
    x, W, _ = problem()
    nothing = torch.full((ROWS, *POSITIONS), -100)
    assert fused.linear_cross_entropy(x, W, nothing).isnan()
    value = fused.linear_cross_entropy(x, W, nothing, all_ignored="zero")
    assert value == 0
    assert torch.autograd.grad(value, W)[0].eq(0).all()


def test_bad_shapes():
    x, W, b = problem()
    target = torch.randint(0, CLASSES, (ROWS, *POSITIONS))
    with pytest.raises(ValueError, match=r"target must have shape \(6, 2, 3\)"):
        fused.linear_cross_entropy(x, W, target[..., 0])
    with pytest.raises(ValueError, match=r"linear_bias must have shape \(4, 2, 3\)"):
        fused.linear_cross_entropy(x, W, target, linear_bias=b[..., 0])
    with pytest.raises(ValueError, match="linear_weight has no positions"):
        fused.linear_cross_entropy(x, W[:, :0], target[:, :0])
