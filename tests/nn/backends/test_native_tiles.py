"""The native kernels of fused heads beside the reference implementation, and beside PyTorch in float64."""

import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crosshead.nn.backends import native_tiles, tiles
from crosshead.nn.backends.projections import Cosine, Linear
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.row_losses import Binary, CrammerSinger, Softmax, SquaredError, Targets, WestonWatkins, merged

_native = pytest.importorskip("crosshead._native")

SHAPES = [(1, 1, 1), (1, 5, 3), (17, 7, 2), (3, 252, 17), (130, 33, 252), (97, 17, 507)]
SETS = [name for name in ("plain", "avx2", "avx512", "avx512_bf16") if _native.has_instruction_set(name)]
KEEP, RECOMPUTE = "keep", "recompute"


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
    "squared error weighted": Case(SquaredError(), weighted=True),
    "squared error numbers": Case(SquaredError(), dense=True, weighted=True),
}


def problem_of(case, rows, features, classes, dtype=torch.float64, bias=True):
    """Random features, weight and targets, the first and the last class among them."""
    chance = torch.Generator().manual_seed(rows + 10 * features + 100 * classes)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def normal(*shape):
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    index = torch.randint(classes, (rows,), generator=chance)
    index[0], index[-1] = 0, classes - 1
    dense = torch.rand(rows, classes, generator=chance, dtype=torch.float64)
    dense = (dense / dense.sum(dim=1, keepdim=True)).to(wide)
    targets = Targets(
        classes,
        None if case.dense else index,
        dense if case.dense else None,
        (torch.rand(classes, generator=chance, dtype=torch.float64) + 0.5).to(wide) if case.weighted else None,
        (torch.rand(classes, generator=chance, dtype=torch.float64) + 0.5).to(wide) if case.positive else None,
    )
    weight = (2 * normal(classes, features) / features**0.5).to(dtype)
    return Problem(normal(rows, features).to(dtype), weight, normal(classes).to(dtype) if bias else None, targets)


def upstream_of(case, problem):
    """Derivatives that differ from row to row; the second row has none."""
    up = torch.linspace(-1, 2, case.loss.outputs * len(problem.input), dtype=torch.float64)
    up = up.reshape(case.loss.outputs, -1) / len(problem.input)
    if len(problem.input) > 1:
        up[:, 1] = 0
    return up.to(torch.float64 if problem.input.dtype == torch.float64 else torch.float32)


def target_score(backend, case, projection, problem):
    return backend.target_scores(projection, problem) if case.loss.needs_target_score else None


def both(backend, case, problem, projection=None, wanted=(True, True, True)):
    """Losses and gradients, computed together."""
    projection = projection or Linear()
    own = target_score(backend, case, projection, problem)
    state, found = backend.states_and_gradients(case.loss, projection, problem, own, upstream_of(case, problem), wanted)
    return [case.loss.value(state, problem.targets, own), *found]


def apart(backend, case, problem, projection=None, wanted=(True, True, True)):
    """The same, states first and then gradients."""
    projection = projection or Linear()
    own = target_score(backend, case, projection, problem)
    state = backend.states(case.loss, projection, problem, own)
    found = backend.gradients(case.loss, projection, problem, own, state, upstream_of(case, problem), wanted)
    return [case.loss.value(state, problem.targets, own), *found]


def double(problem):
    """The same numbers in float64."""
    wide = {name: getattr(problem, name) for name in ("input", "weight", "bias")}
    targets = problem.targets
    parts = {name: getattr(targets, name) for name in ("dense", "class_weight", "positive_weight")}
    targets = replace(targets, **{name: None if t is None else t.double() for name, t in parts.items()})
    return replace(problem, targets=targets, **{name: None if t is None else t.double() for name, t in wide.items()})


def assert_close(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            size = max(1e-3, b.abs().max().item()) if b.numel() else 1.0
            torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance * size)


