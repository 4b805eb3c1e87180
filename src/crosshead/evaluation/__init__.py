"""How good predictions are, how honest their probabilities, and which of two models is better.

Everything takes plain arrays, also memory-mapped ones, and reads them once, a block of rows at a time.
"""

from __future__ import annotations

from crosshead.evaluation.bootstrap import Interval, bootstrap_mean
from crosshead.evaluation.calibration import ClasswiseCalibration, Reliability, calibration_error, reliability
from crosshead.evaluation.classes import PerClass, confusion_matrix, per_class
from crosshead.evaluation.evaluate import Evaluator, evaluate, evaluate_predictions
from crosshead.evaluation.mcnemar import McNemar, mcnemar
from crosshead.evaluation.measures import (
    brier_score,
    classification_error,
    log_likelihood,
    log_loss,
    mean_loss,
    top_k_error,
)
from crosshead.evaluation.result import Evaluation

__all__ = [
    "ClasswiseCalibration",
    "Evaluation",
    "Evaluator",
    "Interval",
    "McNemar",
    "PerClass",
    "Reliability",
    "bootstrap_mean",
    "brier_score",
    "calibration_error",
    "classification_error",
    "confusion_matrix",
    "evaluate",
    "evaluate_predictions",
    "log_likelihood",
    "log_loss",
    "mcnemar",
    "mean_loss",
    "per_class",
    "reliability",
    "top_k_error",
]
