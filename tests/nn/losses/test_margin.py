from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from crosshead.nn.backends import tiles
from crosshead.nn.backends.projections import Cosine, SubCentreCosine
from crosshead.nn.backends.protocol import Problem
from crosshead.nn.functional import linear_margin_cross_entropy
from crosshead.nn.fused import operators
from crosshead.nn.row_losses import MarginSoftmax, Targets

MARGINS = {
    "normalised softmax": {"m2": 0.0},
    "ArcFace": {"m2": 0.5},
    "CosFace": {"m2": 0.0, "m3": 0.35},
    "SphereFace": {"m1": 4, "m2": 0.0},
    "SphereFace, not an integer": {"m1": 1.35, "m2": 0.0},
    "combined": {"m1": 2, "m2": 0.3, "m3": 0.2},
    "combined, not an integer": {"m1": 1.2, "m2": 0.4, "m3": 0.1},
    "easy ArcFace": {"m2": 0.5, "easy_margin": True},
    "insightface's ArcFace": {"m2": 0.5, "margin_gradient": "insightface"},
    "easy insightface": {"m2": 0.5, "m3": 0.1, "easy_margin": True, "margin_gradient": "insightface"},
    "sub-centres": {"m2": 0.5, "sub_centers": 3},
    "smoothed": {"m2": 0.5, "label_smoothing": 0.1},
    "smoothed sub-centres": {"m2": 0.3, "m3": 0.1, "sub_centers": 2, "label_smoothing": 0.2},
}


def margined(cosine, m1, m2, m3, easy_margin=False, margin_gradient="exact"):
    """ψ as the papers write it; ``m2`` and ``m3`` numbers or (N,)."""
    theta = torch.acos(cosine)
    m2, m3 = torch.as_tensor(m2, dtype=cosine.dtype), torch.as_tensor(m3, dtype=cosine.dtype)
    angle = m1 * theta + m2
    turns = torch.floor(angle / math.pi)
    psi = (1 - 2 * (turns % 2)) * torch.cos(angle) - 2 * turns if m1 != 1 else torch.cos(angle)
    if m1 == 1:
        psi = torch.where(angle > math.pi, torch.cos(theta) - m2 * torch.sin(m2), psi)
    if easy_margin:
        psi = torch.where(theta < math.pi / 2, psi, cosine)
    if margin_gradient == "insightface":
        psi = cosine + (psi - cosine).detach()
    return psi - m3


def unfused(x, weight_rows, target, *, m1=1.0, m2=0.5, m3=0.0, scale=64.0, easy_margin=False, margin_gradient="exact",
            sub_centers=1, ignore_index=-100, **options):  # fmt: skip
    """`linear_margin_cross_entropy` with every step in sight."""
    cosine = F.normalize(x, dim=1) @ F.normalize(weight_rows, dim=1).t()
    cosine = cosine.view(len(x), -1, sub_centers).amax(dim=2)
    own = target.clamp_min(0)[:, None]
    psi = margined(cosine.gather(1, own)[:, 0], m1, m2, m3, easy_margin, margin_gradient)
    return F.cross_entropy(scale * cosine.scatter(1, own, psi[:, None]), target, ignore_index=ignore_index, **options)


def case(rows=9, features=5, classes=7, *, each=1, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    weight = torch.randn(classes * each, features, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (rows,), generator=generator)
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), target


def gradients(loss, *inputs):
    loss.backward()
    found = [tensor.grad.clone() for tensor in inputs]
    for tensor in inputs:
        tensor.grad = None
    return found


@pytest.fixture(params=["as it comes", "one tile", "tiles of one class", "stored tiles"])
def tiling(request, monkeypatch):
    """The backend that is chosen here, and the reference implementation with tiles of all sizes."""
    if request.param != "as it comes":
        monkeypatch.setattr(operators, "backend_for", lambda *_: tiles)
    if "tiles" in request.param:
        monkeypatch.setattr(tiles, "TILE_SCORES", 10)
        monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 2)
        monkeypatch.setattr(tiles, "STORED_SCORES", 1 if request.param == "tiles of one class" else 60)
        monkeypatch.setattr(tiles, "LEAST_STORED_ROWS", 1)


