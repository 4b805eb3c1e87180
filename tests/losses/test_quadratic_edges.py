"""A second-order model as a graph on the classes: the edges add up to the product that the model computes itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosshead.losses.quadratic import CentredQuadratic, DiagonalQuadratic, StarQuadratic


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("quadratic", [CentredQuadratic(), DiagonalQuadratic(), StarQuadratic()], ids=repr)
def test_edges_add_up_to_the_hessian(quadratic: Any, classes: int) -> None:
    random = np.random.default_rng(classes)
    coefficients = random.uniform(size=(7, classes))
    if isinstance(quadratic, StarQuadratic):
        coefficients[np.arange(7), random.integers(0, classes, 7)] = -1.0
    direction = random.normal(size=(7, classes))
    product = np.zeros((7, classes))
    for first, second, weight in quadratic.edges(coefficients):
        assert (weight >= 0).all()
        along = np.zeros(classes)
        along[first] = 1.0
        if second is not None:
            along[second] = -1.0
        product += (weight * (direction @ along))[:, None] * along
    np.testing.assert_allclose(product, quadratic.value_and_gradient(direction, coefficients)[1], atol=1e-14)
