"""The objective in plain NumPy float64, by which every solver is judged. It shares no code with any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from problems import Problem

BLOCK_SCORES = 1 << 22


def softmax(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log Σ exp(z) − z_y."""
    largest = scores.max(axis=1)
    total = np.log(np.exp(scores - largest[:, None]).sum(axis=1)) + largest
    return total - scores[np.arange(len(labels)), labels]


def _margins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """max(0, z_j − z_y + 1) for j ≠ y, and 0 for j = y."""
    margins = np.maximum(scores - scores[np.arange(len(labels)), labels][:, None] + 1.0, 0.0)
    margins[np.arange(len(labels)), labels] = 0.0
    return margins


def hinge(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weston–Watkins: the sum of the margins."""
    return _margins(scores, labels).sum(axis=1)


def squared_hinge(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The sum of the squared margins."""
    return (_margins(scores, labels) ** 2).sum(axis=1)


def crammer_singer(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The largest margin."""
    return _margins(scores, labels).max(axis=1)


def binary(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One logistic loss a class, against the rest: Σ log(1 + exp(z)) − z_y."""
    total = np.logaddexp(0.0, scores).sum(axis=1)
    return total - scores[np.arange(len(labels)), labels]


LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "hinge": hinge,
    "squared_hinge": squared_hinge,
    "crammer_singer": crammer_singer,
    "binary": binary,
}


def objective(problem: Problem, features: Any, labels: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> float:
    """F(W, b) for W (C, D), b (C,) as they were returned; ValueError where they have another shape."""
    if coef.shape != (problem.classes, problem.features) or intercept.shape != (problem.classes,):
        raise ValueError(f"weights of shape {coef.shape} and bias of shape {intercept.shape} do not fit the problem")
    if not problem.fit_intercept and intercept.any():
        raise ValueError("a bias was returned for a problem without one")
    weight, bias = coef.astype(np.float64), intercept.astype(np.float64)
    step = max(1, BLOCK_SCORES // problem.classes)
    total = 0.0
    for first in range(0, problem.rows, step):
        block = features[first : first + step].astype(np.float64)
        scores = np.asarray(block @ weight.T) + bias
        total += float(LOSSES[problem.loss](scores, labels[first : first + step]).sum())
    penalty = problem.l1_ratio * np.abs(weight).sum() + (1 - problem.l1_ratio) / 2 * (weight**2).sum()
    return total / problem.rows + problem.alpha * float(penalty)