@pytest.fixture(params=[KEEP, RECOMPUTE])
def plan(request, monkeypatch):
    """Room for all scores, or for almost none."""
    if request.param == RECOMPUTE:
        monkeypatch.setattr(native_tiles, "ROOM", 1000)
    return request.param


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_same_as_reference_in_double(name, shape, plan):
    case = CASES[name]
    problem = problem_of(case, *shape)
    assert native_tiles.supports(case.loss, Linear(), problem)
    wanted = both(tiles, case, problem)
    assert_close(both(native_tiles, case, problem), wanted, 1e-12)
    assert_close(apart(native_tiles, case, problem), wanted, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_close_to_truth(name, plan):
    case = CASES[name]
    problem = problem_of(case, 130, 33, 252, torch.float32)
    truth = both(tiles, case, double(problem))
    assert_close(both(native_tiles, case, problem), truth, 3e-6)
    assert_close(apart(native_tiles, case, problem), truth, 3e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (33, 7, 17), (130, 34, 253), (97, 65, 507)], ids=str)
@pytest.mark.parametrize("name", ["softmax", "softmax everything", "hinge", "crammer singer", "binary answers"])
def test_short_types_no_worse_than_their_rounding(name, shape, dtype, plan):
    """Sums are float32: what is left is one rounding of each result, and in bfloat16 of each score's gradient."""
    case = CASES[name]
    problem = problem_of(case, *shape, dtype)
    truth = both(tiles, case, double(problem))
    unit = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
    found = both(native_tiles, case, problem)
    assert [part.dtype for part in found[1:]] == [dtype] * 3
    assert_close(found[:1], truth[:1], 3e-6)
    assert_close(found[1:], truth[1:], 1.5 * unit)
    assert_close(apart(native_tiles, case, problem)[1:], truth[1:], 1.5 * unit)


@pytest.mark.parametrize("name", ["softmax", "softmax probabilities", "hinge"])
def test_cosines(name, plan):
    case = replace(CASES[name])
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-6), (torch.bfloat16, 2.0**-7)):
        problem = problem_of(case, 97, 33, 252, dtype, bias=False)
        wanted = both(tiles, case, double(problem), Cosine(), (True, True, False))
        assert_close(both(native_tiles, case, problem, Cosine(), (True, True, False)), wanted, tolerance)
        assert_close(apart(native_tiles, case, problem, Cosine(), (True, True, False)), wanted, tolerance)


def raw(problem, up, *, isa="", number="float32", threads=1, plan=KEEP, room=52_000_000, loss="softmax"):
    """One call of the kernels, on NumPy arrays."""
    wide = np.float64 if number == "float64" else np.float32
    x, w = (
        t.view(torch.int16).numpy() if t.dtype.itemsize == 2 else t.numpy() for t in (problem.input, problem.weight)
    )
    state = np.empty((4, len(x)), wide)
    found = [np.empty_like(x), np.empty_like(w), np.empty(len(w), wide)]
    scores = tiles.target_scores(Linear(), problem).numpy() if loss == "hinge" else None
    _native.head(
        isa=isa, number=number, input=x, weight=w, bias=problem.bias.to(state_type(number)).numpy(), class_scale=None,
        class_weight=None, positive_weight=None, labels=problem.targets.index.numpy(), first_class=0,
        all_classes=len(w), soft_target=None, target_score=scores, slope=None, loss=loss, margin=1.0,
        label_smoothing=0.0, softcap=0.0, z_loss=0.0, state=state, state_known=False, upstream=up.numpy(),
        lse_upstream=None, input_gradient=found[0], weight_gradient=found[1], bias_gradient=found[2], plan=plan,
        room=room, threads=threads,
    )  # fmt: skip
    return [state, *found]


def state_type(number):
    return torch.float64 if number == "float64" else torch.float32


TYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("number", TYPES)
@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_same_bits_for_any_number_of_threads(number, isa, loss):
    problem = problem_of(CASES["softmax"], 300, 49, 700, TYPES[number])
    up = torch.full((300,), 1 / 300, dtype=state_type(number))
    for plan, room in ((KEEP, 10_000_000), (KEEP, 400_000), (RECOMPUTE, 10_000_000)):
        one = raw(problem, up, isa=isa, number=number, plan=plan, room=room, loss=loss)
        for threads in (2, 3):
            again = raw(problem, up, isa=isa, number=number, plan=plan, room=room, threads=threads, loss=loss)
            assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize("number", TYPES)