@pytest.mark.usefixtures("tiling")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", MARGINS.values(), ids=MARGINS)
def test_value_and_gradient_are_those_of_all_cosines_at_once(options, reduction):
    x, weight, target = case(each=options.get("sub_centers", 1))
    target[2] = -100
    class_weight = torch.rand(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    options = {**options, "scale": 8.0, "weight": class_weight, "reduction": reduction}
    found, truth = linear_margin_cross_entropy(x, weight, target, **options), unfused(x, weight, target, **options)
    torch.testing.assert_close(found, truth)
    upstream = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(
        gradients((found * upstream).sum(), x, weight), gradients((truth * upstream).sum(), x, weight)
    )


@pytest.mark.parametrize("options", [o for o in MARGINS.values() if "margin_gradient" not in o])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(options, reduction):
    x, weight, target = case(4, 3, 5, each=options.get("sub_centers", 1), seed=3)

    def loss(features, rows):
        return linear_margin_cross_entropy(features, rows, target, scale=4.0, reduction=reduction, **options)

    assert gradcheck(loss, (x, weight))


@pytest.mark.usefixtures("tiling")
def test_rows_with_margins_of_their_own():
    x, weight, target = case()
    m2 = torch.linspace(0.0, 0.6, 9, dtype=torch.float64)
    m3 = torch.linspace(0.3, 0.0, 9, dtype=torch.float64)
    for one, other in itertools.product((m2, 0.2), (m3, 0.1)):
        found = linear_margin_cross_entropy(x, weight, target, m2=one, m3=other, scale=8.0)
        truth = unfused(x, weight, target, m2=one, m3=other, scale=8.0)
        torch.testing.assert_close(found, truth)
        torch.testing.assert_close(gradients(found, x, weight), gradients(truth, x, weight))


def test_one_sub_centre_is_none_and_the_nearest_counts():
    x, weight, target = case()
    single = linear_margin_cross_entropy(x, weight, target)
    far = torch.stack([weight, -weight.sum(dim=0).expand_as(weight)], dim=1).flatten(0, 1)
    nearest = F.normalize(x, dim=1) @ F.normalize(far, dim=1).t()
    used = nearest.view(9, 7, 2).argmax(dim=2)
    double = linear_margin_cross_entropy(x, far.detach().requires_grad_(), target, sub_centers=2)
    assert double != single
    leaf = far.detach().clone().requires_grad_()
    linear_margin_cross_entropy(x, leaf, target, sub_centers=2).backward()
    touched = leaf.grad.view(7, 2, -1).norm(dim=2) > 0
    for centre in (0, 1):
        assert (touched[:, centre] == (used == centre).any(dim=0)).all()


@pytest.mark.parametrize("options", MARGINS.values(), ids=MARGINS)
def test_nothing_is_infinite_where_features_lie_on_their_class_or_opposite(options):
    each = options.get("sub_centers", 1)
    for dtype in (torch.float32, torch.float64):
        _, weight, _ = case(each=each, dtype=dtype)
        own = weight.detach()[::each]
        x = torch.cat([own, -own, 5 * own[:1], 0 * own[:1]]).requires_grad_()
        target = torch.tensor([*range(7), *range(7), 0, 0])
        loss = linear_margin_cross_entropy(x, weight, target, **options)
        found = gradients(loss, x, weight)
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in found)
        assert found[0].abs().max() < 64 * 50


