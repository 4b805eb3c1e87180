"""PyTorch's own sample inputs for its losses, put through the fused functions with an identity weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from crosshead.nn import functional as fused

pytest.importorskip("expecttest")  # PyTorch's tests import it
from torch.testing._internal.common_methods_invocations import op_db


def samples(name: str, variant: str = "") -> list[Any]:
    found = [op for op in op_db if op.name == name and op.variant_test_name == variant]
    return list(found[0].sample_inputs("cpu", torch.float64, requires_grad=True)) if found else []


def classes_last(scores, target, options):
    """Scores (N, C, d…) and their targets with the classes as the last dimension, as the fused functions have them."""
    dense = target.shape == scores.shape
    return scores.movedim(1, -1), target.movedim(1, -1) if dense else target, options


def agree(value, truth, inputs, other_inputs):
    torch.testing.assert_close(value, truth)
    upstream = torch.rand_like(truth)
    ours = torch.autograd.grad(value, inputs, upstream)
    torch.testing.assert_close(ours, torch.autograd.grad(truth, other_inputs, upstream))


def run(function, original, last=lambda scores, target, options: (scores, target, options)):
    """How a sample is put through: as scores times the identity, against PyTorch's function on the scores."""

    def check(sample):
        scores, target = sample.input.detach().requires_grad_(), sample.args[0].detach()
        ours, own_target, options = last(scores, target, sample.kwargs)
        classes = ours.shape[-1]
        value = function(ours, torch.eye(classes, dtype=ours.dtype), own_target, **options)
        agree(value, original(scores, target, **sample.kwargs), [scores], [scores])

    return check


def counted(samples, applicable, check, least):
    chosen = [sample for sample in samples if applicable(sample)]
    for sample in chosen:
        check(sample)
    assert len(chosen) >= least  # 2.13 has exactly as many; a later version may have more


def test_cross_entropy():
    chosen = samples("nn.functional.cross_entropy")
    counted(chosen, lambda s: True, run(fused.linear_cross_entropy, F.cross_entropy, classes_last), 21)

    def scores_given(scores, eye, target, **options):
        return fused.cross_entropy(scores, target, **options)

    counted(chosen, lambda s: True, run(scores_given, F.cross_entropy, classes_last), 21)


def test_multi_margin_loss():
    def target_of_one_row(scores, target, options):
        return scores, target.reshape(scores.shape[:-1]), options

    # One sample has no classes at all: a scalar is not what a linear layer gives.
    counted(
        samples("nn.functional.multi_margin_loss"),
        lambda s: s.input.dim() > 0,
        run(fused.linear_multi_margin_loss, F.multi_margin_loss, target_of_one_row),
        9,
    )


def test_binary_cross_entropy_with_logits():
    def applicable(sample):  # no scalar, no weight of every element, no rows × classes of losses
        weight = sample.kwargs.get("weight")
        classes = weight is None or tuple(weight.shape) == tuple(sample.input.shape[-1:])
        return sample.input.dim() > 0 and classes and sample.kwargs.get("reduction") != "none"

    original = F.binary_cross_entropy_with_logits
    check = run(fused.linear_binary_cross_entropy_with_logits, original)
    counted(samples("nn.functional.binary_cross_entropy_with_logits"), applicable, check, 10)


def test_mse_loss():
    def applicable(sample):
        return sample.input.dim() > 0 and sample.kwargs.get("reduction") != "none"

    counted(samples("nn.functional.mse_loss"), applicable, run(fused.linear_mse_loss, F.mse_loss), 4)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="this PyTorch has no linear_cross_entropy")
@pytest.mark.parametrize(("variant", "least"), [("", 119), ("chunked", 133), ("chunked_none", 77)])
def test_linear_cross_entropy(variant, least):
    def check(sample):
        x, W = (part.detach().requires_grad_() for part in (sample.input, sample.args[0]))
        target = sample.args[1].detach()
        options = {k: v for k, v in sample.kwargs.items() if k not in ("options", "linear_bias")}
        bias = sample.kwargs.get("linear_bias")
        if bias is not None:
            bias = bias.detach().requires_grad_()
        value = fused.linear_cross_entropy(x, W, target, linear_bias=bias, **options)
        truth = F.linear_cross_entropy(x, W, target, linear_bias=bias, **options)
        parts = [x, W] if bias is None else [x, W, bias]
        agree(value, truth, parts, parts)

    counted(samples("nn.functional.linear_cross_entropy", variant), lambda s: True, check, least)
