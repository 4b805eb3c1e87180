"""Every fused function with every option, against PyTorch's own functions on stored scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from crosshead.nn import functional as fused
from crosshead.nn.backends import scores as given
from crosshead.nn.backends import tiles
from crosshead.nn.fused import operators, score_operators

ROWS, FEATURES, CLASSES = 7, 4, 5


@dataclass(frozen=True)
class Case:
    """A fused function with options, and the same from stored scores: ``truth(scores, target, **options)``."""

    name: str
    function: Callable[..., Any]
    truth: Callable[..., torch.Tensor]
    target: str = "index"
    options: dict[str, Any] = field(default_factory=dict)
    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __str__(self) -> str:
        return f"{self.name}-{self.target}-{'-'.join(self.options) or 'plain'}"


def class_weights(classes: int, dtype: torch.dtype, start: float = 0.5) -> torch.Tensor:
    return torch.linspace(start, 2.0, classes, dtype=dtype)


def made(options: dict[str, Any], classes: int, dtype: torch.dtype) -> dict[str, Any]:
    """The options, with a vector of class weights in place of True."""
    starts = {"weight": 0.5, "pos_weight": 3.0}
    return {n: class_weights(classes, dtype, starts[n]) if n in starts else v for n, v in options.items()}


def target_of(kind: str, rows: int, classes: int, dtype: torch.dtype, ignored: bool = True) -> torch.Tensor:
    if kind == "index":
        target = torch.randint(0, classes, (rows,))
        if ignored and rows > 2:
            target[1] = -100
        return target
    if kind == "all":  # no ignored rows
        return torch.randint(0, classes, (rows,))
    if kind == "probabilities":
        return torch.rand(rows, classes, dtype=dtype).softmax(dim=1)
    return torch.rand(rows, classes, dtype=dtype)


def softmax_truth(z, target, *, reduction, softcap=None, z_loss=0.0, **options):
    if softcap:
        z = softcap * torch.tanh(z / softcap)
    value = F.cross_entropy(z, target, reduction="none", **options)
    weight, smoothing = options.get("weight"), options.get("label_smoothing", 0.0)
    w = torch.ones_like(z[0]) if weight is None else weight
    if target.is_floating_point():
        q, denominator = target, len(z)
        kept = torch.ones_like(z[:, 0])
    else:
        kept = (target != -100).to(z.dtype)
        q = F.one_hot(target.clamp_min(0), z.shape[1]).to(z.dtype)
        denominator = (kept * w[target.clamp_min(0)]).sum()
    mass = ((1 - smoothing) * q + smoothing / z.shape[1]) @ w
    value = value + z_loss * kept * mass * z.logsumexp(dim=1).square()
    return value if reduction == "none" else value.sum() / (denominator if reduction == "mean" else 1)


def weighted(rows, target, weight, reduction):
    kept = target != -100
    w = kept.to(rows.dtype) * (1 if weight is None else weight[target.clamp_min(0)])
    rows = rows * w
    return rows if reduction == "none" else rows.sum() / (w.sum() if reduction == "mean" else 1)


def weston_watkins_truth(z, target, *, reduction, weight=None, squared=False, margin=1.0):
    rows = F.multi_margin_loss(z, target.clamp_min(0), p=1 + squared, margin=margin, reduction="none") * z.shape[1]
    return weighted(rows, target, weight, reduction)


def crammer_singer_truth(z, target, *, reduction, weight=None, margin=1.0):
    own = F.one_hot(target.clamp_min(0), z.shape[1]).bool()
    worst = z.masked_fill(own, -torch.inf).amax(dim=1)
    return weighted((worst - z[own] + margin).clamp_min(0), target, weight, reduction)


def elements(terms, target, reduction, denominator=None):
    if not target.is_floating_point():
        terms = terms * (target != -100)[:, None]
    if reduction == "rows":
        return terms.sum(dim=1)
    counted = len(terms) if target.is_floating_point() else (target != -100).sum()
    divisor = {"sum": 1, "batchmean": counted, "mean": denominator or counted * terms.shape[1]}[reduction]
    return terms.sum() / divisor


def answers(target, z):
    return target if target.is_floating_point() else F.one_hot(target.clamp_min(0), z.shape[1]).to(z.dtype)


def binary_truth(z, target, *, reduction, **options):
    terms = F.binary_cross_entropy_with_logits(z, answers(target, z), reduction="none", **options)
    return elements(terms, target, reduction)


def mse_truth(z, target, *, reduction, weight=None):
    terms = F.mse_loss(z, answers(target, z), reduction="none")
    if weight is None:
        return elements(terms, target, reduction)
    counted = len(terms) if target.is_floating_point() else int((target != -100).sum())
    return elements(terms * weight, target, reduction, float(weight.sum()) * counted)


def scores_given(x, W, target, *, linear_bias, **options):
    return fused.cross_entropy(F.linear(x, W, linear_bias), target, **options)


SOFTMAX_OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.3},
    {"weight": True},
    {"weight": True, "label_smoothing": 0.3},
    {"softcap": 2.0},
    {"z_loss": 0.1},
    {"weight": True, "label_smoothing": 0.2, "softcap": 1.5, "z_loss": 0.2},
]
ELEMENTS = ("mean", "sum", "batchmean", "rows")
CASES = [
    *[
        Case(name, function, softmax_truth, kind, options)
        for name, function in (("softmax", fused.linear_cross_entropy), ("given", scores_given))
        for options in SOFTMAX_OPTIONS
        for kind in ("index", "probabilities")
    ],
    *[
        Case("multi_margin", fused.linear_multi_margin_loss, F.multi_margin_loss, "all", options)
        for options in ({}, {"p": 2}, {"margin": 0.5}, {"weight": True, "p": 2, "margin": 1.5})
    ],
    *[
        Case("weston_watkins", fused.linear_weston_watkins_loss, weston_watkins_truth, "index", options)
        for options in ({}, {"squared": True}, {"weight": True, "margin": 0.5}, {"weight": True, "squared": True})
    ],
    *[
        Case("crammer_singer", fused.linear_crammer_singer_loss, crammer_singer_truth, "index", options)
        for options in ({}, {"weight": True, "margin": 2.0})
    ],
    *[
        Case("binary", fused.linear_binary_cross_entropy_with_logits, binary_truth, kind, options, ELEMENTS)
        for options in ({}, {"weight": True}, {"pos_weight": True}, {"weight": True, "pos_weight": True})
        for kind in ("index", "numbers")
    ],
    *[
        Case("mse", fused.linear_mse_loss, mse_truth, kind, options, ELEMENTS)
        for options in ({}, {"weight": True})
        for kind in ("index", "numbers")
    ],
]
EACH_REDUCTION = [pytest.param(case, red, id=f"{case}-{red}") for case in CASES for red in case.reductions]


def problem(rows=ROWS, features=FEATURES, classes=CLASSES, dtype=torch.float64):
    shapes = ((rows, features), (classes, features), (classes,))
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def value_of(case: Case, parts, target, reduction, dtype=torch.float64):
    x, W, b = parts
    options = made(case.options, len(W), dtype)
    return case.function(x, W, target, linear_bias=b, reduction=reduction, **options)


def truth_of(case: Case, parts, target, reduction, dtype=torch.float64):
    x, W, b = parts
    z = F.linear(x, W, b)
    if z.dtype == torch.bfloat16 and case.truth in (F.multi_margin_loss, weston_watkins_truth):
        z = z.float()  # PyTorch has no multi-margin loss of bfloat16 scores
    return case.truth(z, target, reduction=reduction, **made(case.options, len(W), z.dtype))


@pytest.fixture
def reference(monkeypatch):
    """The tiling in torch operations, also where the native kernels would compute."""
    monkeypatch.setattr(operators, "backend_for", lambda *_: tiles)
    monkeypatch.setattr(score_operators, "score_backend_for", lambda *_: given)


@pytest.fixture(params=["reference", "default"])
def backend(request):
    return request.getfixturevalue("reference") if request.param == "reference" else None


@pytest.mark.parametrize(("case", "reduction"), EACH_REDUCTION)
def test_gradcheck(case, reduction):
    parts, target = problem(), target_of(case.target, ROWS, CLASSES, torch.float64)
    assert torch.autograd.gradcheck(lambda *p: value_of(case, p, target, reduction), parts)


@pytest.mark.parametrize("sizes", [(7, 4, 5), (1, 1, 1), (3, 2, 1), (1, 3, 17), (13, 252, 37)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_are_those_of_stored_scores(case, sizes, backend):
    for reduction in case.reductions:
        parts, target = problem(*sizes), target_of(case.target, sizes[0], sizes[2], torch.float64)
        if sizes[2] == 1 and case.name == "multi_margin":
            target.zero_()
        value, truth = value_of(case, parts, target, reduction), truth_of(case, parts, target, reduction)
        torch.testing.assert_close(value, truth)
        upstream = torch.randn_like(truth)
        torch.testing.assert_close(
            torch.autograd.grad(value, parts, upstream), torch.autograd.grad(truth, parts, upstream)
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_depends_on_the_tiles(case, monkeypatch, reference):
    parts, target = problem(11, 3, 23), target_of(case.target, 11, 23, torch.float64)
    results = []
    for tile, stored, least in ((1 << 21, 3 << 22, 64), (40, 0, 4), (12, 0, 1), (40, 70, 2), (1, 0, 1)):
        monkeypatch.setattr(tiles, "TILE_SCORES", tile)
        monkeypatch.setattr(tiles, "STORED_SCORES", stored)
        monkeypatch.setattr(tiles, "LEAST_STORED_ROWS", least)
        monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", least)
        monkeypatch.setattr(given, "BLOCK_SCORES", tile)
        for reduction in case.reductions:
            value = value_of(case, parts, target, reduction)
            gradients = torch.autograd.grad(value.square().sum(), parts)
            results.append((reduction, [value.detach(), *gradients]))
    first = dict(results[: len(case.reductions)])
    for reduction, result in results:
        torch.testing.assert_close(result, first[reduction], rtol=1e-12, atol=1e-12)


def error(result: torch.Tensor, truth: torch.Tensor) -> float:
    return float((result.double() - truth).norm() / truth.norm().clamp_min(1e-30))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rounding_errors_are_no_larger_than_those_of_stored_scores(case, dtype, backend):
    sizes, reduction = (48, 65, 129), case.reductions[-1]  # one loss a row: nothing averages out
    long = problem(*sizes)
    with torch.no_grad():
        for part in long:
            part.copy_(part.to(dtype))
    short = [part.detach().to(dtype).requires_grad_() for part in long]
    target = target_of(case.target, sizes[0], sizes[2], torch.float64)
    if target.is_floating_point():
        target = target.to(dtype).double()
    low = target.to(dtype) if target.is_floating_point() else target
    truth, upstream = truth_of(case, long, target, reduction), torch.randn(sizes[0], dtype=torch.float64)
    upstream = upstream.to(dtype).double()
    exact = [truth.detach(), *torch.autograd.grad(truth, long, upstream)]
    errors = []
    for function in (value_of, truth_of):
        value = function(case, short, low, reduction, dtype)
        results = [value.detach(), *torch.autograd.grad(value, short, upstream.to(value.dtype))]
        errors.append([error(result, correct) for result, correct in zip(results, exact, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 1.5 * theirs + torch.finfo(dtype).eps / 4