def test_exact_gradients_follow_the_loss_downhill_and_the_copied_ones_do_not():
    """Near θ = 0 the dropped factor sin(θ + m)/sin θ is large: the copied gradient is a small part of the true one."""
    angle = 0.02
    x = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64, requires_grad=True)
    weight = torch.eye(2, dtype=torch.float64)
    found = {}
    for kind in ("exact", "insightface"):
        loss = linear_margin_cross_entropy(x, weight, torch.tensor([0]), scale=4.0, margin_gradient=kind)
        (found[kind],) = gradients(loss, x)
    # ∂loss/∂θ = s·(1 − p)·sin(θ + m) + s·(1 − p)·cos θ, the second part by the other class's cosine sin θ
    p = 1 / (1 + math.exp(4 * (math.sin(angle) - math.cos(angle + 0.5))))
    exact = 4 * (1 - p) * (math.sin(angle + 0.5) + math.cos(angle))
    copied = 4 * (1 - p) * (math.sin(angle) + math.cos(angle))
    tangent = torch.tensor([-math.sin(angle), math.cos(angle)], dtype=torch.float64)
    assert (found["exact"][0] @ tangent).item() == pytest.approx(exact, rel=1e-9)
    assert (found["insightface"][0] @ tangent).item() == pytest.approx(copied, rel=1e-9)


def test_easy_margin_is_read():
    x, weight, target = case()
    plain, easy = (linear_margin_cross_entropy(x, weight, target, easy_margin=easy) for easy in (False, True))
    assert easy < plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", MARGINS.values(), ids=MARGINS)
def test_errors_are_at_most_one_and_a_half_times_those_of_the_unfused(options, dtype):
    options = {**options, "scale": 16.0, "reduction": "none"}
    x, weight, target = case(64, 32, 123, each=options.get("sub_centers", 1), dtype=dtype)
    long = [tensor.detach().double().requires_grad_() for tensor in (x, weight)]
    upstream = torch.rand(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def found(function, *tensors):
        loss = function(*tensors, target, **options)
        return [loss.detach().double(), *gradients((loss * upstream.to(loss.dtype)).sum(), *tensors)]

    truth = found(unfused, *long)
    ours, theirs = found(linear_margin_cross_entropy, x, weight), found(unfused, x, weight)
    for mine, other, exact in zip(ours, theirs, truth, strict=True):
        assert (mine - exact).norm() <= 1.5 * (other - exact).norm()


class _Sizes(TorchDispatchMode):
    """The operations that made something as large as a number of elements."""

    def __init__(self, least):
        super().__init__()
        self.least, self.found = least, set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.numel() >= self.least:
            self.found.add(operation.overloadpacket.__name__)
        return made


@pytest.mark.parametrize("loss", [MarginSoftmax(), MarginSoftmax(1.35, 0.3, 0.1, 8.0, 1.0, 1.0, 0.1)])
@pytest.mark.parametrize("projection", [Cosine(), SubCentreCosine(2.0)])
def test_no_normalised_copy_of_the_weight_and_no_stored_scores(projection, loss, monkeypatch):
    monkeypatch.setattr(tiles, "TILE_SCORES", 500)
    monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 5)
    monkeypatch.setattr(tiles, "STORED_SCORES", 500)
    x, weight, target = case(50, 6, 400, each=projection.rows_per_class)
    x, weight = x.detach(), weight.detach()
    own = torch.rand(2, 50, dtype=torch.float64)
    problem = Problem(x, weight, None, Targets(400, target, class_weight=torch.ones(400), parameters=own))
    upstream = torch.ones(1, 50, dtype=torch.float64)
    with _Sizes(weight.numel()) as seen:
        tiles.states_and_gradients(loss, projection, problem, None, upstream, [True, True, False])
    assert seen.found <= {"zeros_like", "slice", "view", "_to_copy"}, seen.found  # the gradient itself, and views
    with _Sizes(weight.numel()) as seen:
        tiles.states(loss, projection, problem, None)
    assert seen.found <= {"slice", "view"}


@pytest.mark.parametrize("all_ignored", ["nan", "zero"])
def test_all_rows_ignored(all_ignored):
    x, weight, target = case()
    loss = linear_margin_cross_entropy(x, weight, torch.full_like(target, -100), all_ignored=all_ignored)
    assert loss.isnan() if all_ignored == "nan" else loss == 0
    assert all((gradient == 0).all() for gradient in gradients(loss.nan_to_num(), x, weight))


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 5), (5, 1), (3, 2)])
def test_one_row_and_one_class(rows, classes):
    x, weight, target = case(rows, 4, classes)
    found = linear_margin_cross_entropy(x, weight, target)
    truth = unfused(x, weight, target)
    torch.testing.assert_close(found, truth)
    torch.testing.assert_close(gradients(found, x, weight), gradients(truth, x, weight))


