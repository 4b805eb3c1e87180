"""The Triton kernels in Triton's interpreter beside the reference implementation, and beside PyTorch, in float64.

Triton decides when it is imported whether it interprets: TRITON_INTERPRET=1 must be set before, in a process of its
own. `test_triton.py` starts one.
"""

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from crosshead.nn import functional as fused
from crosshead.nn.backends import tiles
from crosshead.nn.backends.projections import Cosine, Linear
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.fused import operators
from crosshead.nn.row_losses import (
    ROW_LOSSES,
    Binary,
    CrammerSinger,
    Softmax,
    SquaredError,
    Targets,
    WestonWatkins,
    empty_state,
    merged,
)

if not find_spec("triton"):
    pytest.skip("Triton is not installed", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("TRITON_INTERPRET=1 is not set: see test_triton.py", allow_module_level=True)

from crosshead.nn.backends import triton_tiles

SHAPES = [(1, 1, 1), (1, 5, 3), (17, 33, 2), (19, 7, 50)]
ALL = (True, True, True)


@dataclass(frozen=True)
class Case:
    """A row loss, and what its targets are made of."""

    loss: object
    dense: bool = False
    weighted: bool = False
    positive: bool = False


CASES = {
    "softmax": Case(Softmax()),
    "softmax smooth": Case(Softmax(0.1)),
    "softmax smooth weighted": Case(Softmax(0.2), weighted=True),
    "softmax capped": Case(Softmax(0.1, softcap=2.0)),
    "softmax z lse": Case(Softmax(0.0, 0.0, 0.01, 1.0), weighted=True),
    "softmax everything": Case(Softmax(0.1, 3.0, 0.02, 1.0), weighted=True),
    "softmax probabilities": Case(Softmax(), dense=True),
    "softmax probabilities everything": Case(Softmax(0.1, 3.0, 0.02, 1.0), dense=True, weighted=True),
    "hinge": Case(WestonWatkins(0.7)),
    "squared hinge": Case(WestonWatkins(0.7, 2.0)),
    "crammer singer": Case(CrammerSinger(1.3)),
    "binary": Case(Binary()),
    "binary weighted": Case(Binary(), weighted=True, positive=True),
    "binary answers": Case(Binary(), dense=True, weighted=True, positive=True),
    "squared error": Case(SquaredError()),
    "squared error numbers": Case(SquaredError(), dense=True, weighted=True),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Tiles of 16, so that a few numbers need many of them."""
    small = triton_tiles.Blocks(16, 16, 16, 4, 2)
    monkeypatch.setattr(triton_tiles, "BLOCKS", dict.fromkeys(triton_tiles.BLOCKS, small))


def problem_of(case, rows, features, classes, dtype=torch.float32, bias=True):
    """Random features, weight and targets; the first and the last class among them, and an ignored row."""
    index = torch.randint(classes, (rows,))
    index[0], index[-1] = 0, classes - 1
    if rows > 2:
        index[1] = -1
    dense = torch.softmax(torch.randn(rows, classes), dim=1)
    targets = Targets(
        classes,
        None if case.dense else index,
        dense if case.dense else None,
        torch.rand(classes) + 0.5 if case.weighted else None,
        torch.rand(classes) + 0.5 if case.positive else None,
    )
    weight = (2 * torch.randn(classes, features) / features**0.5).to(dtype)
    return Problem(
        torch.randn(rows, features).to(dtype), weight, torch.randn(classes).to(dtype) if bias else None, targets
    )


def upstream_of(case, problem):
    """Derivatives that differ from row to row; the ignored row has none."""
    up = torch.linspace(-1, 2, case.loss.outputs * len(problem.input)).reshape(case.loss.outputs, -1)
    if len(problem.input) > 2:
        up[:, 1] = 0
    return up


def double(problem):
    """The same numbers in float64."""
    wide = {name: getattr(problem, name) for name in ("input", "weight", "bias")}
    parts = {name: getattr(problem.targets, name) for name in ("dense", "class_weight", "positive_weight")}
    targets = replace(problem.targets, **{name: None if t is None else t.double() for name, t in parts.items()})
    return replace(problem, targets=targets, **{name: None if t is None else t.double() for name, t in wide.items()})


def both(backend, case, problem, projection=None, wanted=ALL):
    """Losses and gradients."""
    projection = projection or Linear()
    own = backend.target_scores(projection, problem) if case.loss.needs_target_score else None
    up = upstream_of(case, problem).to(problem.input.dtype if backend is tiles else torch.float32)
    if backend is triton_tiles:
        assert triton_tiles.supports(case.loss, projection, problem)
    state, found = backend.states_and_gradients(case.loss, projection, problem, own, up, wanted)
    value = case.loss.value(state, problem.targets, own)
    return [torch.where(up == 0, 0, value), *found]


def assert_close(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            size = max(0.1, b.abs().max().item())
            torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_close_to_the_truth(name, shape):
    problem = problem_of(CASES[name], *shape)
    found = both(triton_tiles, CASES[name], problem)
    assert all(part.dtype == torch.float32 for part in found)
    assert_close(found, both(tiles, CASES[name], double(problem)), 3e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["softmax", "softmax everything", "hinge", "crammer singer", "binary answers"])
def test_short_types_no_worse_than_their_rounding(name, dtype):
    """Sums are float32: what is left is one rounding of each result, and in bfloat16 of each score's gradient.

    Half a unit each for a result as large as the largest; terms of both signs may be larger than their sum.
    """
    problem = problem_of(CASES[name], 19, 18, 35, dtype)
    truth = both(tiles, CASES[name], double(problem))
    unit = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
    found = both(triton_tiles, CASES[name], problem)
    assert [part.dtype for part in found[1:]] == [dtype] * 3
    assert_close(found[:1], truth[:1], 3e-6)
    assert_close(found[1:], truth[1:], 2 * unit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["softmax", "softmax probabilities", "hinge"])
def test_cosines(name, dtype):
    problem = problem_of(CASES[name], 19, 18, 35, dtype, bias=False)
    problem.weight[5] = 0
    wanted = (True, True, False)
    truth = both(tiles, CASES[name], double(problem), Cosine(), wanted)
    # A row of W that is zero counts as 1e-12 long: its gradient is of that size, and would hide all others.
    found = both(triton_tiles, CASES[name], problem, Cosine(), wanted)
    assert found[2].isfinite().all()
    for parts in (truth, found):
        parts[2][5] = 0
    assert_close(found, truth, 3e-6 if dtype == torch.float32 else 2.0**-7)


@dataclass(frozen=True)
class AddedMargin:
    """Softmax of s·cos θ with s·(cos θ − 0.3)·0.9 for the row's own class, as a row loss that has margins."""

    scale: float = 8.0
    label_smoothing: float = 0.0
    outputs: int = 1
    needs_target_score: bool = False

    kernel = "added_margin", ()
    fields = Softmax().fields

    def with_margin(self, own, targets):
        return (own - 0.3) * 0.9, torch.full_like(own, 0.9)

    def value(self, state, targets, target_score):
        return Softmax(self.label_smoothing).value(state, targets, target_score)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_margins_by_autograd(smoothing):
    """A margin comes as the score that stands for the own class's, and its derivative."""
    case = Case(AddedMargin(label_smoothing=smoothing))
    problem = problem_of(case, 19, 18, 35, bias=False)
    up, y = upstream_of(case, problem)[0].double(), problem.targets.index
    x, W = (tensor.double().requires_grad_() for tensor in (problem.input, problem.weight))
    cosines = F.linear(x, F.normalize(W))
    own = F.one_hot(y.clamp_min(0), 35).bool() & (y >= 0)[:, None]
    z = 8 * torch.where(own, (cosines - 0.3) * 0.9, cosines)
    each = F.cross_entropy(z, y, reduction="none", ignore_index=-1, label_smoothing=smoothing)
    (each * up).sum().backward()
    found = both(triton_tiles, case, problem, Cosine(), (True, True, False))
    found[0] = torch.where(y >= 0, found[0], 0)
    assert_close(found, [torch.where(up == 0, 0, each)[None], x.grad, W.grad, None], 3e-6)


def test_built_in_margins():
    case = Case(ROW_LOSSES["margin_softmax"]())
    problem = problem_of(case, 19, 18, 35, bias=False)
    problem = replace(problem, input=F.normalize(problem.input))
    wanted = (True, True, False)
    truth = both(tiles, case, double(problem), Cosine(), wanted)
    assert_close(both(triton_tiles, case, problem, Cosine(), wanted), truth, 1e-5)


@pytest.mark.parametrize(("programs", "scratch"), [(1, 1 << 24), (100, 1 << 24), (100, 16 * 5), (4, 2 * 16 * 5)])
@pytest.mark.parametrize("name", ["softmax everything", "crammer singer"])
def test_sums_in_parts_and_pieces(name, programs, scratch, monkeypatch):
    problem = problem_of(CASES[name], 37, 5, 35, torch.bfloat16)
    truth = both(tiles, CASES[name], double(problem))
    monkeypatch.setattr(triton_tiles, "PROGRAMS", programs)
    monkeypatch.setattr(triton_tiles, "SCRATCH_NUMBERS", scratch)
    found = both(triton_tiles, CASES[name], problem)
    assert_close(found[:1], truth[:1], 3e-6)
    assert_close(found[1:], truth[1:], 2 * 2.0**-8)
    for first, second in zip(found, both(triton_tiles, CASES[name], problem), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["softmax everything", "squared hinge", "crammer singer", "binary weighted"])
def test_shards_make_the_whole(name):
    """States merge, and the gradients are those of all classes; the target scores come from the shards, too."""
    case = CASES[name]
    whole = problem_of(case, 19, 7, 50)
    loss, up = case.loss, upstream_of(case, whole)
    expected = both(triton_tiles, case, whole)
    shards = []
    for first, last in ((0, 23), (23, 50)):
        cut = {k: getattr(whole.targets, k) for k in ("class_weight", "positive_weight")}
        targets = replace(whole.targets, **{k: None if t is None else t[first:last] for k, t in cut.items()})
        shards.append(Problem(whole.input, whole.weight[first:last], whole.bias[first:last], targets, first))
    own = sum(triton_tiles.target_scores(Linear(), part) for part in shards) if loss.needs_target_score else None
    state = empty_state(loss.fields, whole.input, 19)
    for part in shards:
        state = merged(loss.fields, state, triton_tiles.states(loss, Linear(), part, own))
    parts = [triton_tiles.gradients(loss, Linear(), part, own, state, up, ALL) for part in shards]
    together = [sum(part.input for part in parts), *(torch.cat([part[i] for part in parts]) for i in (1, 2))]
    assert_close(together, expected[1:], 1e-6)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_wanted(wanted):
    case = CASES["softmax smooth weighted"]
    problem = problem_of(case, 17, 5, 20)
    found, everything = both(triton_tiles, case, problem, wanted=wanted)[1:], both(triton_tiles, case, problem)[1:]
    for want, some, one in zip(wanted, found, everything, strict=True):
        assert torch.equal(some, one) if want else some is None


def test_strided_tensors():
    case = CASES["softmax probabilities"]
    problem = problem_of(case, 17, 5, 20)
    loose = replace(
        problem,
        input=problem.input.t().contiguous().t(),
        weight=torch.cat([problem.weight, problem.weight], dim=1)[:, :5],
        bias=problem.bias[:, None].repeat(1, 2)[:, 0],
        targets=replace(problem.targets, dense=problem.targets.dense.repeat(1, 2)[:, 20:]),
    )
    assert_close(both(triton_tiles, case, loose), both(triton_tiles, case, problem), 0)


def test_extreme_scores():
    z = torch.tensor([[1e4, -1e4, 0.0], [-torch.inf, 0.0, 1.0], [torch.nan, 0.0, 0.0]])
    y = torch.tensor([1, 2, 1])
    problem = Problem(torch.ones(1, 1), torch.zeros(3, 1), None, Targets(3, None))
    for row in range(3):
        one = replace(problem, bias=z[row], targets=Targets(3, y[row : row + 1]))
        state = triton_tiles.states(Softmax(), Linear(), one, None)
        loss = Softmax().value(state, one.targets, None)[0]
        expected = F.cross_entropy(z[row : row + 1], y[row : row + 1], reduction="none")
        torch.testing.assert_close(loss, expected, equal_nan=True)
        own = triton_tiles.target_scores(Linear(), one)
        for hinge in (WestonWatkins(), CrammerSinger()):  # what is not a number may not become a loss of 0
            state = triton_tiles.states(hinge, Linear(), one, own)
            value = hinge.value(state, one.targets, own)
            torch.testing.assert_close(value, _hinge_value(hinge, z[row], int(y[row])), equal_nan=True)


def _hinge_value(loss, z, y):
    violation = (z - z[y] + 1).clamp_min(0)
    violation[y] = 0
    return (violation.sum() if isinstance(loss, WestonWatkins) else violation.max()).reshape(1, 1)


def test_tiny_probabilities_keep_their_digits():
    """log(1 + exp z) of scores far below zero, and tanh near zero: absolute rounding would be all there is."""
    z = torch.cat([-torch.linspace(0, 60, 50), torch.linspace(0, 60, 50)])
    answers = (z > 0).to(torch.float32)[None]
    problem = Problem(torch.zeros(1, 1), torch.zeros(100, 1), z, Targets(100, None, answers))
    for first in range(0, 100, 10):
        cut = slice(first, first + 1)
        one = replace(problem, weight=problem.weight[cut], bias=z[cut], targets=Targets(100, None, answers[:, cut]))
        found = triton_tiles.states(Binary(), Linear(), one, None)[0]
        expected = torch.log1p(torch.exp(-z[cut].double().abs()))
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    small = replace(problem, bias=z * 1e-4, weight=torch.zeros(100, 1))
    state = triton_tiles.states(
        Softmax(softcap=1.0), Linear(), replace(small, targets=Targets(100, None, answers)), None
    )
    expected = (torch.tanh(z.double() * 1e-4) * answers[0].double()).sum()
    torch.testing.assert_close(state[2, 0].double(), expected, rtol=1e-6, atol=0)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result._base is None:
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize("name", ["softmax everything", "crammer singer", "binary weighted"])
def test_the_scores_never_exist_all_at_once(name, monkeypatch):
    monkeypatch.setattr(triton_tiles, "SCRATCH_NUMBERS", 50)
    monkeypatch.setattr(triton_tiles, "PROGRAMS", 4)
    problem = problem_of(CASES[name], 49, 2, 53)
    with Largest() as mode:
        both(triton_tiles, CASES[name], problem)
    assert 106 <= mode.numel <= 4 * 4 * 49  # the parts' states; there are 2597 scores


def test_rows_of_the_weight_further_apart_than_32_bits():
    try:
        memory = torch.empty(2**31 + 5, dtype=torch.bfloat16)  # never touched but for two rows
    except RuntimeError as error:
        pytest.skip(f"no address space: {error}")
    problem = problem_of(CASES["softmax"], 3, 5, 2, torch.bfloat16)
    far = memory.as_strided((2, 5), (2**31, 1)).copy_(problem.weight)
    assert far.data_ptr() == memory.data_ptr()
    found = both(triton_tiles, CASES["softmax"], replace(problem, weight=far))
    assert_close(found, both(triton_tiles, CASES["softmax"], problem), 0)


@pytest.fixture
def used(monkeypatch):
    """Public functions compute with the Triton kernels, or fail."""

    def backend_for(loss, projection, problem):
        assert triton_tiles.supports(loss, projection, problem)
        return triton_tiles

    monkeypatch.setattr(operators, "backend_for", backend_for)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_functions_agree_with_unfused_pytorch(used, reduction):
    x, W, b = (torch.randn(*shape, dtype=torch.float64) for shape in ((19, 7), (35, 7), (35,)))
    y, w = torch.randint(35, (19,)), torch.rand(35).double() + 0.5
    ignored = y.clone()
    ignored[3] = -100
    pairs = [
        (
            lambda x, W, b: fused.linear_cross_entropy(
                x, W, ignored, linear_bias=b, weight=w.to(x.dtype), label_smoothing=0.1, reduction=reduction
            ),
            lambda z: F.cross_entropy(z, ignored, weight=w, label_smoothing=0.1, reduction=reduction),
        ),
        (
            lambda x, W, b: fused.linear_multi_margin_loss(x, W, y, linear_bias=b, p=2, reduction=reduction),
            lambda z: F.multi_margin_loss(z, y, p=2, reduction=reduction),
        ),
    ]
    for ours, theirs in pairs:
        short = [tensor.float().requires_grad_() for tensor in (x, W, b)]
        long = [tensor.float().double().requires_grad_() for tensor in (x, W, b)]
        found, truth = ours(*short), theirs(F.linear(*long))
        up = torch.linspace(-1, 2, truth.numel(), dtype=torch.float64).reshape(truth.shape)
        (found * up.float()).sum().backward()
        (truth * up).sum().backward()
        assert_close([found, *[t.grad for t in short]], [truth, *[t.grad for t in long]], 3e-6)


def test_refuses_openly_what_it_does_not_compute():
    case = CASES["softmax"]
    problem = problem_of(case, 17, 5, 20)

    def supported(loss=case.loss, projection=None, **changes):
        return triton_tiles.supports(loss, projection or Linear(), replace(problem, **changes))

    assert supported()
    assert not supported(**{name: getattr(problem, name).double() for name in ("input", "weight", "bias")})
    assert not supported(input=problem.input[:0], targets=problem.targets.rows(0, 0))
    assert not supported(weight=problem.weight.t().contiguous().t())
    assert not supported(weight=problem.weight[:0])
    assert not supported(projection=Cosine())  # which takes no bias
    assert not supported(loss=WestonWatkins(1.0, 3.0))
    assert not supported(loss=AddedMargin())  # margins are of cosines
    assert not supported(loss=CrammerSinger(), targets=replace(problem.targets, classes=1 << 25))
    assert not supported(input=problem.input.to("meta"))
