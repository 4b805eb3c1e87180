"""Checks that learning can work: the first loss, the gradient, and a few rows learnt by heart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.cli.check_finding import FAILED_CHECK, PASSED, WARNING, Finding
from crosshead.data.dataset import Array
from crosshead.engines import TrainingData, make_engine
from crosshead.linear import ConvergenceWarning, LinearClassifier
from crosshead.losses.protocol import Float, Loss
from crosshead.objective import Objective
from crosshead.penalties import ElasticNet

INITIAL: Mapping[str, str] = {
    "softmax": "ln C",
    "binary": "C·ln 2",
    "hinge": "C − 1",
    "squared_hinge": "C − 1",
    "crammer_singer": "1",
    "squared_error": "1",
}
"""What each loss is at equal scores of zero, as a formula."""

SMALL_WEIGHT = 1e-3
NEAR = 0.05  # how far from its start, relatively, small random weights may bring the loss
EXACT = 1e-9
GRADIENT_ROWS, DIRECTIONS = 256, 12
GRADIENT_ERROR = 1e-5
STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
MOST_LEARNT, LEARNING_ALPHA = 20, 1e-9
ATTAINED, NOT_ATTAINED = 1e-3, 1e-2  # mean losses that count as zero


@dataclass(frozen=True)
class Learning:
    """What is learnt, and how: features (N, D), class indices (N,), loss, penalty and engine."""

    features: Any
    indices: Array
    n_classes: int
    loss: Loss
    penalty: ElasticNet
    intercept: bool
    engine: str
    threads: int | None
    seed: int

    def objective(self, rows: Array | None = None) -> Objective:
        """The objective on some rows, in float64 and with no L1 part: that has no gradient."""
        features, indices = self.features, self.indices
        if rows is not None:
            features, indices = features[rows].astype(np.float64), indices[rows]
        data = TrainingData(features, indices.astype(np.int32), self.n_classes)
        smooth = ElasticNet(self.penalty.l2_weight, 0.0)
        return Objective(make_engine(self.engine, data, self.threads), self.loss, smooth, fit_intercept=self.intercept)


def learning_findings(learning: Learning) -> list[Finding]:
    """All checks of learning."""
    return [initial_loss(learning), small_weights(learning), gradient(learning), learnt_by_heart(learning)]


def equal_scores_loss(learning: Learning) -> float:
    """What the loss is at equal scores, by its own formula."""
    return float(learning.loss.value(np.zeros((1, learning.n_classes)), np.array([0]))[0])


def initial_loss(learning: Learning) -> Finding:
    """The loss at W = 0, as the engine computes it, against the loss's value at equal scores."""
    objective, expected = learning.objective(), equal_scores_loss(learning)
    found = objective.evaluate(np.zeros(objective.size)).value
    formula = INITIAL[learning.loss.name]
    value = f"{expected:.6g}" if formula == "1" else f"{formula} = {expected:.6g}"
    return Finding(
        "initial_loss",
        "first loss, W = 0",
        PASSED if abs(found - expected) <= EXACT * expected else FAILED_CHECK,
        f"{found:.6g}, expected {value}",
        "with all scores equal nothing is known, and the loss must be what ignorance costs; if it is not, loss, labels "
        "or engine are at odds",
        "try --engine reference; if the numbers differ, please report it",
        {"found": found, "expected": expected},
    )


def small_weights(learning: Learning) -> Finding:
    """The loss at small random weights: scores that are far from equal there betray large features."""
    objective, expected = learning.objective(), equal_scores_loss(learning)
    chance = np.random.default_rng(learning.seed)
    weight = SMALL_WEIGHT * chance.standard_normal((learning.n_classes, learning.features.shape[1]))
    point = objective.pack(weight, np.zeros(learning.n_classes))
    found = objective.evaluate(point).value - objective.penalty.value(weight)
    return Finding(
        "small_weights",
        "first loss, small random W",
        PASSED if abs(found - expected) <= NEAR * expected else WARNING,
        f"{found:.6g}, expected about {expected:.6g} (weights of size {SMALL_WEIGHT:g})",
        "weights that small still tell the scores far apart, so the features are large, and a training that starts "
        "from random weights starts by unlearning them",
        "scale the features: --scale standard or --scale maxabs",
        {"found": found, "expected": expected, "weight_size": SMALL_WEIGHT},
    )


