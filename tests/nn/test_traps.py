"""Mistakes that fused heads elsewhere have made, each once."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from crosshead.nn import functional as fused
from crosshead.nn.backends import tiles
from crosshead.nn.backends.projections import Linear
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.row_losses import Softmax, Targets


def problem(rows=12, features=3, classes=7):
    x, W = torch.randn(rows, features, dtype=torch.float64), torch.randn(classes, features, dtype=torch.float64)
    return x.requires_grad_(), W.requires_grad_(), torch.randint(0, classes, (rows,))


def test_every_rows_own_gradient_counts_where_nothing_is_reduced():
    """Liger #968: the backward of reduction='none' used the first row's gradient for all."""
    x, W, target = problem()
    for upstream in (torch.arange(12.0).double(), torch.eye(12)[7].double(), -torch.ones(12).double()):
        ours = fused.linear_cross_entropy(x, W, target, reduction="none")
        theirs = F.cross_entropy(x @ W.t(), target, reduction="none")
        torch.testing.assert_close(
            torch.autograd.grad(ours, (x, W), upstream), torch.autograd.grad(theirs, (x, W), upstream)
        )


@pytest.mark.parametrize(
    "function",
    [
        fused.linear_cross_entropy,
        fused.linear_weston_watkins_loss,
        fused.linear_crammer_singer_loss,
        fused.linear_binary_cross_entropy_with_logits,
        fused.linear_mse_loss,
        lambda x, W, target, **options: fused.cross_entropy(x @ W.t(), target, **options),
    ],
)
def test_all_rows_ignored_is_a_choice_and_never_a_nan_gradient(function):
    """PyTorch #70348."""
    x, W, _ = problem()
    nothing = torch.full((12,), -100)
    for options, expected in (
        ({}, torch.nan),
        ({"all_ignored": "zero"}, 0.0),
        ({"reduction": "sum"}, 0.0),
    ):
        value = function(x, W, nothing, **options)
        torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), equal_nan=True)
        for gradient in torch.autograd.grad(value, (x, W)):
            assert gradient.eq(0).all()


def test_no_rows_at_all():
    x, W, target = torch.empty(0, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True), torch.empty(0).long()
    assert fused.linear_cross_entropy(x, W, target).isnan()
    assert fused.linear_cross_entropy(x, W, target, all_ignored="zero") == 0
    rows = fused.linear_cross_entropy(x, W, target, reduction="none")
    assert rows.shape == (0,)
    assert torch.autograd.grad(rows.sum(), W)[0].eq(0).all()


def test_ignored_rows_change_nothing_whatever_is_in_them():
    x, W, target = problem()
    kept = torch.arange(12) % 3 > 0
    far = torch.where(kept[:, None], x, 1e4).detach().requires_grad_()
    marked = torch.where(kept, target, -100)
    value = fused.linear_cross_entropy(far, W, marked, label_smoothing=0.1)
    expected = F.cross_entropy(x[kept] @ W.t(), target[kept], label_smoothing=0.1)
    torch.testing.assert_close(value, expected)
    gradient = torch.autograd.grad(value, far)[0]
    assert gradient[~kept].eq(0).all()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0])


def test_class_weights_change_the_smoothing_share_as_announced():
    """PyTorch #104776: they do there too, but nobody says so."""
    x, W, target = problem()
    weight = torch.linspace(0.1, 3, 7).double()
    value = fused.linear_cross_entropy(x, W, target, weight=weight, label_smoothing=0.4)
    torch.testing.assert_close(value, F.cross_entropy(x @ W.t(), target, weight=weight, label_smoothing=0.4))
    assert "class weights w change the smoothing share too" in " ".join(fused.linear_cross_entropy.__doc__.split())


def test_tiles_are_of_classes_so_that_the_weight_is_read_once():
    """Chunks of the batch read W once a chunk: at 1024 rows × 1M classes the known heuristics take one row a chunk."""
    features = torch.empty(1024, 1)
    huge = Problem(features, torch.empty(1_000_000, 1), None, Targets(1_000_000, torch.zeros(1024).long()))
    assert len(list(tiles.row_blocks(huge))) == 1


def test_smoothing_of_a_shard_knows_all_classes():
    """Megatron #737: the share of a class was computed from the classes of one rank."""
    loss = Softmax(label_smoothing=0.7)
    here = Problem(torch.ones(1, 1), torch.ones(4, 1), None, Targets(40, torch.tensor([20])), first_class=0)
    mass = tiles.states(loss, Linear(), here, None)[3]
    torch.testing.assert_close(mass, torch.tensor([0.7 * 4 / 40]))


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_large_scores_neither_overflow_nor_lose_the_loss(offset):
    z = torch.tensor([[0.0, 1.0, 2.0]]) + offset
    bias = z[0].clone().requires_grad_()
    for target, expected in ((0, 2.4076059), (2, 0.4076059)):
        value = fused.linear_cross_entropy(
            torch.zeros(1, 1), torch.zeros(3, 1), torch.tensor([target]), linear_bias=bias
        )
        assert value.item() == pytest.approx(expected, abs=1e-6)
        assert torch.autograd.grad(value, bias)[0].isfinite().all()
    apart = torch.tensor([offset, -offset, 0.0], requires_grad=True)
    rows = torch.zeros(1, 1), torch.zeros(3, 1)
    for function in (fused.linear_cross_entropy, fused.linear_binary_cross_entropy_with_logits):
        value = function(*rows, torch.tensor([1]), linear_bias=apart)
        assert value.isfinite()
        assert torch.autograd.grad(value, apart)[0].isfinite().all()


