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
from crosshead.nn.heads.classification import ClassificationHead
from crosshead.nn.heads.margin import MarginHead
from crosshead.nn.heads.prediction import Prediction
from crosshead.nn.modules import (
    LinearBCEWithLogitsLoss,
    LinearCrammerSingerLoss,
    LinearCrossEntropyLoss,
    LinearMSELoss,
    LinearMultiMarginLoss,
    LinearWestonWatkinsLoss,
)
from crosshead.nn.optim.row_sparse import RowSparseAdam, RowSparseSGD
from crosshead.nn.training.augmentation import Augmentation
from crosshead.nn.training.network import CNN
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.trainer import Trainer

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
