"""A trained model as a folder, and what can be asked of it: scores, measures, calibration, its stages.

Weights are in safetensors, everything else in JSON, with a card to read. Nothing is pickled.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosshead.models.consistency import check_model
from crosshead.models.json_document import ModelError
from crosshead.models.model import Model

if TYPE_CHECKING:
    from crosshead.models.calibration import Calibrated, calibrate
    from crosshead.models.evaluation import Measures, compare, doubtful_labels, evaluate, measure, top_losses
    from crosshead.models.from_estimator import model_of
    from crosshead.models.provenance import SeenRows, held_out_rows, seen_rows, unseen_rows
    from crosshead.models.scoring import (
        has_probabilities,
        predict,
        predict_proba,
        probabilities_of,
        score,
        score_blocks,
    )
    from crosshead.models.summary import Stage, Summary, describe

__all__ = [
    "Calibrated",
    "Measures",
    "Model",
    "ModelError",
    "SeenRows",
    "Stage",
    "Summary",
    "calibrate",
    "check_model",
    "compare",
    "describe",
    "doubtful_labels",
    "evaluate",
    "has_probabilities",
    "held_out_rows",
    "measure",
    "model_of",
    "predict",
    "predict_proba",
    "probabilities_of",
    "score",
    "score_blocks",
    "seen_rows",
    "top_losses",
    "unseen_rows",
]

_HOMES = {  # loaded when they are used: most of them import scikit-learn, which takes a while
    "crosshead.models.calibration": ("Calibrated", "calibrate"),
    "crosshead.models.evaluation": ("Measures", "compare", "doubtful_labels", "evaluate", "measure", "top_losses"),
    "crosshead.models.from_estimator": ("model_of",),
    "crosshead.models.scoring": (
        "has_probabilities",
        "predict",
        "predict_proba",
        "probabilities_of",
        "score",
        "score_blocks",
    ),
    "crosshead.models.provenance": ("SeenRows", "held_out_rows", "seen_rows", "unseen_rows"),
    "crosshead.models.summary": ("Stage", "Summary", "describe"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'crosshead.models' has no attribute {name!r}")