def gradient(learning: Learning) -> Finding:
    """The engine's gradient against central differences of its value, both in float64, in random directions."""
    chance = np.random.default_rng(learning.seed)
    count = learning.features.shape[0]
    rows = np.sort(chance.choice(count, size=min(GRADIENT_ROWS, count), replace=False))
    objective = learning.objective(rows)
    size = _typical_size(learning.features[rows])
    point = _random(objective, chance) / size
    if not learning.intercept:
        objective.unpack(point)[1][:] = 0
    slopes = objective.evaluate(point).gradient
    worst = 0.0
    for _ in range(DIRECTIONS):
        direction = _random(objective, chance)
        direction *= 1 / (size * np.sqrt(objective.size))
        if not learning.intercept:
            objective.unpack(direction)[1][:] = 0
        worst = max(worst, _difference(objective, point, direction, float(slopes @ direction)))
    return Finding(
        "gradient",
        "gradient",
        PASSED if worst <= GRADIENT_ERROR else FAILED_CHECK,
        f"largest relative difference {worst:.1e} from central differences, {DIRECTIONS} directions, {len(rows)} rows",
        "the gradient is not that of the loss, and a solver that follows it goes astray",
        "try --engine reference; if that passes, please report it",
        {"largest_relative_difference": worst, "directions": DIRECTIONS, "rows": len(rows)},
    )


def learnt_by_heart(learning: Learning) -> Finding:
    """A few rows of several classes, trained with next to no penalty until their loss is zero."""
    parameters = learning.features.shape[1] + int(learning.intercept)  # a score can be asked of as many rows
    rows = few_rows(learning.indices, min(MOST_LEARNT, parameters), learning.seed)
    features = _evened(learning.features[rows].astype(np.float64))
    classifier = LinearClassifier(
        learning.loss,
        alpha=LEARNING_ALPHA,
        fit_intercept=learning.intercept,
        tol=1e-3,
        max_iter=2000,
        max_time=20.0,
        engine=learning.engine,
        n_threads=learning.threads,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the loss that was reached is the verdict
        classifier.fit(features, learning.indices[rows])
    scores = np.asarray(features @ classifier.coef_.T) + classifier.intercept_
    _, own = np.unique(learning.indices[rows], return_inverse=True)
    found = float(learning.loss.value(scores, own).mean())
    small = NOT_ATTAINED if learning.loss.has_probabilities else ATTAINED
    return Finding(
        "learnt_by_heart",
        "a few rows learnt by heart",
        PASSED if found <= small else FAILED_CHECK,
        f"loss {found:.2g} after training on {len(rows)} rows of {len(classifier.classes_)} classes, wanted at most "
        f"{small:g}",
        "a linear classifier can learn so few rows without a mistake unless rows with different labels are equal or "
        "lie between each other; where it cannot, features and labels may not belong together",
        "see whether rows and labels are in the same order, and look at rows that are equal but for their labels",
        {
            "loss": found,
            "wanted": small,
            "rows": (rows + 1).tolist(),
            "classes": len(classifier.classes_),
            "iterations": classifier.n_iter_,
        },
    )


def few_rows(indices: Array, count: int, seed: int) -> Array:
    """Up to ``count`` rows, at least two of different classes: one of each class, then a second of each, and so on."""
    chance = np.random.default_rng(seed)
    shuffled = chance.permutation(len(indices))
    order = shuffled[np.argsort(indices[shuffled], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(indices))[:-1]))
    rank = np.arange(len(order)) - starts[indices[order]]
    return np.sort(order[np.argsort(rank, kind="stable")][: max(2, count)])


def _random(objective: Objective, chance: np.random.Generator) -> Float:
    return np.asarray(chance.standard_normal(objective.size))


def _typical_size(features: Any) -> float:
    """The root mean square norm of a row, or 1 where all are zero."""
    values = features.data if not isinstance(features, np.ndarray) else features
    values = np.asarray(values, dtype=np.float64)
    return float(np.sqrt(np.square(values).sum() / features.shape[0])) or 1.0


def _evened(features: Any) -> Any:
    """Each column divided by its root mean square: scale has a check of its own, and is not to decide this one."""
    dense = features.toarray() if not isinstance(features, np.ndarray) else features
    size = np.sqrt(np.square(dense).mean(axis=0))
    return dense / np.where(size > 0, size, 1)


def _difference(objective: Objective, point: Float, direction: Float, slope: float) -> float:
    """The relative difference of a slope from central differences, at the best of several steps.

    Too wide a step bends, or meets a hinge's kink; too narrow a one drowns in rounding.
    """
    best = np.inf
    for step in STEPS:
        above = objective.evaluate(point + step * direction).value
        below = objective.evaluate(point - step * direction).value
        found = (above - below) / (2 * step)
        best = min(best, abs(found - slope) / max(abs(found), abs(slope), 1e-12))
    return float(best)
