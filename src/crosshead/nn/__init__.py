"""The last layer of a network in PyTorch: a linear layer and its loss as one, for very many classes.

* `functional`: fused losses as functions, with the arguments of `torch.nn.functional`
* ``LinearCrossEntropyLoss`` and the other ``Linear…Loss``: the same as modules
* `ClassificationHead`, `MarginHead`: heads that train, predict and convert to other forms
* `parallel`: heads whose classes are spread over processes
* `optim`: optimizers for row-sparse gradients
* `training`: small convolutional networks, trained reproducibly and resumed after a kill

>>> from crosshead.nn.functional import linear_cross_entropy
"""

from __future__ import annotations

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "crosshead.nn needs PyTorch, which is not installed: pip install 'crosshead[torch]'", name="torch"
    ) from None

from crosshead.nn import functional, optim, training
from crosshead.nn.fused.prediction import Prediction
from crosshead.nn.heads.classification import ClassificationHead
from crosshead.nn.heads.margin import MarginHead
from crosshead.nn.modules import (
    LinearBCEWithLogitsLoss,
    LinearCrammerSingerLoss,
    LinearCrossEntropyLoss,
    LinearMSELoss,
    LinearMultiMarginLoss,
    LinearWestonWatkinsLoss,
)
from crosshead.nn.optim import RowSparseAdam, RowSparseSGD
from crosshead.nn.training import CNN, Augmentation, Trainer, TrainingOptions

if torch.distributed.is_available():
    from crosshead.nn import parallel  # noqa: F401  (fused functions then take weights that are DTensors)

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
    "optim",
    "training",
]
