from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crosshead.nn.row_losses.angular_margin import AngularMargin, margin_cosine

mpmath.mp.dps = 50

MARGINS = [
    (1, 0, 0),
    (1, 0.5, 0),
    (1, math.pi / 2, 0),
    (1, 0, 0.35),
    (1, 0.3, 0.2),
    (2, 0, 0),
    (3, 0, 0),
    (4, 0, 0),
    (2, 0.4, 0.1),
    (4, math.pi / 2, 0),
    (1.35, 0, 0),
    (1.35, 0.5, 0.1),
    (2.5, 0, 0),
    (3.999, 1.2, 0),
]
COSINES = [1.0, 1 - 1e-12, 0.999, 0.9, 0.5, 0.1, 1e-9, 0.0, -0.2, -0.6, -0.8, -0.95, -1 + 1e-12, -1.0]


def by_the_papers(cosine, m1, m2, m3, easy=False):
    """ψ at 50 digits from the angle itself, as the papers write it."""
    theta = mpmath.acos(cosine)
    angle = m1 * theta + mpmath.mpf(m2)
    if easy and theta >= mpmath.pi / 2:
        return mpmath.cos(theta) - m3
    if angle <= mpmath.pi:
        return mpmath.cos(angle) - m3
    if m1 == 1:
        return mpmath.cos(theta) - m2 * mpmath.sin(m2) - m3
    turns = mpmath.floor(angle / mpmath.pi)
    return (-1) ** int(turns) * mpmath.cos(angle) - 2 * turns - m3


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("easy", [False, True])
@pytest.mark.parametrize(("m1", "m2", "m3"), MARGINS)
def test_values_and_slopes_at_fifty_digits(m1, m2, m3, easy):
    value, slope = AngularMargin(m1, m2, m3, easy_margin=easy).value_and_slope(tensor(COSINES))
    truth = [float(by_the_papers(mpmath.mpf(c), m1, m2, m3, easy)) for c in COSINES]
    np.testing.assert_allclose(value, truth, rtol=0, atol=4e-15 * m1 * m1)
    inside = [i for i, c in enumerate(COSINES) if abs(c) < 0.9999 and not (easy and c == 0)]
    exact = [float(mpmath.diff(lambda c: by_the_papers(c, m1, m2, m3, easy), mpmath.mpf(COSINES[i]))) for i in inside]
    np.testing.assert_allclose(slope[inside], exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("m1", "m2", "m3"), MARGINS)
