"""Training of a network whose last layer is a crosshead head: data, steps, checkpoints, resuming."""

from __future__ import annotations

from crosshead.nn.training.augmentation import Augmentation
from crosshead.nn.training.checkpoint import CheckpointError
from crosshead.nn.training.environment import ResumeWarning
from crosshead.nn.training.network import CNN, Stage, default_widths
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.record import Moment, Trained
from crosshead.nn.training.steps import DivergedError
from crosshead.nn.training.trainer import Trainer

__all__ = [
    "CNN",
    "Augmentation",
    "CheckpointError",
    "DivergedError",
    "Moment",
    "ResumeWarning",
    "Stage",
    "Trained",
    "Trainer",
    "TrainingOptions",
    "default_widths",
]