def test_classes_that_are_ruled_out_by_a_score_of_minus_infinity(monkeypatch):
    bias = torch.tensor([-torch.inf, -torch.inf, -torch.inf, 0.5, 1.0, -torch.inf])
    x, W = torch.randn(4, 3, requires_grad=True), torch.randn(6, 3)
    target = torch.tensor([3, 4, 4, 3])
    for size in (1 << 21, 8, 4):
        monkeypatch.setattr(tiles, "TILE_SCORES", size)
        value = fused.linear_cross_entropy(x, W, target, linear_bias=bias)
        truth = F.cross_entropy(F.linear(x, W, bias), target)
        torch.testing.assert_close(value, truth)
        torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(truth, x))


def test_ties_and_kinks():
    x, W = torch.zeros(1, 2), torch.zeros(4, 2, requires_grad=True)
    bias = torch.tensor([1.0, 0.0, 0.0, -1.0], requires_grad=True)
    target = torch.tensor([0])  # classes 1 and 2 lie exactly at the margin: no loss, no slope
    for function in (
        fused.linear_weston_watkins_loss,
        fused.linear_multi_margin_loss,
        fused.linear_crammer_singer_loss,
    ):
        value = function(x, W, target, linear_bias=bias)
        assert value == 0
        assert torch.autograd.grad(value, bias)[0].tolist() == [0, 0, 0, 0]
    value = fused.linear_crammer_singer_loss(x, W, target, linear_bias=bias, margin=2.0)
    assert torch.autograd.grad(value, bias)[0].tolist() == [-1, 1, 0, 0]  # the first of the worst


def test_defaults_and_order_are_pytorchs():
    ours = inspect.signature(fused.linear_cross_entropy).parameters
    theirs = inspect.signature(F.cross_entropy).parameters
    for name in ("weight", "ignore_index", "reduction", "label_smoothing"):
        assert ours[name].default == theirs[name].default
    for function, original in (
        (fused.linear_multi_margin_loss, F.multi_margin_loss),
        (fused.linear_binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
        (fused.linear_mse_loss, F.mse_loss),
    ):
        theirs = inspect.signature(original).parameters
        for name, parameter in inspect.signature(function).parameters.items():
            if name in theirs:
                assert parameter.default == theirs[name].default, (function, name)
    if hasattr(F, "linear_cross_entropy"):
        theirs = inspect.signature(F.linear_cross_entropy).parameters
        shared = [name for name in ours if name in theirs]
        assert shared == [name for name in theirs if name in ours]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 5, 3), (2, 1, 4, 3), (2, 0, 3)])
def test_any_leading_shape(shape):
    x, W = torch.randn(shape, dtype=torch.float64, requires_grad=True), torch.randn(7, 3, dtype=torch.float64)
    target = torch.randint(0, 7, shape[:-1])
    value, lse = fused.linear_cross_entropy(x, W, target, reduction="none", return_lse=True)
    z = (x @ W.t()).reshape(-1, 7)
    truth = F.cross_entropy(z, target.reshape(-1), reduction="none").reshape(shape[:-1])
    torch.testing.assert_close(value, truth)
    torch.testing.assert_close(lse, z.logsumexp(dim=1).reshape(shape[:-1]))
    dense = torch.rand(*shape[:-1], 7, dtype=torch.float64)
    truth = F.mse_loss(z, dense.reshape(-1, 7), reduction="sum")
    torch.testing.assert_close(fused.linear_mse_loss(x, W, dense, reduction="sum"), truth)


def test_tensors_in_any_layout():
    x, W, target = problem()
    value = fused.linear_cross_entropy(x.t().contiguous().t(), W.t().contiguous().t(), target)
    ours = torch.autograd.grad(value, (x, W))
    truth = F.cross_entropy(x @ W.t(), target)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, (x, W)))
    wide = torch.randn(12, 9, dtype=torch.float64)[:, ::3].requires_grad_()
    torch.testing.assert_close(fused.linear_cross_entropy(wide, W, target), F.cross_entropy(wide @ W.t(), target))
    z = torch.randn(7, 12, dtype=torch.float64).t().requires_grad_()
    value, truth = fused.cross_entropy(z, target), F.cross_entropy(z, target)
    torch.testing.assert_close(torch.autograd.grad(value, z), torch.autograd.grad(truth, z))


def test_the_log_sum_exp_has_its_own_gradient():
    x, W, target = problem()
    upstream = torch.randn(12, dtype=torch.float64)
    for function in (
        lambda **options: fused.linear_cross_entropy(x, W, target, **options),
        lambda **options: fused.cross_entropy(x @ W.t(), target, **options),
    ):
        value, lse = function(return_lse=True)
        truth = (x @ W.t()).logsumexp(dim=1)
        torch.testing.assert_close(lse, truth)
        ours = torch.autograd.grad(lse, (x, W), upstream, retain_graph=True)
        torch.testing.assert_close(ours, torch.autograd.grad(truth, (x, W), upstream))
        both = torch.autograd.grad(value + (lse * upstream).sum(), (x, W))
        expected = F.cross_entropy(x @ W.t(), target) + (upstream * (x @ W.t()).logsumexp(dim=1)).sum()
        torch.testing.assert_close(both, torch.autograd.grad(expected, (x, W)))


def test_the_multi_class_margin_loss_is_the_sum_divided_by_the_classes():
    x, W, target = problem()
    for squared in (False, True):
        whole = fused.linear_weston_watkins_loss(x, W, target, squared=squared)
        torch.testing.assert_close(whole / 7, fused.linear_multi_margin_loss(x, W, target, p=1 + squared))