def test_float32_loses_little(m1, m2, m3):
    generator = torch.Generator().manual_seed(0)
    cosine = (2 * torch.rand(1000, generator=generator) - 1).float()
    value, slope = AngularMargin(m1, m2, m3).value_and_slope(cosine)
    truth, exact = AngularMargin(m1, m2, m3).value_and_slope(cosine.double())
    away = (1 - cosine.abs()) > 1e-3
    assert value.dtype == slope.dtype == torch.float32
    np.testing.assert_allclose(value[away], truth[away], atol=2e-6 * m1)
    np.testing.assert_allclose(slope[away], exact[away], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("easy", [False, True])
@pytest.mark.parametrize(("m1", "m2", "m3"), MARGINS)
def test_gradcheck_but_at_the_corner(m1, m2, m3, easy):
    borders = [math.cos((k * math.pi - m2) / m1) for k in range(1, 6) if 0 < (k * math.pi - m2) / m1 < math.pi]
    grid = np.concatenate([np.linspace(-0.995, 0.995, 41), np.array(borders) + 1e-4, np.array(borders) - 1e-4])
    kept = [c for c in grid if abs(c) < 0.9999 and min((abs(c - b) for b in [*borders, 0.0]), default=1) > 1e-5]
    cosine = tensor(kept).requires_grad_()
    assert gradcheck(
        lambda c: margin_cosine(c, m1, m2, m3, easy_margin=easy), (cosine,), eps=1e-7, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m1", "m2", "m3"), MARGINS)
def test_nothing_is_infinite_at_the_corners(m1, m2, m3, dtype):
    """acos has an infinite derivative at ±1; so has cos(θ + m) as a function of cos θ, but not of the embedding."""
    weight = torch.nn.functional.normalize(torch.arange(1.0, 6.0, dtype=dtype), dim=0)
    features = torch.stack([3 * weight, -3 * weight, weight]).requires_grad_()
    cosine = torch.nn.functional.normalize(features, dim=1) @ weight
    psi = margin_cosine(cosine, m1, m2, m3)
    psi.sum().backward()
    assert psi.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad.norm(dim=1).max() <= 1.5 * m1 * max(m1, 1.0)
    _, slope = AngularMargin(m1, m2, m3).value_and_slope(tensor([1.0, -1.0, 1 + 1e-6, -1 - 1e-6], dtype))
    assert slope.isfinite().all()


def test_slopes_at_the_corner_without_an_added_angle_are_limits():
    for m1 in (2, 3, 1.35, 2.5):  # sin(m₁θ)/sin θ → m₁
        _, slope = AngularMargin(m1, 0.0).value_and_slope(tensor([1.0]))
        assert slope.item() == pytest.approx(m1 * m1, rel=1e-6)


@pytest.mark.parametrize(("m1", "m2", "m3"), MARGINS)
def test_psi_falls_with_the_angle_all_the_way(m1, m2, m3):
    theta = torch.linspace(0, math.pi, 20001, dtype=torch.float64)
    value, slope = AngularMargin(m1, m2, m3).value_and_slope(theta.cos())
    assert (value.diff() <= 1e-14).all()
    assert (slope >= -1e-9).all()  # a zero at a border is rounded


def test_beyond_pi_arcface_goes_on_with_a_step_down():
    m = 0.5
    border = math.cos(math.pi - m)
    value, slope = AngularMargin(m2=m).value_and_slope(tensor([border + 1e-9, border - 1e-9, -1.0]))
    assert value[0].item() == pytest.approx(-1, abs=1e-8)
    assert (value[0] - value[1]).item() == pytest.approx(math.cos(m) + m * math.sin(m) - 1, abs=1e-8)
    assert value[2].item() == pytest.approx(-1 - m * math.sin(m), abs=1e-15)
    assert slope[1:].tolist() == [1, 1]


def test_easy_margin_changes_something():
    cosine = tensor([0.5, 1e-6, 0.0, -0.3, -0.99])
    plain, plain_slope = AngularMargin(m2=0.5, m3=0.1).value_and_slope(cosine)
    easy, easy_slope = AngularMargin(m2=0.5, m3=0.1, easy_margin=True).value_and_slope(cosine)
    assert (easy[:2] == plain[:2]).all()
    np.testing.assert_allclose(easy[2:], cosine[2:] - 0.1, rtol=1e-15)
    assert (easy[2:] > plain[2:]).all()
    assert easy_slope.tolist()[2:] == [1, 1, 1]
    assert plain_slope[2].item() == pytest.approx(math.cos(0.5))


def test_insightface_drops_the_factor():
    theta = tensor([0.1, 0.7, 1.5, 2.2])
    exact = AngularMargin(m2=0.5)
    dropped = AngularMargin(m2=0.5, gradient="insightface")
    value, slope = exact.value_and_slope(theta.cos())
    same, one = dropped.value_and_slope(theta.cos())
    assert (value == same).all()
    assert one.tolist() == [1] * 4
    np.testing.assert_allclose(slope / one, torch.sin(theta + 0.5) / torch.sin(theta), rtol=1e-12)
    # The code that dropped it computes acos, adds the margin and takes cos in place, without recording.
    cosine = theta.cos().requires_grad_()
    with torch.no_grad():
        copied = cosine.arccos().add_(0.5).cos_()
    recorded = cosine + (copied - cosine).detach()
    recorded.sum().backward()
    assert cosine.grad is not None
    np.testing.assert_allclose(recorded.detach(), same, rtol=1e-12, atol=1e-15)
    assert (cosine.grad == one).all()


@pytest.mark.parametrize("m1", [1.0, 2.0, 1.35])
def test_rows_with_margins_of_their_own(m1):
    angles = [-0.4, -0.1, 0.0, 0.2, 0.4]
    cosine = tensor([0.7, 0.1, -0.3, -0.7, -0.95])
    value, slope = AngularMargin(m1).value_and_slope(cosine, m2=tensor(angles), m3=tensor([0.1, 0.0, 0.2, 0.3, 0.0]))
    for row, (m2, m3) in enumerate(zip(angles, [0.1, 0.0, 0.2, 0.3, 0.0], strict=True)):
        psi = lambda c, m2=m2, m3=m3: by_the_papers(c, m1, m2, m3)  # noqa: E731
        assert value[row].item() == pytest.approx(float(psi(mpmath.mpf(cosine[row].item()))), abs=1e-14)
        assert slope[row].item() == pytest.approx(float(mpmath.diff(psi, mpmath.mpf(cosine[row].item()))), rel=1e-11)


def test_an_angle_smaller_than_a_negative_margin_is_good_enough():
    value, slope = AngularMargin().value_and_slope(tensor([math.cos(0.3), 1.0]), m2=tensor([-0.4, -0.1]))
    assert value.tolist() == [1, 1]
    assert slope.tolist() == [0, 0]


def test_any_shape_and_short_types():
    for dtype in (torch.float16, torch.bfloat16):
        cosine = tensor([[0.5, -0.25], [1.0, -1.0]], dtype).requires_grad_()
        psi = margin_cosine(cosine, m2=0.5)
        psi.sum().backward()
        assert cosine.grad is not None
        assert psi.shape == (2, 2)
        assert psi.dtype == cosine.grad.dtype == dtype
        np.testing.assert_allclose(psi.detach().double(), margin_cosine(cosine.detach().double()), rtol=2**-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"m1": 0.9}, "m1 multiplies the angle and must be between 1 and 16, not 0.9"),
        ({"m1": math.nan}, "m1"),
        ({"m1": 17}, "m1"),
        ({"m2": -0.1}, "m2 is added to the angle and must be between 0 and π/2 radians"),
        ({"m2": 28.6}, "m2 is added"),
        ({"m3": -0.1}, "m3 is subtracted from the cosine"),
        ({"margin_gradient": "copied"}, "'exact' or 'insightface', not 'copied'"),
    ],
)
def test_margins_outside_their_domain(options, message):
    with pytest.raises(ValueError, match=message):
        margin_cosine(torch.zeros(2), **options)
