"""crosshead: the last layer of a classifier, from scores to certified weights.

Names are loaded on first use, so that ``import crosshead`` is fast and loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosshead.data import Dataset, Predictions, load
    from crosshead.evaluation import TemperatureScaler, compare, doubtful_labels, evaluate, top_losses
    from crosshead.linear import (
        ConvergenceWarning,
        LinearClassifier,
        LinearClassifierCV,
        LogisticRegression,
        regularisation_path,
    )
    from crosshead.losses import get_loss
    from crosshead.models import Model

_HOMES = {
    "ConvergenceWarning": "crosshead.linear",
    "Dataset": "crosshead.data",
    "LinearClassifier": "crosshead.linear",
    "LinearClassifierCV": "crosshead.linear",
    "LogisticRegression": "crosshead.linear",
    "Model": "crosshead.models",
    "Predictions": "crosshead.data",
    "TemperatureScaler": "crosshead.evaluation",
    "compare": "crosshead.evaluation",
    "doubtful_labels": "crosshead.evaluation",
    "evaluate": "crosshead.evaluation",
    "get_loss": "crosshead.losses",
    "load": "crosshead.data",
    "regularisation_path": "crosshead.linear",
    "top_losses": "crosshead.evaluation",
}

__all__ = [
    "ConvergenceWarning",
    "Dataset",
    "LinearClassifier",
    "LinearClassifierCV",
    "LogisticRegression",
    "Model",
    "Predictions",
    "TemperatureScaler",
    "__version__",
    "compare",
    "doubtful_labels",
    "evaluate",
    "get_loss",
    "load",
    "regularisation_path",
    "top_losses",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata  # slow

        return metadata.version("crosshead")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'crosshead' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
