"""Compare two or more models on the same rows, with paired intervals and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.checks import class_positions
from crosshead.data.errors import DataError
from crosshead.data.predictions.predictions import Predictions
from crosshead.evaluation import _checks
from crosshead.evaluation.bootstrap import Interval, percentile_interval
from crosshead.evaluation.comparison.mcnemar import McNemar, mcnemar
from crosshead.evaluation.comparison.row_differences import MostDifferent, RowDifference
from crosshead.evaluation.evaluate import predictions_evaluator
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.result import Evaluation
from crosshead.losses.protocol import Array, Float

COMPARED = ("error", "cross_entropy", "brier", "ece")
"""Measures whose differences are tested."""


@dataclass(frozen=True)
class Difference:
    """The difference of a measure, second model minus first, with its paired bootstrap interval.

    ``p_value``, two-sided, is twice the share of resamples with a difference of the other sign, with one added to the
    count (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 4.4).

    Examples
    --------
    >>> one, two = [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]], [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2]]
    >>> pair = compare({"one": one, "two": two}, [0, 0, 0]).pairs[0]
    >>> round(pair.differences["error"].interval.estimate, 4)
    -0.6667
    """

    estimate: float
    interval: Interval
    p_value: float


@dataclass(frozen=True, eq=False)
class Pair:
    """The comparison of two models on the same rows.

    ``both_right``, ``both_wrong``: numbers of rows; the others are in ``mcnemar``, whose exact p-value with Holm's
    correction for several pairs is ``holm``. ``differences`` has the measures of both models, second minus first:
    below zero the second is better. ``most_different``: the rows on which their losses differ most.

    Examples
    --------
    >>> one, two = [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]], [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2]]
    >>> pair = compare({"one": one, "two": two}, [0, 0, 0]).pairs[0]
    >>> pair.both_right, pair.mcnemar.only_second
    (1, 2)
    """

    first: str
    second: str
    both_right: int
    both_wrong: int
    mcnemar: McNemar
    holm: float
    differences: Mapping[str, Difference]
    most_different: Sequence[RowDifference]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The comparison of all models on the same N rows: the evaluation of each, and of every pair.

    Examples
    --------
    >>> one, two = [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]], [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2]]
    >>> found = compare({"one": one, "two": two}, [0, 0, 0])
    >>> list(found.evaluations), len(found.pairs)
    (['one', 'two'], 1)
    """

    rows: int
    evaluations: Mapping[str, Evaluation]
    pairs: Sequence[Pair]
    level: float
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types, except that infinities remain."""
        return {
            "rows": self.rows,
            "level": self.level,
            "resamples": self.resamples,
            "seed": self.seed,
            "models": {name: _summary(found) for name, found in self.evaluations.items()},
            "pairs": [_pair_document(pair) for pair in self.pairs],
        }


class Comparer:
    """The streaming form of `compare`: `add` takes one block of the same rows for each model.

    Examples
    --------
    >>> from crosshead.evaluation import Evaluator
    >>> comparer = Comparer({name: Evaluator(2, ["no", "yes"], level=0.95) for name in ("one", "two")}, most=1)
    >>> one, two = np.array([[0.3, 0.7], [0.4, 0.6]]), np.array([[0.6, 0.4], [0.7, 0.3]])
    >>> comparer.add({"one": one, "two": two}, np.array([0, 0]))
    >>> comparer.result().evaluations["one"].error
    1.0
    """

    def __init__(self, evaluators: Mapping[str, Evaluator], most: int) -> None:
        if len(evaluators) < 2:
            raise ValueError("give at least two models to compare")
        self.evaluators, self._row = dict(evaluators), 0
        names = list(self.evaluators)
        self._pairs = [(a, b, np.zeros((2, 2), dtype=np.int64), MostDifferent(most)) for a, b in combinations(names, 2)]

    def add(self, outputs: Mapping[str, Any], target: NDArray[Any]) -> None:
        """Add the next rows of every model, and their class indices (n,)."""
        found = {name: self.evaluators[name].add(outputs[name], target) for name in self.evaluators}
        for first, second, counts, most in self._pairs:
            np.add.at(counts, (found[first].wrong.astype(np.intp), found[second].wrong.astype(np.intp)), 1)
            most.add(self._row, target, found[first], found[second])
        self._row += len(target)

    def result(self) -> Comparison:
        """Return the comparison over all rows."""
        evaluations = {name: evaluator.result() for name, evaluator in self.evaluators.items()}
        tests = [mcnemar(int(counts[0, 1]), int(counts[1, 0])) for _, _, counts, _ in self._pairs]
        adjusted = holm([test.exact for test in tests])
        one = next(iter(self.evaluators.values()))
        level = 0.95 if one.level is None else one.level
        pairs = []
        for (first, second, counts, most), test, p_value in zip(self._pairs, tests, adjusted, strict=True):
            pair = (evaluations[first], evaluations[second])
            rows = most.rows(one.classes)
            right, wrong = int(counts[0, 0]), int(counts[1, 1])
            pairs.append(Pair(first, second, right, wrong, test, p_value, differences(*pair, level), rows))
        return Comparison(self._row, evaluations, pairs, level, one.resamples, one.seed)


def compare(
    models: Mapping[str, Any],
    target: Any = None,
    *,
    classes: Any = None,
    most: int = 10,
    bins: int = 15,
    top_k: int = 5,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare models by their outputs for the same rows.

    Every pair is tested by McNemar's test on the errors, and by a paired bootstrap of the differences in error,
    cross-entropy, Brier score and calibration error, with the same resamples for all models.

    Parameters
    ----------
    models : mapping of str to array (N, C) or Predictions
        Probabilities of each model, by name.
    target : array (N,), optional
        Class indices, or labels among ``classes``; `Predictions` have their own.
    classes : sequence, optional
        Names of the columns.
    most : int, default=10
        Number of rows to return on which the losses of two models differ most.
    bins, top_k, level, resamples, seed
        As in `evaluate`.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For fewer than two models or invalid probabilities; DataError, a subclass, if predictions are of other rows or
        labels, naming the first row that differs.

    Examples
    --------
    >>> one = [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]
    >>> two = [[0.1, 0.2, 0.7], [0.1, 0.7, 0.2], [0.3, 0.4, 0.3]]
    >>> found = compare({"model 1": one, "model 2": two}, [2, 1, 0])
    >>> [round(model.brier, 4) for model in found.evaluations.values()]
    [0.8067, 0.34]
    >>> found.pairs[0].most_different[0].row, found.pairs[0].mcnemar.exact
    (2, 1.0)
    """
    options: dict[str, Any] = {"bins": bins, "top_k": top_k, "level": level, "resamples": resamples, "seed": seed}
    if any(isinstance(model, Predictions) for model in models.values()):
        if target is not None or not all(isinstance(model, Predictions) for model in models.values()):
            raise ValueError("give Predictions, which bring their own target, or arrays and a target, not both")
        return _compare_predictions(dict(models), most, options)
    if target is None:
        raise ValueError("arrays of probabilities need a target")
    matrices = {name: _checks.as_matrix(f"the outputs of {name}", model) for name, model in models.items()}
    shapes = {name: matrix.shape for name, matrix in matrices.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all models must have the same rows and classes, not {shapes}")
    (n_rows, n_classes) = next(iter(shapes.values()), (0, 0))
    names = _checks.as_classes(classes, n_classes)
    indices = _checks.as_target(target, n_rows, n_classes, None if classes is None else names)
    comparer = Comparer({name: Evaluator(n_rows, names, **options) for name in matrices}, most)
    step = _checks.block_rows(n_classes)
    for first in range(0, n_rows, step):
        rows = slice(first, first + step)
        comparer.add({name: matrix[rows] for name, matrix in matrices.items()}, indices[rows])
    return comparer.result()


def check_same_rows(models: Mapping[str, Predictions]) -> None:
    """Raise DataError if predictions are of other rows or other labels, naming the first row that differs.

    Examples
    --------
    >>> from crosshead.data import Predictions
    >>> one = Predictions(np.array([[0.3, 0.7]]), np.array(["no", "yes"]), np.array([1]))
    >>> check_same_rows({"one": one, "two": one})
    """
    (name, one), *others = models.items()
    for other_name, other in others:
        if one.fingerprint() == other.fingerprint():
            continue
        place = f"{name} and {other_name} are not of the same rows, and cannot be compared"
        if one.n_rows != other.n_rows:
            raise DataError(f"{place}: {one.n_rows} rows in the one, {other.n_rows} in the other")
        if (one.row_names is None) != (other.row_names is None):
            raise DataError(f"{place}: one names its rows, the other does not; give both the same column of names")
        for what, mine, theirs in (
            ("is called", one.row_names, other.row_names),
            ("has label", one.labels, other.labels),
        ):
            if mine is None or theirs is None:
                continue
            differs = mine.astype(np.str_) != theirs.astype(np.str_)
            if differs.any():
                row = int(differs.argmax())
                raise DataError(f"{place}: row {row + 1} {what} {mine[row]} in the one, {theirs[row]} in the other")


def differences(first: Evaluation, second: Evaluation, level: float) -> dict[str, Difference]:
    """Each measure of the second minus that of the first; replicates are paired if the seeds are equal."""
    found = {}
    for name in COMPARED:
        if name not in first.replicates or name not in second.replicates:
            continue
        before, after = getattr(first, name), getattr(second, name)
        with np.errstate(invalid="ignore"):
            estimate = float(np.subtract(after, before))
            replicates = second.replicates[name] - first.replicates[name]
        interval = percentile_interval(estimate, replicates, level)
        found[name] = Difference(estimate, interval, _two_sided(replicates))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values with Holm's correction for multiple tests (Scandinavian Journal of Statistics 6, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _two_sided(replicates: Float) -> float:
    drawn = replicates[~np.isnan(replicates)]
    if drawn.size == 0:
        return float("nan")
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (drawn.size + 1))


