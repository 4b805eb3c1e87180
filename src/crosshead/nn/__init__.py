"""The last layer of a network in PyTorch: a linear layer and its loss as one, for very many classes.

>>> from crosshead.nn.functional import linear_cross_entropy
"""

from __future__ import annotations

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "crosshead.nn needs PyTorch, which is not installed: pip install 'crosshead[torch]'", name="torch"
    ) from None

from crosshead.nn import functional
from crosshead.nn.augmentation import Augmentation
from crosshead.nn.head import ClassificationHead
from crosshead.nn.margin_head import MarginHead
from crosshead.nn.modules import (
    LinearBCEWithLogitsLoss,
    LinearCrammerSingerLoss,
    LinearCrossEntropyLoss,
    LinearMSELoss,
    LinearMultiMarginLoss,
    LinearWestonWatkinsLoss,
)
from crosshead.nn.network import CNN
from crosshead.nn.optim import RowSparseAdam, RowSparseSGD
from crosshead.nn.prediction import Prediction
from crosshead.nn.trainer import Trainer
from crosshead.nn.training_options import TrainingOptions

__all__ = [
    "CNN",
    "Augmentation",
    "ClassificationHead",
    "LinearBCEWithLogitsLoss",
    "LinearCrammerSingerLoss",
    "LinearCrossEntropyLoss",
    "LinearMSELoss",
    "LinearMultiMarginLoss",
    "LinearWestonWatkinsLoss",
    "MarginHead",
    "Prediction",
    "RowSparseAdam",
    "RowSparseSGD",
    "Trainer",
    "TrainingOptions",
    "functional",
]
