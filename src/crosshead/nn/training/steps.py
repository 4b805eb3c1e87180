"""The steps of a training: the batches, the objective, and the update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from crosshead.nn.training.data import Part, class_weights
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.state import State

MAX_NAMED = 5


class DivergedError(ArithmeticError):
    """A loss or gradient is NaN or infinite. The message names the step, images of its batch, and what to try."""


@final
class Steps:
    """The steps of a training with these ``options``; ``name`` gives the name of the image in a row."""

    def __init__(self, network: Any, options: TrainingOptions, training: Part, name: Callable[[int], str]) -> None:
        self._network, self._options, self._training, self._name = network, options, training, name
        self.weights = class_weights(training.target[training.rows], network.head.num_classes, options.balanced)
        self.an_epoch = math.ceil(len(training) / options.batch_size)
        self.count = self.an_epoch * options.epochs
        self.optimizer = options.make_optimizer(network)
        self.order = torch.Generator().manual_seed(options.seed)

    @property
    def images_a_step(self) -> float:
        """The mean number of images in a step."""
        return len(self._training) / self.an_epoch

    def batches(self) -> tuple[Tensor, ...]:
        """The positions of the training images for each step of the next epoch."""
        order = torch.randperm(len(self._training), generator=self.order)
        # Batches of nearly equal size: batch norm cannot average over a last batch of one image.
        return torch.tensor_split(order, self.an_epoch)

    def take(self, batch: Tensor, state: State) -> float:
        """Do the next step, on these images; returns their mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._options.rate(state.step, self.count)
        state.step += 1
        self.optimizer.zero_grad()
        value = self._accumulate(batch, state)
        penalty = self._penalty()
        if penalty is not None:
            torch.autograd.backward(penalty)
        length = nn.utils.clip_grad_norm_(self._network.parameters(), self._options.clip or math.inf)
        self._check_finite("gradient", length.item(), batch, state)
        self.optimizer.step()
        return value

    def _accumulate(self, batch: Tensor, state: State) -> float:
        """Add up the gradients of the parts of a batch; returns its mean loss."""
        images, target = self._training.take(batch)
        weights, value = self.weights[target], 0.0
        parts = torch.tensor_split(torch.arange(len(batch)), min(self._options.accumulate, len(batch)))
        for part in parts:
            losses = self._network.head(self._network.features(self._augmented(images[part])), target[part])
            loss = (losses * weights[part]).sum() / weights.sum()
            self._check_finite("loss", loss.item(), batch[part], state)
            torch.autograd.backward(loss)
            value += loss.item()
        return value

    def _augmented(self, images: Tensor) -> Tensor:
        images = images.float() if not images.is_floating_point() else images
        fill = getattr(self._network, "pixel_mean", 0.0)
        return self._options.augmentation(images, self.order, fill)

    def _penalty(self) -> Tensor | None:
        weight, options = self._network.head.weight, self._options
        if not (options.head_l1 or options.head_l2):
            return None
        value: Tensor = options.head_l1 * weight.abs().sum() + options.head_l2 / 2 * weight.square().sum()
        return value

    def _check_finite(self, what: str, value: float, rows: Tensor, state: State) -> None:
        if math.isfinite(value):
            return
        names = [self._name(int(row)) for row in self._training.rows[rows[:MAX_NAMED]]]
        more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
        raise DivergedError(
            f"the {what} is {value} at step {state.step} (epoch {state.epoch}), on {', '.join(names)}{more}; "
            f"try a lower learning rate than {self._options.peak:g}, a longer warm-up or stronger clipping, and look "
            "at these images"
        )
