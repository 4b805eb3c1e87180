"""The options of a training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn, optim

from crosshead.nn.training.augmentation import Augmentation

OPTIMIZERS = ("adamw", "sgd")
DEFAULT_RATES = {"adamw": 0.01, "sgd": 0.05}


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    * ``epochs``: passes over the training images; ``batch_size``: images in a step, which is split into ``accumulate``
      parts whose gradients are added up
    * ``optimizer``: "adamw", or "sgd" with Nesterov's ``momentum``
    * ``learning_rate``: its peak, None for 0.01 with "adamw" and 0.05 with "sgd"
    * ``warmup``: the share of all steps in which the rate rises linearly from 0; then it falls to 0 along half a cosine
    * ``weight_decay``: on the convolutions' weights
    * ``head_l1``, ``head_l2``: the penalty λ₁‖W‖₁ + λ₂/2·‖W‖² on the head's W
    * ``balanced``: weight rows so that all classes count the same
    * ``clip``: the largest norm of the gradient, None for no limit
    * ``patience``: epochs without a lower validation loss after which training ends, with the best epoch's weights
    * ``augmentation``: random changes of the training images
    * ``seed``: for the order of images, dropout and augmentation

    Raises ValueError for an option outside its range.

    Source of schedule and decay: Loshchilov and Hutter, ICLR 2017 and ICLR 2019.

    Examples
    --------
    >>> options = TrainingOptions(warmup=0.2)
    >>> [round(options.rate(step, 10), 4) for step in (0, 1, 2, 6, 9)]
    [0.005, 0.01, 0.01, 0.005, 0.0004]
    """

    epochs: int = 10
    batch_size: int = 64
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float | None = None
    momentum: float = 0.9
    warmup: float = 0.1
    weight_decay: float = 0.02
    head_l1: float = 0.0
    head_l2: float = 0.0
    balanced: bool = False
    clip: float | None = 5.0
    patience: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        counts = {"epochs": self.epochs, "batch_size": self.batch_size, "accumulate": self.accumulate}
        counts |= {} if self.patience is None else {"patience": self.patience}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate {self.accumulate} splits a step of {self.batch_size} images into empty parts")
        amounts = {"weight_decay": self.weight_decay, "head_l1": self.head_l1, "head_l2": self.head_l2}
        for name, amount in amounts.items():
            if not 0.0 <= amount < math.inf:
                raise ValueError(f"{name} must be at least 0, not {amount}")
        if not 0.0 <= self.warmup <= 1.0:
            raise ValueError(f"warmup is a share of the steps, from 0 to 1, not {self.warmup}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        if not 0.0 < self.peak < math.inf:
            raise ValueError(f"learning_rate must be above 0, not {self.peak}")
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"clip must be above 0, not {self.clip}")

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return DEFAULT_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step number ``step``, counted from 0, of ``steps`` in all."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    def make_optimizer(self, network: nn.Module) -> optim.Optimizer:
        """The optimizer; weight decay acts on convolutions, not on batch norm or the head."""
        decayed = [one.weight for one in network.modules() if isinstance(one, nn.Conv2d)]
        known = {id(one) for one in decayed}
        others = [one for one in network.parameters() if id(one) not in known]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "adamw":
            return optim.AdamW(groups, lr=self.peak)
        return optim.SGD(groups, lr=self.peak, momentum=self.momentum, nesterov=self.momentum > 0)

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON types."""
        return asdict(self)