def test_tiles_do_not_show_in_the_bits(number):
    """Recomputing, the room for tiles changes what is done together, and no sum."""
    problem = problem_of(CASES["softmax"], 300, 49, 1500, TYPES[number])
    up = torch.full((300,), 1 / 300, dtype=state_type(number))
    first, *others = (
        raw(problem, up, number=number, plan=RECOMPUTE, room=room, threads=2) for room in (1, 1_000_000, 10**8)
    )
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("number", ["float64", "float32"])
def test_instruction_sets_agree_with_pytorch(number, isa):
    problem = problem_of(CASES["softmax"], 130, 33, 252, TYPES[number])
    leaves = [t.double().clone().requires_grad_() for t in (problem.input, problem.weight, problem.bias)]
    F.cross_entropy(F.linear(*leaves), problem.targets.index).backward()
    up = torch.full((130,), 1 / 130, dtype=TYPES[number])
    for room in (10**7, 252 * 8 * 70, 1):
        _, *found = raw(problem, up, isa=isa, number=number, room=room, threads=2)
        tolerance = 1e-13 if number == "float64" else 2e-6
        assert_close([torch.from_numpy(g) for g in found], [leaf.grad for leaf in leaves], tolerance)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.dense])
def test_rows_without_upstream_have_no_gradient_whatever_their_scores(name, plan):
    case = CASES[name]
    problem = problem_of(case, 40, 9, 30)
    clean = both(native_tiles, case, problem)
    spoilt = problem.input.clone()
    spoilt[1] = 1e306  # scores overflow
    found = both(native_tiles, case, replace(problem, input=spoilt))
    for a, b in zip(found[1:], clean[1:], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(found[1][1], torch.zeros(9, dtype=torch.float64))


def test_all_rows_ignored(plan):
    case = CASES["softmax"]
    problem = problem_of(case, 20, 5, 12, torch.float32)
    up = torch.zeros(1, 20)
    _, found = native_tiles.states_and_gradients(case.loss, Linear(), problem, None, up, (True, True, True))
    assert all(not part.any() for part in found)


@pytest.mark.parametrize("name", ["softmax", "hinge", "squared hinge", "crammer singer", "binary", "squared error"])
def test_nan_in_one_class_reaches_the_loss(name):
    case = CASES[name]
    problem = problem_of(case, 20, 5, 200)
    problem.weight[150] = torch.nan
    rows = problem.targets.index != 150
    assert both(native_tiles, case, problem)[0][0][rows].isnan().all()


def test_scores_of_minus_infinity_have_probability_zero(plan):
    case = CASES["softmax"]
    problem = problem_of(case, 20, 5, 300)
    problem = replace(problem, targets=replace(problem.targets, index=problem.targets.index.clamp(120, 280)))
    problem.bias[:110] = -torch.inf
    loss, _, weight, bias = both(native_tiles, case, problem)
    truth = F.cross_entropy(
        F.linear(problem.input, problem.weight[110:], problem.bias[110:]), problem.targets.index - 110, reduction="none"
    )
    torch.testing.assert_close(loss[0], truth)
    assert not weight[:110].any()
    assert not bias[:110].any()


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_large_scores_neither_overflow_nor_vanish(scale):
    case = CASES["softmax"]
    problem = problem_of(case, 33, 8, 60, torch.float32)
    problem = replace(problem, weight=problem.weight * scale)
    truth = both(tiles, case, double(problem))
    found = both(native_tiles, case, problem)
    assert_close(found, truth, 1e-5)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_wanted(wanted, plan):
    case = CASES["softmax"]
    problem = problem_of(case, 33, 8, 60)
    found, everything = both(native_tiles, case, problem, wanted=wanted), both(native_tiles, case, problem)
    for part, whole, want in zip(found[1:], everything[1:], wanted, strict=True):
        assert (part is not None) == want
        assert part is None or torch.equal(part, whole)


def test_shards_of_classes_merge_to_the_whole():
    for name in ("softmax smooth weighted", "hinge", "crammer singer", "binary weighted", "squared error"):
        case = CASES[name]
        problem = problem_of(case, 50, 9, 211)
        own = target_score(tiles, case, Linear(), problem)
        state = None
        for first, last in ((0, 70), (70, 72), (72, 211)):
            shard = shard_of(problem, first, last)
            part = native_tiles.states(case.loss, Linear(), shard, own)
            reference = tiles.states(case.loss, Linear(), shard, own)
            torch.testing.assert_close(part, reference, rtol=1e-11, atol=1e-11)
            state = part if state is None else merged(case.loss.fields, state, part)
        whole = native_tiles.states(case.loss, Linear(), problem, own)
        torch.testing.assert_close(state, whole, rtol=1e-11, atol=1e-11)
        up = upstream_of(case, problem)
        every = native_tiles.gradients(case.loss, Linear(), problem, own, state, up, (True, True, True))
        parts = [
            native_tiles.gradients(case.loss, Linear(), shard_of(problem, *cut), own, state, up, (True, True, True))
            for cut in ((0, 70), (70, 211))
        ]
        torch.testing.assert_close(parts[0].input + parts[1].input, every.input)
        torch.testing.assert_close(torch.cat([part.weight for part in parts]), every.weight)


def shard_of(problem, first, last):
    """The problem of some of the classes."""
    targets = problem.targets

    def part(vector):
        return None if vector is None else vector[first:last]

    return replace(
        problem,
        weight=problem.weight[first:last],
        bias=part(problem.bias),
        targets=replace(
            targets, class_weight=part(targets.class_weight), positive_weight=part(targets.positive_weight)
        ),
        first_class=first,
    )


def test_strided_features_and_weight():
    case = CASES["softmax"]
    problem = problem_of(case, 40, 9, 30)
    wide = replace(
        problem,
        input=torch.cat([problem.input, problem.input], dim=1)[:, :9],
        weight=torch.cat([problem.weight, problem.weight], dim=1)[:, 9:],
    )
    assert native_tiles.supports(case.loss, Linear(), wide)
    assert_close(both(native_tiles, case, wide), both(native_tiles, case, problem), 0)


def test_refuses_openly_what_it_cannot_read():
    case = CASES["softmax"]
    problem = problem_of(case, 4, 3, 6, torch.float32)
    assert native_tiles.supports(case.loss, Linear(), problem)
    columns = problem.weight.t().contiguous().t()
    assert not native_tiles.supports(case.loss, Linear(), replace(problem, weight=columns))
    assert not native_tiles.supports(case.loss, Linear(), replace(problem, input=problem.input[:0]))
    assert not native_tiles.supports(case.loss, Linear(), replace(problem, weight=problem.weight[:0]))
    assert not native_tiles.supports(case.loss, SimpleNamespace(key=("other", ())), problem)
    assert not native_tiles.supports(case.loss, Cosine(), problem)
    dense = problem_of(CASES["softmax probabilities"], 4, 3, 6, torch.float32)
    short = replace(dense, targets=replace(dense.targets, dense=dense.targets.dense.half()))
    assert not native_tiles.supports(case.loss, Linear(), short)
    meta = replace(problem, input=problem.input.to("meta"), weight=problem.weight.to("meta"))
    assert not native_tiles.supports(case.loss, Linear(), meta)


PEAK = """
import resource
import numpy as np
from crosshead import _native
rows, classes = 1000, 30000  # 120 MB of scores
x, w = np.ones((rows, 8), np.float32), np.ones((classes, 8), np.float32)
state, up, labels = np.empty((4, rows), np.float32), np.ones(rows, np.float32), np.zeros(rows, np.int64)
found = [np.ones_like(x), np.ones_like(w)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_native.head(
    isa="", number="float32", input=x, weight=w, bias=None, class_scale=None, class_weight=None, positive_weight=None,
    labels=labels, first_class=0, all_classes=classes, soft_target=None, target_score=None, slope=None,
    loss="softmax", margin=1.0, label_smoothing=0.1, softcap=5.0, z_loss=0.1, state=state, state_known=False,
    upstream=up, lse_upstream=up, input_gradient=found[0], weight_gradient=found[1], bias_gradient=None,
    plan=PLAN, room=10_000_000, threads=1,
)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("way", [KEEP, RECOMPUTE])
def test_memory_does_not_grow_with_rows_times_classes(way):
    done = subprocess.run(
        [sys.executable, "-c", PEAK.replace("PLAN", repr(way))], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40_000_000
