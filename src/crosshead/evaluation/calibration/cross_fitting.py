"""Cross-fitted temperature scaling: each row is scaled by a temperature fitted on the other folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation.calibration.temperature import TemperatureScaler
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.result import Evaluation
from crosshead.losses.protocol import Array, Loss


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Evaluations without a temperature, and with the temperature of the other folds; `cross_fit` returns it.

    ``temperatures`` (folds,): one per fold. The mean loss in ``after`` is that of the divided scores.

    Examples
    --------
    >>> found = cross_fit(np.log([[0.9, 0.1]] * 40), np.tile([0, 0, 0, 1], 10), folds=5)
    >>> found.temperatures.shape, found.before.error == found.after.error
    ((5,), True)
    """

    temperatures: NDArray[np.float64]
    before: Evaluation
    after: Evaluation


def fold_of_rows(target: NDArray[Any], folds: int, seed: int) -> NDArray[np.intp]:
    """Assign rows to folds at random, (N,), with every class spread evenly over the folds.

    Examples
    --------
    >>> np.bincount(fold_of_rows(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0)).tolist()
    [2, 2, 2]
    """
    shuffled = np.random.default_rng(seed).permutation(len(target))
    fold = np.empty(len(target), dtype=np.intp)
    fold[shuffled[np.argsort(target[shuffled], kind="stable")]] = np.arange(len(target)) % folds
    return fold


def cross_fit(
    scores: Array,
    target: NDArray[Any],
    *,
    loss: Loss | str = "softmax",
    temperature: float | None = None,
    classes: Any = None,
    folds: int = 5,
    bins: int = 15,
    seed: int = 0,
) -> CrossFitted:
    """Fit a temperature on all folds but one and apply it to that one, for each fold.

    ``scores`` are (N, C), ``target`` class indices (N,). Probabilities of ``before`` are those of ``temperature``, if
    given, or of the loss. Raises ValueError for fewer rows than folds, or if some fold has no optimal temperature.

    Examples
    --------
    >>> scores = np.log([[0.9, 0.1]] * 40)  # confidence 0.9, accuracy 0.75
    >>> found = cross_fit(scores, np.tile([0, 0, 0, 1], 10), folds=5)
    >>> round(found.before.ece, 4), found.after.ece < 0.03, bool(1.5 < found.temperatures.min())
    (0.15, True, True)
    """
    n_rows, n_classes = scores.shape
    if not 2 <= folds <= n_rows:
        raise ValueError(f"{folds} folds need at least as many rows, and 2 folds; there are {n_rows} rows")
    fold = fold_of_rows(target, folds, seed)
    names = np.arange(n_classes) if classes is None else classes
    scaled, temperatures = np.array(scores, dtype=np.float64), np.empty(folds)
    for number in range(folds):
        held_out = fold == number
        scaler = TemperatureScaler().fit(scores[~held_out], target[~held_out])
        temperatures[number] = scaler.temperature_
        scaled[held_out] /= scaler.temperature_
    before = Evaluator(n_rows, names, loss=loss, temperature=temperature, bins=bins)
    before.add(scores, target)
    after = Evaluator(n_rows, names, loss=loss, temperature=1.0, bins=bins)
    after.add(scaled, target)
    return CrossFitted(temperatures, before.result(), after.result())
