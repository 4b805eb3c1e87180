"""Training of a network whose last layer is a crosshead head, and solving that layer to the certified optimum."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosshead.nn.training.augmentation import Augmentation
from crosshead.nn.training.checkpoint import CheckpointError
from crosshead.nn.training.environment import ResumeWarning
from crosshead.nn.training.network import CNN, Stage, default_widths
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.record import Moment, Trained
from crosshead.nn.training.steps import DivergedError
from crosshead.nn.training.trainer import Trainer

if TYPE_CHECKING:
    from crosshead.nn.training.last_layer import LastLayerFit, LayerMeasures, fit_last_layer

__all__ = [
    "CNN",
    "Augmentation",
    "CheckpointError",
    "DivergedError",
    "LastLayerFit",
    "LayerMeasures",
    "Moment",
    "ResumeWarning",
    "Stage",
    "Trained",
    "Trainer",
    "TrainingOptions",
    "default_widths",
    "fit_last_layer",
]


def __getattr__(name: str) -> Any:
    if name in ("LastLayerFit", "LayerMeasures", "fit_last_layer"):  # which load scikit-learn
        return getattr(import_module("crosshead.nn.training.last_layer"), name)
    raise AttributeError(f"module 'crosshead.nn.training' has no attribute {name!r}")
