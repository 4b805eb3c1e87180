"""The result of an evaluation: all measures of one set of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crosshead.evaluation.bootstrap import Interval
from crosshead.evaluation.calibration.reliability import ClasswiseCalibration, Reliability
from crosshead.evaluation.metrics.confusion import PerClass, per_class
from crosshead.losses.protocol import Array, Float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of predictions on N rows, as `evaluate` returns them; means are weighted by sample weights, if any.

    * ``rows`` N; ``weight``: the sum of the weights, by default N; ``wrong``: the number of wrong predictions
    * ``classes`` (C,): their names
    * ``error``: the share of wrong predictions; of equal outputs the first class is predicted
    * ``top_k``, ``top_k_error``: the share of rows whose class is not among the k highest outputs; None if k ≥ C
    * ``confusion`` (C, C): true class by predicted class, a SciPy CSR array above 1024 classes
    * ``mean_loss``: the mean of the given loss, or None

    and, None if the outputs are scores without probabilities:

    * ``cross_entropy``: mean −log p of the true class, in nats; +inf if some true class has probability 0
    * ``impossible``, ``first_impossible``: the number of those rows, and the first of them (from 0)
    * ``brier``: Σ_c (p_c − y_c)² summed over classes, mean over rows; also called MSE; between 0 and 2
    * ``reliability``, ``reliability_equal_mass``, ``classwise`` (None above 10 000 classes): calibration

    ``intervals`` are bootstrap intervals of error, top_k_error, mean_loss, cross_entropy, brier and ece, by name, if
    requested. ``replicates`` (resamples,) are the values that they are computed from: with the same seed, those of two
    models on the same rows are paired.

    Examples
    --------
    >>> from crosshead.evaluation import evaluate
    >>> found = evaluate([[0.75, 0.25], [0.5, 0.5]], [0, 1])
    >>> found.accuracy, round(found.cross_entropy_bits, 4)
    (0.5, 0.7075)
    """

    rows: int
    weight: float
    wrong: int
    classes: Array
    error: float
    top_k: int
    top_k_error: float | None
    confusion: Any
    mean_loss: float | None = None
    cross_entropy: float | None = None
    impossible: int = 0
    first_impossible: int | None = None
    brier: float | None = None
    reliability: Reliability | None = None
    reliability_equal_mass: Reliability | None = None
    classwise: ClasswiseCalibration | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    replicates: Mapping[str, Float] = field(default_factory=dict)

    @property
    def has_probabilities(self) -> bool:
        """Whether cross-entropy, Brier score and calibration are available."""
        return self.cross_entropy is not None

    @property
    def accuracy(self) -> float:
        """The share of correct predictions."""
        return 1 - self.error

    @property
    def cross_entropy_bits(self) -> float | None:
        """The mean cross-entropy in bits."""
        return None if self.cross_entropy is None else self.cross_entropy / math.log(2)

    @property
    def log_likelihood(self) -> float | None:
        """The log-likelihood Σ sᵢ log pᵢ over all rows, in nats; −inf if a true class has probability 0.

        Its exponential, the likelihood, underflows for more than a few hundred rows.
        """
        return None if self.cross_entropy is None else -self.cross_entropy * self.weight

    @property
    def ece(self) -> float | None:
        """Expected calibration error in bins of equal width."""
        return None if self.reliability is None else self.reliability.ece

    @property
    def ece_equal_mass(self) -> float | None:
        """Expected calibration error in bins of equal mass."""
        return None if self.reliability_equal_mass is None else self.reliability_equal_mass.ece

    @property
    def mce(self) -> float | None:
        """Maximum calibration error in bins of equal width."""
        return None if self.reliability is None else self.reliability.mce

    @property
    def per_class(self) -> PerClass:
        """Precision, recall and F1 of each class."""
        return per_class(self.confusion)

    def to_dict(self) -> dict[str, Any]:
        """Convert all measures to JSON types, except that infinities remain; None values are omitted."""
        values: dict[str, Any] = {"rows": self.rows, "weight": self.weight, "errors": self.wrong, "error": self.error}
        if self.top_k_error is not None:
            values["top_k"] = {"k": self.top_k, "error": self.top_k_error}
        values |= {"mean_loss": self.mean_loss, **self._probability_values()}
        if self.intervals:
            values["intervals"] = {
                name: {"lower": interval.lower, "upper": interval.upper, "level": interval.level}
                for name, interval in self.intervals.items()
            }
        values["classes"] = self.classes.tolist()
        values["by_class"] = self._class_values()
        if not hasattr(self.confusion, "tocoo"):
            values["confusion"] = self.confusion.tolist()
        return {name: value for name, value in values.items() if value is not None}

    def _probability_values(self) -> dict[str, Any]:
        if self.reliability is None or self.reliability_equal_mass is None:
            return {}
        return {
            "cross_entropy_nats": self.cross_entropy,
            "cross_entropy_bits": self.cross_entropy_bits,
            "log_likelihood_nats": self.log_likelihood,
            "impossible_rows": self.impossible,
            "brier": self.brier,
            "ece": self.ece,
            "ece_of_noise": self.reliability.ece_of_noise,
            "ece_equal_mass": self.ece_equal_mass,
            "mce": self.mce,
            "classwise_ece": None if self.classwise is None else self.classwise.mean,
            "reliability": self.reliability.to_rows(),
            "reliability_equal_mass": self.reliability_equal_mass.to_rows(),
        }

    def _class_values(self) -> list[dict[str, Any]]:
        found = self.per_class
        names = ["class", "rows", "errors", "precision", "recall", "f1"]
        columns = [self.classes, found.rows, found.wrong, found.precision, found.recall, found.f1]
        if self.classwise is not None:
            names.append("ece")
            columns.append(self.classwise.ece)
        return [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]
