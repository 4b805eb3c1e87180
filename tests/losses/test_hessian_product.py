"""Second derivatives with respect to scores and to the smoothing width, against differences of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosshead.losses import LOSSES, get_loss

VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES if get_loss(name).smooth),
    ("hinge", {"smoothing": 0.3}),
    ("hinge", {"smoothing": 2.0, "margin": 0.7}),
    ("crammer_singer", {"smoothing": 0.4, "margin": 1.5}),
    ("crammer_singer", {"smoothing": 3.0}),
    ("softmax", {"label_smoothing": 0.2}),
    ("squared_hinge", {"margin": 0.5}),
]
ALL = [get_loss(name, **parameters) for name, parameters in VARIANTS]
SMOOTHED = [loss for loss in ALL if loss.smoothed(0.0) != loss]


def sample(loss: Any, classes: int, seed: int = 0) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    scores, direction = random.normal(scale=1.5, size=(2, 40, classes))
    return scores, random.integers(-1 if loss.name == "binary" else 0, classes, size=40), direction


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_hessian_product_is_the_derivative_of_the_gradient(loss: Any, classes: int) -> None:
    scores, target, direction = sample(loss, classes)
    step = 1e-7
    after, before = (loss.value_and_gradient(scores + sign * step * direction, target)[1] for sign in (1, -1))
    product = loss.hessian_product(scores, target, direction)
    np.testing.assert_allclose(product, (after - before) / (2 * step), atol=1e-5)
    assert product.any()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_hessian_products_sum_up_to_the_curvature(loss: Any) -> None:
    scores, target, _ = sample(loss, 5)
    columns = [loss.hessian_product(scores, target, np.tile(unit, (40, 1))) for unit in np.eye(5)]
    hessians = np.stack(columns, axis=2)
    weight = np.linspace(0.5, 1.5, 40)
    curvature = loss.curvature(scores, target, weight)
    np.testing.assert_allclose(hessians, hessians.transpose(0, 2, 1), atol=1e-12)
    np.testing.assert_allclose(np.einsum("i,icd->cd", weight, hessians), curvature.classes, atol=1e-10)
    np.testing.assert_allclose(np.einsum("icc->i", hessians), curvature.rows, atol=1e-10)
    assert (np.linalg.eigvalsh(hessians) > -1e-10).all()


@pytest.mark.parametrize("loss", SMOOTHED, ids=repr)
def test_smoothing_slope_is_the_derivative_by_the_width(loss: Any) -> None:
    scores, target, _ = sample(loss, 5)
    step = 1e-7
    after, before = (
        loss.smoothed(loss.smoothing + sign * step).value_and_gradient(scores, target)[1] for sign in (1, -1)
    )
    slope = loss.smoothing_slope(scores, target)
    np.testing.assert_allclose(slope, (after - before) / (2 * step), atol=1e-5)
    assert slope.any()


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss not in SMOOTHED], ids=repr)
def test_what_is_not_smoothed_has_no_slope(loss: Any) -> None:
    scores, target, _ = sample(loss, 4)
    assert not loss.smoothing_slope(scores, target).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_precision_is_kept_and_arguments_are_left_alone(loss: Any, dtype: Any) -> None:
    scores, target, direction = sample(loss, 4)
    scores, direction = scores.astype(dtype), direction.astype(dtype)
    copies = scores.copy(), direction.copy()
    assert loss.hessian_product(scores, target, direction).dtype == dtype
    assert loss.smoothing_slope(scores, target).dtype == dtype
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(direction, copies[1])


@pytest.mark.parametrize("name", ["hinge", "crammer_singer"])
def test_kinks_have_no_second_derivative(name: str) -> None:
    loss = get_loss(name)
    with pytest.raises(ValueError, match="kinks"):
        loss.hessian_product(np.zeros((1, 3)), np.array([0]), np.ones((1, 3)))
    with pytest.raises(ValueError, match="kinks"):
        loss.smoothing_slope(np.zeros((1, 3)), np.array([0]))


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.name != "crammer_singer"], ids=repr)
def test_the_quadratic_is_the_hessian(loss: Any, classes: int) -> None:
    """Its value is half the product with the direction, its gradient the product, its curvature the loss's."""
    scores, target, direction = sample(loss, classes)
    quadratic, coefficients = loss.quadratic(scores, target, 0.0)
    value, product = quadratic.value_and_gradient(direction, coefficients)
    expected = loss.hessian_product(scores, target, direction)
    np.testing.assert_allclose(product, expected, atol=1e-12)
    np.testing.assert_allclose(value, (direction * expected).sum(axis=1) / 2, atol=1e-12)
    np.testing.assert_array_equal(quadratic.value(direction, coefficients), value)
    weight = np.linspace(0.5, 1.5, 40)
    mine, theirs = quadratic.curvature(coefficients, weight), loss.curvature(scores, target, weight)
    np.testing.assert_allclose(mine.classes, theirs.classes, atol=1e-10)
    np.testing.assert_allclose(mine.rows, theirs.rows, atol=1e-10)
    alone = quadratic.diagonal(coefficients, weight)
    np.testing.assert_allclose(alone.classes, np.diag(theirs.classes), atol=1e-10)
    np.testing.assert_array_equal(alone.rows, mine.rows)


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.name != "crammer_singer"], ids=repr)
def test_the_whole_share_of_the_origin_does_not_depend_on_the_scores(loss: Any) -> None:
    scores, target, direction = sample(loss, 5)
    products = []
    for here in (scores, 50 * scores):
        quadratic, coefficients = loss.quadratic(here, target, 1.0)
        products.append(quadratic.value_and_gradient(direction, coefficients)[1])
    np.testing.assert_allclose(products[0], products[1], atol=1e-12)
    assert products[0].any(axis=1).all()


def test_a_capped_hinge_has_no_quadratic() -> None:
    loss = get_loss("crammer_singer", smoothing=0.4)
    assert loss.quadratic(*sample(loss, 4)[:2], 0.1) is None


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.name != "crammer_singer"], ids=repr)
def test_own_curvature_is_the_diagonal(loss: Any) -> None:
    scores, target, _ = sample(loss, 5)
    quadratic, coefficients = loss.quadratic(scores, target, 0.0)
    columns = [loss.hessian_product(scores, target, np.tile(unit, (40, 1)))[:, c] for c, unit in enumerate(np.eye(5))]
    own, totals = np.stack(columns, axis=1), quadratic.row_totals(coefficients)
    np.testing.assert_allclose(quadratic.own_curvature(coefficients, totals), own, atol=1e-12)
    np.testing.assert_allclose(quadratic.own_curvature(coefficients[:, [3, 1]], totals), own[:, [3, 1]], atol=1e-12)
