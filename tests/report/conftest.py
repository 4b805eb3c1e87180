from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import pytest
from sklearn.datasets import load_digits, load_iris

from crosshead import LinearClassifier


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="session")
def digits() -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="session")
def digits_model(digits: Any) -> LinearClassifier:
    return LinearClassifier(alpha=1e-3).fit(*digits)


@pytest.fixture(scope="session")
def petals() -> tuple[Any, Any]:
    X, y = load_iris(return_X_y=True)
    return X[:, 2:], y


@pytest.fixture(scope="session")
def petals_model(petals: Any) -> LinearClassifier:
    return LinearClassifier("hinge", alpha=1e-2).fit(*petals)
