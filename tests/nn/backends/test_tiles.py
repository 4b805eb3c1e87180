"""The backend's interface: states of shards merge, memory keeps to tiles, projections have right gradients."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crosshead.nn import functional as fused
from crosshead.nn import row_losses
from crosshead.nn.backends import projections, tiles
from crosshead.nn.backends.projections import Cosine, Linear
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.fused import operators, prediction
from crosshead.nn.row_losses import ROW_LOSSES, Softmax, Targets, empty_state, merged

ROWS, FEATURES, CLASSES = 9, 4, 11
LOSSES = [
    Softmax(),
    Softmax(0.2, 3.0, 0.1, 1.0),
    row_losses.WestonWatkins(1.0, 1.0),
    row_losses.WestonWatkins(0.5, 2.0),
    row_losses.CrammerSinger(1.0),
    row_losses.Binary(),
    row_losses.SquaredError(),
]


def problem(loss, projection=None, dense=False, dtype=torch.float64):
    x, W = torch.randn(ROWS, FEATURES, dtype=dtype), torch.randn(CLASSES, FEATURES, dtype=dtype)
    bias = None if isinstance(projection, Cosine) else torch.randn(CLASSES, dtype=dtype)
    index = torch.randint(0, CLASSES, (ROWS,))
    index[0], index[1], index[2] = -1, 0, CLASSES - 1
    weight = torch.rand(CLASSES, dtype=dtype) + 0.5
    if dense:
        return Problem(x, W, bias, Targets(CLASSES, None, torch.rand(ROWS, CLASSES, dtype=dtype), weight))
    return Problem(x, W, bias, Targets(CLASSES, index, None, weight))


def shard(whole: Problem, first: int, last: int) -> Problem:
    targets = whole.targets
    here = replace(
        targets,
        dense=None if targets.dense is None else targets.dense[:, first:last],
        class_weight=None if targets.class_weight is None else targets.class_weight[first:last],
    )
    bias = None if whole.bias is None else whole.bias[first:last]
    return Problem(whole.input, whole.weight[first:last], bias, here, whole.first_class + first)


CHOICES = [
    (loss, projection, dense)
    for loss in LOSSES
    for projection in (Linear(), Cosine())
    for dense in (False, True)
    if not (dense and loss.needs_target_score)
]


@pytest.mark.parametrize(("loss", "projection", "dense"), CHOICES, ids=str)
@pytest.mark.parametrize("cuts", [(0, 5, 11), (0, 0, 1, 11, 11)])
def test_states_and_gradients_of_shards_are_those_of_the_whole(loss, projection, dense, cuts):
    whole = problem(loss, projection, dense)
    shards = [shard(whole, first, last) for first, last in pairwise(cuts)]
    own = sums = None
    if loss.needs_target_score:
        own = tiles.target_scores(projection, whole)
        sums = torch.stack([tiles.target_scores(projection, part) for part in shards]).sum(dim=0)
        torch.testing.assert_close(sums, own)
    state = tiles.states(loss, projection, whole, own)
    together = empty_state(loss.fields, state, ROWS)
    for part in shards:
        together = merged(loss.fields, together, tiles.states(loss, projection, part, sums))
    torch.testing.assert_close(together, state)

    upstream = torch.randn(loss.outputs, ROWS, dtype=torch.float64)
    wanted = (True, True, whole.bias is not None)
    expected = tiles.gradients(loss, projection, whole, own, state, upstream, wanted)
    parts = [tiles.gradients(loss, projection, part, sums, together, upstream, wanted) for part in shards]
    torch.testing.assert_close(sum(part.input for part in parts), expected.input)
    torch.testing.assert_close(torch.cat([part.weight for part in parts]), expected.weight)
    if whole.bias is not None:
        torch.testing.assert_close(torch.cat([part.bias for part in parts]), expected.bias)


@pytest.mark.parametrize(("loss", "projection", "dense"), CHOICES, ids=str)
def test_gradients_are_derivatives_of_the_values(loss, projection, dense):
    whole = problem(loss, projection, dense)
    upstream = torch.randn(loss.outputs, ROWS, dtype=torch.float64)

    def value(x, W):
        here = replace(whole, input=x, weight=W)
        own = tiles.target_scores(projection, here) if loss.needs_target_score else None
        return (loss.value(tiles.states(loss, projection, here, own), here.targets, own) * upstream).sum()

    own = tiles.target_scores(projection, whole) if loss.needs_target_score else None
    wanted = (True, True, False)
    _, gradients = tiles.states_and_gradients(loss, projection, whole, own, upstream, wanted)
    step = 1e-6
    for tensor, gradient in ((whole.input, gradients.input), (whole.weight, gradients.weight)):
        direction = torch.randn_like(tensor)
        ends = []
        for sign in (1, -1):
            moved = tensor + sign * step * direction
            ends.append(value(moved, whole.weight) if tensor is whole.input else value(whole.input, moved))
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(slope, (gradient * direction).sum(), rtol=1e-6, atol=1e-6)


def test_cosine_is_the_linear_layer_of_normalised_rows():
    loss, whole = Softmax(), problem(None, Cosine())
    W = whole.weight.clone().requires_grad_()
    unit = torch.nn.functional.normalize(W)
    state = tiles.states(loss, Cosine(), whole, None)
    torch.testing.assert_close(state, tiles.states(loss, Linear(), replace(whole, weight=unit.detach()), None))
    upstream = torch.randn(1, ROWS, dtype=torch.float64)
    plain = tiles.gradients(loss, Linear(), replace(whole, weight=unit.detach()), None, state, upstream, (1, 1, 0))
    unit.backward(plain.weight)
    ours = tiles.gradients(loss, Cosine(), whole, None, state, upstream, (1, 1, 0))
    torch.testing.assert_close(ours.weight, W.grad)
    torch.testing.assert_close(ours.input, plain.input)


def test_a_row_of_zeros_has_cosine_zero_and_a_finite_gradient():
    whole = problem(None, Cosine())
    whole.weight[3] = 0
    loss = Softmax()
    _, gradients = tiles.states_and_gradients(
        loss, Cosine(), whole, None, torch.ones(1, ROWS, dtype=torch.float64), (True, True, False)
    )
    assert gradients.input.isfinite().all()
    assert gradients.weight.isfinite().all()


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {memory for tensor in tree_leaves((args, kwargs)) for memory in self.memory(tensor)}
        for tensor in tree_leaves(result):
            if not given & set(self.memory(tensor)):
                self.numel = max(self.numel, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return result

    def memory(self, value):
        return [value.untyped_storage()._cdata] if isinstance(value, torch.Tensor) else []


@pytest.fixture
def watched(monkeypatch):
    """Tiles of 200 scores at most, and the largest tensor that the backend makes."""
    monkeypatch.setattr(tiles, "TILE_SCORES", 200)
    monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 4)
    monkeypatch.setattr(tiles, "STORED_SCORES", 400)
    monkeypatch.setattr(tiles, "LEAST_STORED_ROWS", 4)
    mode = Largest()

    class Backend:
        def __getattr__(self, name):
            def run(*arguments):
                with mode:
                    return getattr(tiles, name)(*arguments)

            return run

    monkeypatch.setattr(operators, "backend_for", lambda *_: Backend())
    return mode


W_OPTION, B_OPTION = {"weight": torch.linspace(0.5, 2, 101)}, {"pos_weight": torch.linspace(0.5, 2, 101)}
MATERIALISED = [
    (fused.linear_cross_entropy, "index", {}),
    (fused.linear_cross_entropy, "index", {"reduction": "none", **W_OPTION, "label_smoothing": 0.1}),
    (fused.linear_cross_entropy, "index", {"return_lse": True, "softcap": 3.0, "z_loss": 0.1}),
    (fused.linear_cross_entropy, "dense", {"label_smoothing": 0.1, **W_OPTION}),
    (fused.linear_multi_margin_loss, "index", {"p": 2, **W_OPTION}),
    (fused.linear_weston_watkins_loss, "index", {"reduction": "none"}),
    (fused.linear_crammer_singer_loss, "index", {"reduction": "sum"}),
    (fused.linear_binary_cross_entropy_with_logits, "index", {**W_OPTION, **B_OPTION, "reduction": "rows"}),
    (fused.linear_binary_cross_entropy_with_logits, "dense", {**W_OPTION, **B_OPTION}),
    (fused.linear_mse_loss, "dense", W_OPTION),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("function", "target", "options"), MATERIALISED)
def test_no_option_makes_the_scores_exist_all_at_once(watched, function, target, options, bias):
    rows, classes, features = 103, 101, 3
    x, W = torch.randn(rows, features, requires_grad=True), torch.randn(classes, features, requires_grad=True)
    b = torch.randn(classes, requires_grad=True) if bias else None
    y = torch.rand(rows, classes) if target == "dense" else torch.randint(0, classes, (rows,))
    value = function(x, W, y, linear_bias=b, **options)
    (value[0] if isinstance(value, tuple) else value).sum().backward()
    assert watched.numel > 100  # it was watched
    assert watched.numel <= 412  # four numbers a row; there are 10403 scores


@pytest.mark.parametrize("function", [fused.linear_cross_entropy, fused.linear_mse_loss])
def test_the_gradient_of_the_weight_exists_once(function):
    x, W = torch.randn(5, 3), torch.randn(101, 3, requires_grad=True)
    loss = function(x, W, torch.arange(5))
    with Largest() as mode:
        loss.backward()
    assert mode.numel <= 1  # the loss's own gradient: W's is scaled where it lies


def test_predictions_do_not_hold_the_scores_either(monkeypatch):
    monkeypatch.setattr(tiles, "TILE_SCORES", 200)
    monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 4)
    x, W = torch.randn(103, 3), torch.randn(101, 3)
    with Largest() as mode:
        best = prediction.best_classes(Linear(), x, W, None, 3)
    assert mode.numel <= 3 * 103
    torch.testing.assert_close(best.scores, (x @ W.t()).topk(3).values)
    assert torch.equal(best.classes, (x @ W.t()).topk(3).indices)
    torch.testing.assert_close(best.lse, (x @ W.t()).logsumexp(dim=1))


def test_every_registered_loss_and_projection_can_be_made_again():
    for name in ROW_LOSSES:
        loss = ROW_LOSSES[name]()
        assert loss.kernel[0] == name
        assert row_losses.build(*loss.kernel) == loss
    for name, projection in projections.PROJECTIONS.items():
        assert projections.build(*projection().key) == projection()
        assert projection().key[0] == name


def test_sums_over_blocks_of_rows_are_float32_for_bfloat16(monkeypatch):
    """Gradients that are accumulated in bfloat16 stand still once they are 256 times a block's part (Liger #512)."""
    monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 1)
    monkeypatch.setattr(tiles, "TILE_SCORES", 2)  # two rows a block
    x = torch.ones(2048, 1, dtype=torch.bfloat16)
    W = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    target = torch.zeros(2048, dtype=torch.int64)
    for stored in (0, 12):
        monkeypatch.setattr(tiles, "STORED_SCORES", stored)
        monkeypatch.setattr(tiles, "LEAST_STORED_ROWS", 1)
        loss = fused.linear_cross_entropy(x, W, target, reduction="sum")
        assert torch.autograd.grad(loss, W)[0].flatten().tolist() == [-1024, 1024]
