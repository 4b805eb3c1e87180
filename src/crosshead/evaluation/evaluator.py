"""All measures of predictions in one pass: blocks of rows go in, an `Evaluation` comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.evaluation import _checks
from crosshead.evaluation.bootstrap import (
    GroupSums,
    Interval,
    checked_level,
    checked_weights,
    percentile_interval,
    pivotal_interval,
)
from crosshead.evaluation.calibration.reliability import Reliability, RunningCalibration
from crosshead.evaluation.metrics.confusion import ConfusionCounts
from crosshead.evaluation.metrics.row_outcomes import Outcomes
from crosshead.evaluation.outputs import Outputs
from crosshead.evaluation.result import Evaluation
from crosshead.losses.protocol import Float, Loss

MEANS = ("error", "top_k_error", "mean_loss", "cross_entropy", "brier")
"""Measures that are means over rows."""


class Evaluator:
    """The streaming form of `evaluate`: `add` takes blocks of consecutive rows, `result` returns the evaluation.

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
        self._calibration = RunningCalibration(bins, len(self.classes)) if self.outputs.have_probabilities else None
        # Columns: weight, rows with infinite loss, the means, and the bins' Σ s (hit − confidence).
        columns = 2 + len(self._names) + (bins if self._calibration else 0)
        self._groups = None if level is None else GroupSums(n_rows, columns, seed)
        self._sums = np.zeros(2 + len(self._names))
        self._row, self._wrong, self._whole = 0, 0, True
        self._impossible, self._first_impossible = 0, -1

    def add(self, outputs: Any, target: NDArray[Any], weight: Any = None) -> Outcomes:
        """Add the next rows: outputs (n, C), class indices (n,), weights (n,); return the outcomes of the rows."""
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
        """Return the measures of all rows."""
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
        """Weights, weights of rows with infinite loss, and the weighted measures of each row, (K, n)."""
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
        """Each measure on each resample, (resamples,) each; NaN for a resample without weight."""
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


def _without_exception(estimate: float, n_rows: int, level: float) -> Interval:
    """The Clopper–Pearson interval if no row, or every row, is wrong: all resamples would be equal."""
    beyond = ((1 - level) / 2) ** (1 / n_rows)
    lower, upper = (0.0, 1 - beyond) if estimate == 0.0 else (beyond, 1.0)
    return Interval(estimate, lower, upper, level)
