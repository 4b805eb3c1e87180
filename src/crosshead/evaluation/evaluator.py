"""Every measure of predictions in one reading of them, block by block of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.predictions import Predictions
from crosshead.evaluation import _checks
from crosshead.evaluation.bootstrap import (
    GroupSums,
    Interval,
    checked_level,
    checked_weights,
    percentile_interval,
    pivotal_interval,
)
from crosshead.evaluation.calibration import ClasswiseCalibration, EqualMass, EqualWidth, Reliability
from crosshead.evaluation.classes import ConfusionCounts
from crosshead.evaluation.result import Evaluation
from crosshead.evaluation.samples import Outcomes, outcomes_of_probabilities, outcomes_of_scores
from crosshead.losses.protocol import Array, Float, Loss

MOST_CLASSWISE = 10_000
"""Above this many classes the calibration of each class is left out."""

MEANS = ("error", "top_k_error", "mean_loss", "cross_entropy", "brier")
"""The measures that are means over rows."""


def evaluate(
    outputs: Any,
    target: Any,
    *,
    classes: Any = None,
    sample_weight: Any = None,
    loss: Loss | str | None = None,
    temperature: float | None = None,
    top_k: int = 5,
    bins: int = 15,
    level: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    tolerance: float | None = None,
    block_rows: int | None = None,
) -> Evaluation:
    """Measure outputs (N, C) against the target (N,): errors, cross-entropy, Brier score, calibration, by class.

    Outputs are probabilities. Where a ``loss`` is named (an object or a name in `crosshead.losses`) they are scores:
    the mean loss is added, and probabilities are the loss's own, or softmax(z/T) where a ``temperature`` T is given,
    or none. The target is class indices, or labels where ``classes`` (C,) names the columns. Rows are read once, a
    block at a time, and may be memory-mapped; nothing that is kept grows with N × C.

    Parameters
    ----------
    sample_weight : array (N,), optional
        Weights of the rows; a weight of k counts a row k times in every measure.
    top_k : int
        For the top-k error.
    bins : int
        Bins of the calibration errors.
    level : float, optional
        The level of the bootstrap intervals, such as 0.95; without it there are none.
    resamples, seed : int
        Of the bootstrap.
    tolerance : float, optional
        How far from 1 the probabilities of a row may sum: 1e-6, for float32 1e-4.
    block_rows : int, optional
        Rows of one block; results do not depend on it, but for rounding.

    Raises
    ------
    ValueError
        Naming the row (from 0) where probabilities are NaN, negative or do not sum to one, scores are not finite,
        or a target is no class.

    Examples
    --------
    Three samples of a well-known example, whose true classes are the third, the second and the first:

    >>> found = evaluate([[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]], [2, 1, 0])
    >>> round(found.error, 4), round(found.brier, 4), round(-found.log_likelihood, 3)
    (0.3333, 0.8067, 4.135)
    """
    matrix, indices, weights = _checks.as_rows(outputs, target, classes, sample_weight)
    n_rows, n_classes = matrix.shape
    names = _checks.as_classes(classes, n_classes)
    evaluator = Evaluator(
        n_rows,
        names,
        loss=loss,
        temperature=temperature,
        top_k=top_k,
        bins=bins,
        level=level,
        resamples=resamples,
        seed=seed,
        tolerance=tolerance,
    )
    step = block_rows or _checks.block_rows(n_classes)
    for first in range(0, n_rows, step):
        rows = slice(first, first + step)
        evaluator.add(matrix[rows], indices[rows], None if weights is None else weights[rows])
    return evaluator.result()


def evaluate_predictions(predictions: Predictions, *, loss: Loss | str | None = None, **options: Any) -> Evaluation:
    """Measure predictions against their own target; options are those of `evaluate`.

    Scores whose ``loss`` is not named count as logits, of the loss "softmax". Raises DataError, which names the file
    and the row, where there is no target or where a row is not what it should be.

    Examples
    --------
    >>> found = Predictions(np.array([[0.25, 0.75]]), np.array(["no", "yes"]), np.array([1]))
    >>> round(evaluate_predictions(found).cross_entropy, 4)
    0.2877
    """
    evaluator = predictions_evaluator(predictions, loss=loss, **options)
    target = predictions.known_target()
    for first, block in predictions.blocks():
        evaluator.add(block, target[first : first + len(block)])
    return evaluator.result()


def predictions_evaluator(predictions: Predictions, *, loss: Loss | str | None = None, **options: Any) -> Evaluator:
    """The evaluator that the blocks of these predictions belong into."""
    if predictions.kind == "scores":
        return Evaluator(predictions.n_rows, predictions.classes, loss=loss or "softmax", **options)
    if loss is not None:
        raise ValueError(f"{predictions.source}: a loss is charged on scores, and these are probabilities")
    # Their own tolerance has been applied by the time a block comes.
    return Evaluator(predictions.n_rows, predictions.classes, tolerance=np.inf, **options)


class Evaluator:
    """The streaming form of `evaluate`: blocks of consecutive rows go in with `add`, `result` ends it.

    Examples
    --------
    >>> evaluator = Evaluator(2, ["no", "yes"])
    >>> for row, target in [([0.75, 0.25], 0), ([0.5, 0.5], 1)]:
    ...     _ = evaluator.add(np.array([row]), np.array([target]))
    >>> evaluator.result().error
    0.5
    """

    def __init__(
        self,
        n_rows: int,
        classes: Any,
        *,
        loss: Loss | str | None = None,
        temperature: float | None = None,
        top_k: int = 5,
        bins: int = 15,
        level: float | None = None,
        resamples: int = 1000,
        seed: int = 0,
        tolerance: float | None = None,
    ) -> None:
        if top_k < 1 or bins < 1:
            raise ValueError(f"top_k and bins must be at least 1, not {top_k} and {bins}")
        self.classes = _checks.as_classes(classes, len(classes))
        self.outputs = Outputs(loss, temperature, tolerance)
        self.top_k, self.n_rows = top_k, n_rows
        self.level = None if level is None else checked_level(level)
        self.resamples, self.bins, self.seed = resamples, bins, seed
        self._names = self._measured()
        self._confusion = ConfusionCounts(len(self.classes))
        self._calibration = _Calibration(bins, len(self.classes)) if self.outputs.have_probabilities else None
        # Columns: weight, rows that cost infinitely much, the means, and the bins' Σ s (hit − confidence).
        columns = 2 + len(self._names) + (bins if self._calibration else 0)
        self._groups = None if level is None else GroupSums(n_rows, columns, seed)
        self._sums = np.zeros(2 + len(self._names))
        self._row, self._wrong, self._whole = 0, 0, True
        self._impossible, self._first_impossible = 0, -1

    def add(self, outputs: Any, target: NDArray[Any], weight: Any = None) -> Outcomes:
        """Take the next rows: outputs (n, C), class indices (n,), weights (n,); returns what each of them is worth."""
        first = self._row
        own = np.ones(len(target)) if weight is None else checked_weights(weight, first)
        self._whole &= weight is None
        indices = np.asarray(target, dtype=np.intp)
        found, p, losses = self.outputs.outcomes(outputs, indices, first)
        columns = self._columns(found, losses, own)
        self._confusion.add(found.predicted, indices, own)
        self._wrong += int(found.wrong.sum())
        self._sums += columns.sum(axis=1)
        self._note_impossible(found, own, first)
        off = None
        if self._calibration is not None and p is not None:
            off = self._calibration.add(found, p, indices, own)
        if self._groups is not None:
            self._resample(columns, off, first)
        self._row += len(indices)
        return found

    def result(self) -> Evaluation:
        """The measures of all rows."""
        if self._row != self.n_rows:
            raise ValueError(f"{self.n_rows} rows were announced, but {self._row} came")
        weight = float(self._sums[0])
        if not weight > 0:
            raise ValueError("the weights sum to zero" if self.n_rows else "there are no rows to evaluate")
        values = dict(zip(self._names, (self._sums[2:] / weight).tolist(), strict=True))
        if self._impossible:
            values["cross_entropy"] = float("inf")
        tables = None if self._calibration is None else self._calibration.tables()
        replicates = self._replicates()
        estimates = values if tables is None else values | {"ece": tables[0].ece}
        return Evaluation(
            rows=self.n_rows,
            weight=weight,
            wrong=self._wrong,
            classes=self.classes,
            error=values["error"],
            top_k=self.top_k,
            top_k_error=values.get("top_k_error"),
            confusion=self._confusion.matrix(self._whole),
            mean_loss=values.get("mean_loss"),
            cross_entropy=values.get("cross_entropy"),
            impossible=self._impossible,
            first_impossible=self._first_impossible if self._impossible else None,
            brier=values.get("brier"),
            reliability=None if tables is None else tables[0],
            reliability_equal_mass=None if tables is None else tables[1],
            classwise=None if tables is None else tables[2],
            intervals={
                name: self._interval(name, estimates[name], replicates[name], None if tables is None else tables[0])
                for name in replicates
            },
            replicates=replicates,
        )

    def _measured(self) -> list[str]:
        known = {
            "top_k_error": self.top_k < len(self.classes),
            "mean_loss": self.outputs.loss is not None,
            "cross_entropy": self.outputs.have_probabilities,
            "brier": self.outputs.have_probabilities,
        }
        return [name for name in MEANS if known.get(name, True)]

    def _columns(self, found: Outcomes, losses: Float | None, weight: Float) -> Float:
        """Weights, weights of rows that cost infinitely much, and the weighted measures of each row, (K, n)."""
        impossible = np.zeros(len(weight)) if found.nll is None else np.isinf(found.nll).astype(np.float64)
        rows: dict[str, Any] = {
            "error": found.wrong,
            "top_k_error": found.rank >= self.top_k,
            "mean_loss": losses,
            "cross_entropy": None if found.nll is None else np.where(impossible > 0, 0.0, found.nll),
            "brier": found.brier,
        }
        return np.stack([np.ones(len(weight)), impossible, *(rows[name] for name in self._names)]) * weight

    def _note_impossible(self, found: Outcomes, weight: Float, first: int) -> None:
        if found.nll is None:
            return
        rows = np.flatnonzero(np.isinf(found.nll) & (weight > 0))
        if rows.size and not self._impossible:
            self._first_impossible = first + int(rows[0])
        self._impossible += rows.size

    def _resample(self, columns: Float, off: tuple[NDArray[np.intp], Float] | None, first: int) -> None:
        assert self._groups is not None
        groups = self._groups.groups(first, columns.shape[1])
        for number, column in enumerate(columns):
            self._groups.add(number, groups, column)
        if off is not None:
            self._groups.add_binned(len(columns), off[0], groups, off[1])

    def _replicates(self) -> dict[str, Float]:
        """Each measure on each resample, (resamples,) each; NaN where a resample drew no weight."""
        if self._groups is None:
            return {}
        drawn = self._groups.resampled(self.resamples)
        weight = np.where(drawn[:, 0] > 0, drawn[:, 0], np.nan)
        found = {name: drawn[:, 2 + number] / weight for number, name in enumerate(self._names)}
        if "cross_entropy" in found:
            found["cross_entropy"] = np.where(drawn[:, 1] > 0, np.inf, found["cross_entropy"])
        if self._calibration is not None:
            found["ece"] = np.abs(drawn[:, -self.bins :]).sum(axis=1) / weight
        return found

    def _interval(self, name: str, estimate: float, replicates: Float, table: Reliability | None) -> Interval:
        assert self.level is not None
        if name == "ece" and table is not None:
            chance = table.ece_by_chance((1 + self.level) / 2, self.resamples, self.seed)
            return pivotal_interval(estimate, replicates, self.level, 0.0, by_chance=chance)
        if name in ("error", "top_k_error") and estimate in (0.0, 1.0) and self._whole:
            return _without_exception(estimate, self.n_rows, self.level)
        return percentile_interval(estimate, replicates, self.level)


class Outputs:
    """How outputs become outcomes: as probabilities, or as scores of a loss, with a temperature or without."""

    def __init__(self, loss: Loss | str | None, temperature: float | None, tolerance: float | None) -> None:
        from crosshead.losses import get_loss

        self.loss = get_loss(loss) if isinstance(loss, str) else loss
        self.temperature, self.tolerance = temperature, tolerance
        if temperature is not None and self.loss is None:
            raise ValueError("a temperature is for scores: name their loss too, as loss='softmax'")
        if temperature is not None and not (np.isfinite(temperature) and temperature > 0):
            raise ValueError(f"the temperature must be positive and finite, not {temperature}")

    @property
    def have_probabilities(self) -> bool:
        """Whether they are probabilities or turn into some."""
        return self.loss is None or self.temperature is not None or self.loss.has_probabilities

    def outcomes(
        self, outputs: Any, target: NDArray[np.intp], first: int
    ) -> tuple[Outcomes, Float | None, Float | None]:
        """What rows are worth, their probabilities (n, C) or None, their losses (n,) or None."""
        if self.loss is None:
            p = _checks.as_probability_block(outputs, first, self.tolerance)
            return outcomes_of_probabilities(p, target), p, None
        scores = _checks.as_score_block(outputs, first)
        losses = np.asarray(self.loss.value(scores, target), dtype=np.float64)
        if not self.have_probabilities:
            return outcomes_of_scores(scores, target), None, losses
        log_p = log_probabilities(self.loss, scores, self.temperature)
        p, nll = np.exp(log_p), np.abs(log_p[np.arange(len(target)), target])
        found, from_scores = outcomes_of_probabilities(p, target, nll), outcomes_of_scores(scores, target)
        # Where probabilities round to equals, the scores still know which is higher.
        return Outcomes(from_scores.predicted, from_scores.rank, found.confidence, nll, found.brier), p, losses


def log_probabilities(loss: Loss, scores: Array, temperature: float | None = None) -> Array:
    """Log-probabilities (n, C) in nats: log softmax(z/T) with a temperature, else those of the loss."""
    from crosshead.losses.functions import log_softmax

    return loss.predict_log_proba(scores) if temperature is None else log_softmax(scores / temperature)


class _Calibration:
    """What calibration keeps of the rows."""

    def __init__(self, bins: int, n_classes: int) -> None:
        self.confidence, self.mass = EqualWidth(bins), EqualMass(bins)
        self.classes = EqualWidth(bins, n_classes) if n_classes <= MOST_CLASSWISE else None

    def add(self, found: Outcomes, p: Float, target: NDArray[np.intp], weight: Float) -> tuple[NDArray[np.intp], Float]:
        """Add rows; returns the bin of each and by how much it is off, s (hit − confidence)."""
        assert found.confidence is not None
        hits = (~found.wrong).astype(np.float64)
        index = self.confidence.index(found.confidence)
        self.confidence.add(index, found.confidence, hits, weight)
        self.mass.add(found.confidence, hits, weight)
        if self.classes is not None:
            self.classes.add_classes(p, target, weight)
        return index, weight * (hits - found.confidence)

    def tables(self) -> tuple[Reliability, Reliability, ClasswiseCalibration | None]:
        """Bins of equal width, bins of equal mass, and class by class."""
        return (
            self.confidence.table(),
            self.mass.table(),
            None if self.classes is None else self.classes.classwise(),
        )


def _without_exception(estimate: float, n_rows: int, level: float) -> Interval:
    """Clopper and Pearson's interval where no row is wrong, or every one: no resample would be any different."""
    beyond = ((1 - level) / 2) ** (1 / n_rows)
    lower, upper = (0.0, 1 - beyond) if estimate == 0.0 else (beyond, 1.0)
    return Interval(estimate, lower, upper, level)
