"""What PyTorch does to an operator: compile it, check it, cast it, differentiate it twice, map it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from crosshead.nn import ClassificationHead
from crosshead.nn import functional as fused
from crosshead.nn.backends.projections import Linear
from crosshead.nn.fused.inputs import checked_index
from crosshead.nn.fused.operators import linear_loss, linear_loss_gradients, linear_loss_rows, recipe_of
from crosshead.nn.fused.score_operators import score_loss, score_loss_gradient, score_loss_rows
from crosshead.nn.row_losses import Binary, CrammerSinger, Softmax, WestonWatkins

ROWS, FEATURES, CLASSES = 6, 3, 5
FUNCTIONS = {
    "softmax": (fused.linear_cross_entropy, {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 3.0}),
    "none": (fused.linear_cross_entropy, {"reduction": "none"}),
    "hinge": (fused.linear_weston_watkins_loss, {}),
    "crammer_singer": (fused.linear_crammer_singer_loss, {}),
    "binary": (fused.linear_binary_cross_entropy_with_logits, {}),
    "mse": (fused.linear_mse_loss, {"reduction": "rows"}),
}


def problem(dtype=torch.float64):
    x, W, b = (torch.randn(s, dtype=dtype) for s in ((ROWS, FEATURES), (CLASSES, FEATURES), (CLASSES,)))
    target = torch.randint(0, CLASSES, (ROWS,))
    target[2] = -100
    return [part.requires_grad_() for part in (x, W, b)], target


def opcheck(operator, arguments):
    torch.library.opcheck(
        operator, arguments, test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_static")
    )
    torch.library.opcheck(operator, arguments, test_utils="test_autograd_registration")


LOSSES = [Softmax(0.1, 0.0, 0.2), WestonWatkins(1.0, 2.0), CrammerSinger(1.0), Binary()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kernel[0])
@pytest.mark.parametrize("with_bias", [True, False])
def test_opcheck_behind_a_linear_layer(loss, with_bias):
    (x, W, b), target = problem()
    index = checked_index(target, CLASSES, -100)
    bias, targets = b if with_bias else None, [index, None, None, None, None]
    recipe = recipe_of(loss, Linear())
    row_weight = (index >= 0).double() / 5
    opcheck(linear_loss, (recipe, x, W, bias, targets, row_weight, [True, True, with_bias]))
    opcheck(linear_loss_rows, (recipe, x, W, bias, targets))
    with torch.no_grad():
        _, state, own = linear_loss_rows(recipe, x, W, bias, targets)
    upstream = torch.randn(1, ROWS, dtype=torch.float64)
    plain = (x.detach(), W.detach(), None if bias is None else bias.detach())
    arguments = (recipe, *plain, targets, own, state, upstream, [True, False, with_bias])
    opcheck(linear_loss_gradients, arguments)


def test_opcheck_of_given_scores_and_targets():
    (x, W, _), target = problem()
    opcheck(checked_index, (target, CLASSES, -100))
    z, targets = (x @ W.t()).detach().requires_grad_(), [checked_index(target, CLASSES, -100), None, None, None, None]
    opcheck(score_loss, (recipe_of(Softmax(0.1)), z, targets, torch.ones(ROWS, dtype=torch.float64), True))
    opcheck(score_loss_rows, (recipe_of(Softmax(0.1, lse_output=1.0)), z, targets))
    _, state = score_loss_rows(recipe_of(Softmax(0.1)), z.detach(), targets)
    upstream = torch.randn(1, ROWS, dtype=torch.float64)
    opcheck(score_loss_gradient, (recipe_of(Softmax(0.1)), z.detach(), targets, state, upstream))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_it_is_one_graph_with_the_same_values(name):
    function, options = FUNCTIONS[name]
    parts, target = problem()

    def loss(x, W, b, target):
        return function(x * 2, W, target, linear_bias=b, **options).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for stance in ("default", "fail_on_recompile"):  # the second batch ignores other rows
        with torch.compiler.set_stance(stance):
            value, truth = compiled(*parts, target), loss(*parts, target)
        torch.testing.assert_close(value, truth)
        gradients = torch.autograd.grad(value, parts, retain_graph=True)
        torch.testing.assert_close(gradients, torch.autograd.grad(truth, parts))
        torch.testing.assert_close(torch.autograd.grad(value, parts), gradients)
        target = target.flip(0)


def test_compiled_for_any_number_of_rows():
    (_, W, b), _ = problem()

    def loss(x, target):
        return fused.linear_cross_entropy(x, W, target, linear_bias=b, label_smoothing=0.1)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows, stance in ((6, "default"), (4, "fail_on_recompile"), (9, "fail_on_recompile")):
        x = torch.randn(rows, FEATURES, dtype=torch.float64, requires_grad=True)
        target = torch.randint(0, CLASSES, (rows,))
        with torch.compiler.set_stance(stance):
            value = compiled(x, target)
        truth = loss(x, target)
        torch.testing.assert_close(value, truth)
        torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(truth, x))


def test_compiled_with_a_number_that_changes_from_step_to_step():
    (x, W, _), target = problem()

    def loss(smoothing):
        return fused.linear_cross_entropy(x, W, target, label_smoothing=smoothing)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for smoothing in (0.1, 0.2, 0.3, 0.1):
        torch.testing.assert_close(compiled(smoothing), loss(smoothing))


def test_compiled_with_all_rows_ignored():
    parts, target = problem()
    nothing = torch.full_like(target, -100)
    for all_ignored, expected in (("nan", torch.nan), ("zero", 0.0)):

        def loss(x, W, target, choice=all_ignored):
            return fused.linear_cross_entropy(x, W, target, all_ignored=choice)

        value = torch.compile(loss, fullgraph=True, backend="aot_eager")(parts[0], parts[1], nothing)
        torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_a_compiled_head_trains_as_an_eager_one():
    heads = [ClassificationHead(FEATURES, CLASSES, dtype=torch.float64) for _ in range(2)]
    heads[1].load_state_dict(heads[0].state_dict())
    (x, _, _), target = problem()
    steps = [heads[0], torch.compile(heads[1], fullgraph=True, backend="aot_eager")]
    for head, step in zip(heads, steps, strict=True):
        optimiser = torch.optim.SGD(head.parameters(), lr=0.5)
        for _ in range(3):
            optimiser.zero_grad()
            step(x, target).backward()
            optimiser.step()
    torch.testing.assert_close(heads[0].state_dict(), heads[1].state_dict())


def test_autocast_takes_the_type_of_autocast_and_gives_float32():
    (x, W, b), target = problem(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = fused.linear_cross_entropy(x, W, target, linear_bias=b)
        assert value.dtype == torch.float32
    short = [part.detach().bfloat16().double() for part in (x, W, b)]
    torch.testing.assert_close(value.double(), F.cross_entropy(F.linear(*short), target), rtol=1e-6, atol=1e-6)
    value.backward()
    assert {part.grad.dtype for part in (x, W, b)} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fused.cross_entropy(F.linear(x, W, b), target).dtype == torch.float32
        double, _ = problem(torch.float64)
        assert fused.linear_cross_entropy(double[0], double[1], target).dtype == torch.float64


def test_results_have_the_type_of_the_input():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        (x, W, _), target = problem(dtype)
        value = fused.linear_cross_entropy(x, W, target)
        value.backward()
        assert {value.dtype, x.grad.dtype, W.grad.dtype} == {dtype}


def test_gradients_of_float16_do_not_underflow_before_they_are_scaled():
    x = torch.full((1, 2), 1e-2, dtype=torch.float16)
    W = torch.zeros(3, 2, dtype=torch.float16, requires_grad=True)
    target = torch.zeros(40_000, dtype=torch.int64)
    loss = fused.linear_cross_entropy(x.expand(40_000, 2), W, target, reduction="mean")
    (loss * 2.0**14).backward()
    # (1/3, 1/3, -2/3) times features and scale, of which 1/40000 each is far below float16's least number
    expected = torch.tensor([[-2 / 3], [1 / 3], [1 / 3]]).expand(3, 2) * float(x[0, 0]) * 2.0**14
    torch.testing.assert_close(W.grad.float(), expected, rtol=2e-3, atol=0)


def test_a_second_backward_through_the_same_graph_is_as_right_as_the_first():
    parts, target = problem()
    for function, options in FUNCTIONS.values():
        value = function(*parts[:2], target, linear_bias=parts[2], **options).sum()
        first = torch.autograd.grad(value, parts, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(3 * value, parts, retain_graph=True), [3 * g for g in first])
        torch.testing.assert_close(torch.autograd.grad(value, parts), first)
    z = F.linear(*parts).detach().requires_grad_()
    value = fused.cross_entropy(z, target)
    first = torch.autograd.grad(value, z, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(-value, z)[0], -first)


def test_only_what_wants_a_gradient_gets_one():
    parts, target = problem()
    for wanted in range(8):
        chosen = [part.detach().requires_grad_(bool(wanted >> i & 1)) for i, part in enumerate(parts)]
        for reduction in ("mean", "none"):
            value = fused.linear_cross_entropy(*chosen[:2], target, linear_bias=chosen[2], reduction=reduction).sum()
            assert value.requires_grad == bool(wanted)
            leaves = [part for part in chosen if part.requires_grad]
            if leaves:
                truth = F.cross_entropy(F.linear(*chosen), target, reduction=reduction).sum()
                torch.testing.assert_close(torch.autograd.grad(value, leaves), torch.autograd.grad(truth, leaves))
    with torch.no_grad():
        assert not fused.linear_cross_entropy(*parts[:2], target).requires_grad


def test_second_derivatives_are_refused_in_one_line():
    parts, target = problem()
    for reduction in ("mean", "none"):
        value = fused.linear_cross_entropy(*parts[:2], target, reduction=reduction).sum()
        with pytest.raises(NotImplementedError, match=r"^crosshead's fused losses have first derivatives only: .*$"):
            torch.autograd.grad(value, parts[0], create_graph=True)


def test_transforms_are_refused_in_one_line():
    (x, W, b), target = problem()
    with pytest.raises(NotImplementedError, match="vmap, grad, jvp"):
        torch.func.grad(lambda W: fused.linear_cross_entropy(x, W, target, linear_bias=b))(W)
    for reduction in ("mean", "none"):
        with pytest.raises(NotImplementedError, match=r"^crosshead's fused losses do not work under torch.func "):
            torch.func.vmap(partial(fused.linear_cross_entropy, linear_weight=W, target=target, reduction=reduction))(
                x.expand(2, -1, -1)
            )
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.func.vmap(lambda z: fused.cross_entropy(z, target))((x @ W.t()).expand(2, -1, -1))
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.func.vmap(lambda t: fused.linear_cross_entropy(x, W, t))(target.expand(2, -1))


def test_activation_checkpointing_gives_the_same_gradients():
    (x, W, b), target = problem()
    loss = fused.linear_cross_entropy
    value = torch.utils.checkpoint.checkpoint(
        lambda x, W, b: loss(x.tanh(), W, target, linear_bias=b), x, W, b, use_reentrant=False
    )
    truth = F.cross_entropy(F.linear(x.tanh(), W, b), target)
    torch.testing.assert_close(torch.autograd.grad(value, (x, W, b)), torch.autograd.grad(truth, (x, W, b)))
