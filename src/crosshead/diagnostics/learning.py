"""Checks that learning can work: the loss at equal scores, the gradient, and a few rows trained to zero loss."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.data.dataset import Array
from crosshead.diagnostics.finding import FAILED_CHECK, PASSED, WARNING, Finding
from crosshead.engines import TrainingData, make_engine
from crosshead.linear import ConvergenceWarning, LinearClassifier
from crosshead.losses import get_loss
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
"""What each loss is at equal scores of zero, as a formula, where its parameters are not given."""

SMALL_WEIGHT = 1e-3
NEAR = 0.05  # how far from its start, relatively, small random weights may bring the loss
EXACT = 1e-9
GRADIENT_ROWS, DIRECTIONS = 256, 12
GRADIENT_ERROR = 1e-5
STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
MAX_LEARNT, CANDIDATES, LEARNING_ALPHA = 20, 200, 1e-9
INDEPENDENT = 1e-3  # of a row's length: the part that is linearly independent of earlier rows
MIN_SIZE = 1e-100  # of a row: the penalty squares weights of its inverse size
ATTAINED, NOT_ATTAINED = 1e-3, 1e-2  # mean losses that count as zero


@dataclass(frozen=True)
class Learning:
    """What is trained: features (N, D), class indices (N,), loss, penalty and engine."""

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
    return [initial_loss(learning), small_weights(learning), gradient(learning), overfit_few_rows(learning)]


def equal_scores_loss(learning: Learning) -> float:
    """The loss at equal scores, by its own formula."""
    return float(learning.loss.value(np.zeros((1, learning.n_classes)), np.array([0]))[0])


def initial_loss(learning: Learning) -> Finding:
    """The loss at W = 0, as the engine computes it, against the loss's value at equal scores."""
    objective, expected = learning.objective(), equal_scores_loss(learning)
    found = objective.evaluate(np.zeros(objective.size)).value
    formula, plain = INITIAL[learning.loss.name], learning.loss == get_loss(learning.loss.name)
    value = f"{formula} = {expected:.6g}" if plain and formula != "1" else f"{expected:.6g}"
    return Finding(
        "initial_loss",
        "first loss, W = 0",
        PASSED if abs(found - expected) <= EXACT * expected else FAILED_CHECK,
        f"{found:.6g}, expected {value}",
        "with all scores equal the loss has a known value; another value means that loss, labels and engine do not "
        "agree",
        "try --engine reference; if the numbers differ, please report it",
        {"found": found, "expected": expected},
    )


def small_weights(learning: Learning) -> Finding:
    """The loss at small random weights: scores that are far from equal there are a sign of large features."""
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
        "even such small weights give scores that differ much, so the features are large, and training from random "
        "weights first has to shrink them",
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
        direction *= 1 / size / np.sqrt(objective.size)
        if not learning.intercept:
            objective.unpack(direction)[1][:] = 0
        worst = max(worst, _difference(objective, point, direction, float(slopes @ direction)))
    return Finding(
        "gradient",
        "gradient",
        PASSED if worst <= GRADIENT_ERROR else FAILED_CHECK,
        f"largest relative difference {worst:.1e} from central differences, {DIRECTIONS} directions, {len(rows)} rows",
        "the gradient is not that of the loss, so a solver that follows it does not reach the optimum",
        "try --engine reference; if that passes, please report it",
        {"largest_relative_difference": worst, "directions": DIRECTIONS, "rows": len(rows)},
    )


def overfit_few_rows(learning: Learning) -> Finding:
    """A few rows of several classes, trained with next to no penalty until their loss is zero."""
    candidates = by_turns(learning.indices, learning.seed)[:CANDIDATES]
    pool = _evened(learning.features[candidates].astype(np.float64))
    kept = independent_rows(pool, learning.indices[candidates], MAX_LEARNT, learning.intercept)
    features, rows = pool[kept], candidates[kept]
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
        "overfit_few_rows",
        "overfitting a few rows",
        PASSED if found <= small else FAILED_CHECK,
        f"loss {found:.2g} after training on {len(rows)} rows of {len(classifier.classes_)} classes, wanted at most "
        f"{small:g}",
        "these rows are linearly independent, so some weights predict all of them right, unless two rows are equal but "
        "for their labels; a training that does not find such weights does not work",
        "look at rows that are equal but for their labels; else try --engine reference, and please report it",
        {
            "loss": found,
            "wanted": small,
            "rows": np.sort(rows + 1).tolist(),
            "classes": len(classifier.classes_),
            "iterations": classifier.n_iter_,
        },
    )


def by_turns(indices: Array, seed: int) -> Array:
    """All rows: first one of each class, then a second of each, and so on."""
    shuffled = np.random.default_rng(seed).permutation(len(indices))
    order = shuffled[np.argsort(indices[shuffled], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(indices))[:-1]))
    turn = np.arange(len(order)) - starts[indices[order]]
    return np.asarray(order[np.argsort(turn, kind="stable")])


def independent_rows(features: Float, indices: Array, most: int, intercept: bool) -> list[int]:
    """Rows whose scores can be chosen freely: up to ``most`` that depend linearly on none before.

    A linear classifier with fewer free weights than rows need not be able to learn them. The first two of different
    classes are taken in any case: there is nothing to learn without.
    """
    extended = np.hstack([features, np.ones((len(features), 1))]) if intercept else features
    kept: list[int] = []
    basis: list[Float] = []
    for row, vector in enumerate(extended):
        rest = vector - sum((np.dot(part, vector) * part for part in basis), np.zeros_like(vector))
        free = float(np.linalg.norm(rest)) > INDEPENDENT * float(np.linalg.norm(vector))
        second = bool(kept) and len(set(indices[kept].tolist())) == 1 and indices[row] != indices[kept[0]]
        if free or second or not kept:
            kept.append(row)
        if free:
            basis.append(rest / np.linalg.norm(rest))
        if len(kept) == most:
            break
    return kept


def _random(objective: Objective, chance: np.random.Generator) -> Float:
    return np.asarray(chance.standard_normal(objective.size))


def _typical_size(features: Any) -> float:
    """The root mean square norm of a row, or 1 where all are zero."""
    values = features.data if not isinstance(features, np.ndarray) else features
    values = np.asarray(values, dtype=np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    if largest < MIN_SIZE:
        return MIN_SIZE if largest > 0 else 1.0
    return largest * float(np.sqrt(np.square(values / largest).sum() / features.shape[0]))


def _evened(features: Any) -> Any:
    """Each column divided by its root mean square, so that scale, which has a check of its own, does not decide."""
    if isinstance(features, np.ndarray):
        dense = features
    else:  # of a wide sparse matrix, the columns that these rows use
        dense = features[:, np.unique(features.indices)].toarray() if features.nnz else np.zeros((features.shape[0], 1))
    largest = np.abs(dense).max(axis=0)
    dense = dense / np.where(largest > 0, largest, 1)
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
