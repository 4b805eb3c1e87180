"""Evaluate predictions: errors, calibration, and comparison of models.

All functions take plain arrays, also memory-mapped ones, and read them once, one block of rows at a time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosshead.evaluation.bootstrap import Interval, bootstrap_mean
from crosshead.evaluation.calibration.reliability import ClasswiseCalibration, Reliability
from crosshead.evaluation.comparison.compare import Comparer, Comparison, Difference, Pair, check_same_rows, compare
from crosshead.evaluation.comparison.mcnemar import McNemar, mcnemar
from crosshead.evaluation.comparison.row_differences import RowDifference
from crosshead.evaluation.doubtful_labels import DoubtfulLabels, doubtful_labels
from crosshead.evaluation.evaluate import calibration_error, evaluate, evaluate_predictions, reliability
from crosshead.evaluation.evaluator import Evaluator
from crosshead.evaluation.metrics.confusion import PerClass, confusion_matrix, per_class
from crosshead.evaluation.metrics.functions import (
    brier_score,
    classification_error,
    log_likelihood,
    log_loss,
    mean_loss,
    top_k_error,
)
from crosshead.evaluation.result import Evaluation
from crosshead.evaluation.top_losses import TopLosses, top_losses
from crosshead.evaluation.verification.pairs import Pairs, pair_similarity, pairs_by_fold, roc_of_embeddings
from crosshead.evaluation.verification.roc import FoldedAccuracy, OperatingPoint, Roc, folded_accuracy, roc

if TYPE_CHECKING:
    from crosshead.evaluation.calibration.cross_fitting import CrossFitted, cross_fit
    from crosshead.evaluation.calibration.temperature import TemperatureScaler

__all__ = [
    "ClasswiseCalibration",
    "Comparer",
    "Comparison",
    "CrossFitted",
    "Difference",
    "DoubtfulLabels",
    "Evaluation",
    "Evaluator",
    "FoldedAccuracy",
    "Interval",
    "McNemar",
    "OperatingPoint",
    "Pair",
    "Pairs",
    "PerClass",
    "Reliability",
    "Roc",
    "RowDifference",
    "TemperatureScaler",
    "TopLosses",
    "bootstrap_mean",
    "brier_score",
    "calibration_error",
    "check_same_rows",
    "classification_error",
    "compare",
    "confusion_matrix",
    "cross_fit",
    "doubtful_labels",
    "evaluate",
    "evaluate_predictions",
    "folded_accuracy",
    "log_likelihood",
    "log_loss",
    "mcnemar",
    "mean_loss",
    "pair_similarity",
    "pairs_by_fold",
    "per_class",
    "reliability",
    "roc",
    "roc_of_embeddings",
    "top_k_error",
    "top_losses",
]

_ESTIMATORS = {  # loaded on first use: they import scikit-learn, which takes a while
    "CrossFitted": "crosshead.evaluation.calibration.cross_fitting",
    "TemperatureScaler": "crosshead.evaluation.calibration.temperature",
    "cross_fit": "crosshead.evaluation.calibration.cross_fitting",
}


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        return getattr(import_module(_ESTIMATORS[name]), name)
    raise AttributeError(f"module 'crosshead.evaluation' has no attribute {name!r}")