def _compare_predictions(models: dict[str, Predictions], most: int, options: dict[str, Any]) -> Comparison:
    if len(models) < 2:
        raise ValueError("give at least two models to compare")
    check_same_rows(models)
    one = next(iter(models.values()))
    target = one.known_target()
    orders = {name: _columns(model, one.classes) for name, model in models.items()}
    comparer = Comparer({name: predictions_evaluator(model, **options) for name, model in models.items()}, most)
    for evaluator in comparer.evaluators.values():
        evaluator.classes = one.classes
    step = _checks.block_rows(one.classes.size)
    streams = {name: _ordered(model, orders[name], step) for name, model in models.items()}
    for first in range(0, one.n_rows, step):
        comparer.add({name: next(stream) for name, stream in streams.items()}, target[first : first + step])
    return comparer.result()


def _columns(model: Predictions, classes: Array) -> NDArray[Any]:
    """The columns of a model in the order of the given classes."""
    found = class_positions(classes, model.classes)
    if (found < 0).any() or classes.size != model.classes.size:
        missing = [str(name) for name in classes[found < 0].tolist()]
        more = [str(name) for name in model.classes[class_positions(model.classes, classes) < 0].tolist()]
        raise DataError(
            f"{model.source}: its classes are not those of the others: "
            + "; ".join(f"{what} {', '.join(names[:5])}" for what, names in (("no", missing), ("also", more)) if names)
        )
    return found


def _ordered(model: Predictions, order: NDArray[Any], step: int) -> Iterator[Array]:
    for _, block in model.blocks(step):
        yield block[:, order]


def _summary(found: Evaluation) -> dict[str, Any]:
    left_out = ("classes", "by_class", "confusion", "reliability", "reliability_equal_mass")
    return {name: value for name, value in found.to_dict().items() if name not in left_out}


def _pair_document(pair: Pair) -> dict[str, Any]:
    test = pair.mcnemar
    return {
        "first": pair.first,
        "second": pair.second,
        "both_right": pair.both_right,
        "only_first_right": test.only_first,
        "only_second_right": test.only_second,
        "both_wrong": pair.both_wrong,
        "mcnemar": {
            "exact_p": test.exact,
            "exact_p_holm": pair.holm,
            "statistic": test.statistic,
            "chi_squared_p": test.chi_squared,
        },
        "differences": {
            name: {
                "estimate": one.estimate,
                "lower": one.interval.lower,
                "upper": one.interval.upper,
                "p": one.p_value,
            }
            for name, one in pair.differences.items()
        },
        "most_different": [vars(row) for row in pair.most_different],
    }