def test_any_leading_shape():
    x, weight, target = case(6)
    flat = linear_margin_cross_entropy(x, weight, target, reduction="none")
    cube = linear_margin_cross_entropy(
        x.view(2, 3, 5), weight, target.view(2, 3), reduction="none", m2=torch.full((2, 3), 0.5)
    )
    torch.testing.assert_close(cube.flatten(), flat)
    alone = linear_margin_cross_entropy(x[0], weight, target[0], reduction="none")
    torch.testing.assert_close(alone, flat[0])


def test_lengths_have_no_influence():
    x, weight, target = case()
    loss = linear_margin_cross_entropy(x, weight, target)
    torch.testing.assert_close(linear_margin_cross_entropy(1e6 * x, 1e-6 * weight, target), loss)
    found = gradients(loss, x, weight)
    assert (found[0] * x).sum(dim=1).abs().max() < 1e-12
    assert (found[1] * weight).sum(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize("projection", ["cosine", "sub_centre_cosine 2.0"])
def test_opcheck(projection):
    x, weight, target = case(5, 3, 4, each=2 if "2" in projection else 1)
    recipe = f"margin_softmax 1.0 0.5 0.1 8.0 0.0 0.0 0.1|{projection}"
    targets = [target, None, None, None, torch.rand(2, 5, dtype=torch.float64)]
    row_weight = torch.rand(5, dtype=torch.float64)
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_static", "test_autograd_registration")
    arguments = (recipe, x, weight, None, targets, row_weight, [True, True, False])
    torch.library.opcheck(operators.linear_loss, arguments, test_utils=tests)
    torch.library.opcheck(operators.linear_loss_rows, arguments[:5], test_utils=tests)


def test_a_compiled_step_is_one_graph():
    x, weight, target = case(dtype=torch.float32)
    target[3] = -100

    def loss(features, rows, classes):
        return linear_margin_cross_entropy(features, rows, classes, m2=0.4, m3=0.1)

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)(x, weight, target)
    plain = loss(x, weight, target)
    torch.testing.assert_close(compiled, plain)
    torch.testing.assert_close(gradients(compiled, x, weight), gradients(plain, x, weight))


def test_autocast():
    x, weight, target = case(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_margin_cross_entropy(x, weight, target, scale=8.0)
    assert loss.dtype == torch.float32
    assert gradients(loss, x, weight)[1].dtype == torch.float32
    assert loss.item() == pytest.approx(unfused(x, weight, target, scale=8.0).item(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"m1": 0.5}, ValueError, "m1 multiplies the angle"),
        ({"m2": 2.0}, ValueError, "m2 is added to the angle"),
        ({"m3": -1.0}, ValueError, "m3 is subtracted"),
        ({"margin_gradient": "none"}, ValueError, "'exact' or 'insightface'"),
        ({"scale": 0.0}, ValueError, "scale must be a positive number, not 0.0"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be between 0 and 1"),
        ({"sub_centers": 0}, ValueError, "1 to 255 sub-centres, not 0"),
        ({"sub_centers": 2}, ValueError, "7 rows cannot be divided by 2"),
        ({"reduction": "max"}, ValueError, "reduction must be"),
        ({"weight": torch.ones(3)}, ValueError, r"weight must have shape \(7,\)"),
        ({"m2": torch.ones(3)}, ValueError, r"m2 must be a number or have shape \(9,\), not \(3,\)"),
        ({"m3": torch.ones(9, requires_grad=True)}, ValueError, "no gradient for margins"),
        ({"target": torch.zeros(9, 7)}, TypeError, "a margin belongs to one class a row"),
        ({"target": torch.full((9,), 7)}, IndexError, "target 7 in row 0 is not a class: expected 0 to 6"),
    ],
)
def test_what_does_not_fit(options, error, message):
    x, weight, target = case()
    with pytest.raises(error, match=message):
        linear_margin_cross_entropy(x, weight, **{"target": target, **options})
