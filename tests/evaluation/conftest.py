from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

Sample = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def predicted() -> Any:
    """Random probabilities (n, C), and labels drawn from them after they were sharpened: calibrated where it is 1."""

    def make(n: int, classes: int, *, seed: int = 0, sharpen: float = 1.0, size: float = 2.0) -> Sample:
        generator = np.random.default_rng(seed)
        scores = size * generator.normal(size=(n, classes))
        truth = softmax(scores, axis=1)
        target = (truth.cumsum(axis=1) < generator.random(n)[:, None]).sum(axis=1)
        return softmax(sharpen * scores, axis=1), np.minimum(target, classes - 1)

    return make
