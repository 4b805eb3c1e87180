"""The training of a network with a head, from images in memory or memory-mapped; resumed exactly after a kill."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from crosshead.nn.checkpoint import (
    BEST,
    CheckpointError,
    append_history,
    read_checkpoint,
    take_checkpoint,
    write_checkpoint,
    write_history,
)
from crosshead.nn.training_options import TrainingOptions

MOMENTS_AN_EPOCH = 20
VALIDATION_ROWS = 256
DIGEST_ROWS = 4096
MOST_NAMED = 5

Labelled = tuple[Tensor, Tensor]


class DivergedError(ArithmeticError):
    """A loss or gradient that is NaN or infinite: the step, the images of its batch, and what to try."""


class Trainable(Protocol):
    """What a `Trainer` asks of a network: a `torch.nn.Module` that has these, such as `CNN`."""

    head: Any

    def features(self, images: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Moment:
    """What is shown while a network is trained, rounded as it is shown and as the history file holds it.

    * ``epoch``, ``step``: the latest, counted from 1; steps count through all epochs
    * ``loss``: the mean of the rows since the last moment, in the loss's unit
    * ``validation_loss``, ``validation_error``: of the latest epoch's end, None before the first
    """

    epoch: int
    step: int
    loss: float
    validation_loss: float | None
    validation_error: float | None
    images_per_second: int
    seconds_left: int

    def line(self, epochs: int, steps: int) -> str:
        """One line of text.

        Examples
        --------
        >>> Moment(2, 30, 0.25, 0.5, 0.0125, 900, 65).line(10, 150)
        'epoch 2/10  step 30/150  loss 0.25  validation loss 0.5  error 1.25 %  900 images/s  65 s left'
        """
        validation = ""
        if self.validation_loss is not None and self.validation_error is not None:
            validation = f"validation loss {self.validation_loss:g}  error {100 * self.validation_error:.2f} %  "
        head = f"epoch {self.epoch}/{epochs}  step {self.step}/{steps}  loss {self.loss:g}  {validation}"
        return f"{head}{self.images_per_second} images/s  {self.seconds_left} s left"


@dataclass(frozen=True)
class Trained:
    """How a training went: its moments, the epochs done, and the epoch whose weights the network has."""

    history: list[Moment]
    epochs: int
    epoch_of_weights: int
    stopped_early: bool
    resumed_after: int
    images_per_second: float


@dataclass
class _State:
    """What a checkpoint holds besides tensors."""

    epoch: int = 0
    step: int = 0
    finished: bool = False
    best_loss: float = math.inf
    best_epoch: int = 0
    validation: tuple[float, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@final
class Trainer:
    """Trains ``network`` on images (N, channels, height, width) and class numbers (N,).

    The objective of a step is Σ sᵢℓᵢ / Σ sᵢ over its images, plus the head's penalty; ℓ is the loss of
    ``network.head``. The same seed, data, threads and machine give the same weights, bit for bit, whether the training
    was interrupted or not.

    Parameters
    ----------
    network : Module with ``features`` and ``head``, such as `CNN`
    options : TrainingOptions
    folder : path, optional
        Where `checkpoint.safetensors` is written after each epoch, and `history.jsonl`, a line for each `Moment`.
    resume : bool
        Go on after the folder's checkpoint, if there is one.
    watch : callable, optional
        Told each `Moment`, the number of epochs and the number of steps.
    name : callable, optional
        What the image of a row is called, for messages; rows count from 0.

    Raises
    ------
    CheckpointError
        The folder holds an unfinished training and ``resume`` is not set, or a training of something else.
    DivergedError
        A loss or a gradient is not finite; the weights stay those before that step.

    Examples
    --------
    >>> from crosshead.nn import CNN
    >>> _ = torch.manual_seed(0)
    >>> images, target = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8), torch.arange(20) % 2
    >>> trained = Trainer(CNN((1, 8, 8), 2), TrainingOptions(epochs=2)).fit(images, target)
    >>> trained.epochs, trained.history[-1].step
    (2, 2)
    """

    def __init__(
        self,
        network: Any,
        options: TrainingOptions | None = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
        watch: Callable[[Moment, int, int], object] | None = None,
        name: Callable[[int], str] = str,
    ) -> None:
        if getattr(network.head, "sample_rate", 1.0) < 1.0:
            raise ValueError(
                "a Trainer takes all classes in each step; a head with sample_rate < 1 needs a loop of its own"
            )
        self.network: Any = network
        self.options = options or TrainingOptions()
        self._folder, self._resume = None if folder is None else Path(folder), resume
        self._watch, self._name = watch, name

    def fit(
        self, images: Tensor, target: Tensor, validation: Labelled | Tensor | None = None, rows: Tensor | None = None
    ) -> Trained:
        """Train; leaves the network in evaluation mode. Global random state of PyTorch stays as it was.

        ``rows`` are numbers of the images to train on, all by default; images that lie in a memory-mapped file are
        read a batch at a time. ``validation`` are images and their target, or numbers (M,) of others among
        the same images.
        """
        _check(images, target, self.options, validation)
        training = _Part(images, target, torch.arange(len(images)) if rows is None else rows)
        held_out = None
        if validation is not None:
            if isinstance(validation, Tensor):
                held_out = _Part(images, target, validation)
            else:
                held_out = _Part(*validation, torch.arange(len(validation[0])))
        if hasattr(self.network, "learn_pixels"):
            self.network.learn_pixels(images, training.rows)
        with torch.random.fork_rng(devices=[]), _row_losses(self.network.head):
            torch.manual_seed(self.options.seed)
            return _Run(self, training, held_out).run()


@dataclass(frozen=True, eq=False)
class _Part:
    """Some images of many, and their target."""

    images: Tensor
    target: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Tensor | slice) -> Labelled:
        """Images and target of some of these rows."""
        rows = self.rows[numbers]
        return self.images[rows], self.target[rows]


class _Run:
    """One call of `Trainer.fit`."""

    def __init__(self, trainer: Trainer, training: _Part, validation: _Part | None) -> None:
        self.trainer, self.network, self.options = trainer, trainer.network, trainer.options
        self.training, self.validation = training, validation
        self.folder: Path | None = trainer._folder
        self.weights = class_weights(
            training.target[training.rows], self.network.head.num_classes, self.options.balanced
        )
        self.steps_an_epoch = math.ceil(len(training) / self.options.batch_size)
        self.steps = self.steps_an_epoch * self.options.epochs
        self.optimizer = self.options.make_optimizer(self.network)
        self.order = torch.Generator().manual_seed(self.options.seed)
        self.state = _State()
        self.best: dict[str, Tensor] = {}
        self.done_before = 0

    def run(self) -> Trained:
        task = self._begin()
        self.began, options = time.monotonic(), self.options
        while not self.state.finished:
            self.state.epoch += 1
            self._epoch()
            if options.patience is not None and self.validation is not None:
                self.state.finished = self.state.epoch - self.state.best_epoch >= options.patience
            self.state.finished |= self.state.epoch == options.epochs
            if self.folder is not None:
                document = {"task": task, "state": asdict(self.state)}
                checkpoint = take_checkpoint(self.network, self.best, self.optimizer, self.order, document)
                write_checkpoint(self.folder, checkpoint)
        keeps_best = bool(self.best)
        if keeps_best:
            self.network.load_state_dict(self.best)
        self.network.eval()
        return Trained(
            [Moment(**moment) for moment in self.state.history],
            self.state.epoch,
            self.state.best_epoch if keeps_best else self.state.epoch,
            self.state.epoch < options.epochs,
            self.done_before,
            self._pace(),
        )

    def _begin(self) -> str:
        """Look at the folder and resume there; what this training is of, as a digest."""
        if self.folder is None:
            return ""
        task, found = self._task(), read_checkpoint(self.folder)
        if found is not None and self.trainer._resume:
            if found.document["task"] != task:
                raise CheckpointError(
                    f"{self.folder}: holds a training with other options or other images; give those again, or "
                    "remove the folder and begin anew"
                )
            self._restore(found)
        elif found is not None and not found.document["state"]["finished"]:
            done = found.document["state"]["epoch"]
            raise CheckpointError(
                f"{self.folder}: holds an unfinished training, {done} epoch(s) long; resume it (--resume), or remove "
                "the folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_history(self.folder, self.state.history)
        return task

    def _restore(self, found: Any) -> None:
        found.restore(self.network, self.optimizer, self.order)
        self.best = found.part(BEST)
        self.state = _State(**found.document["state"])
        if self.state.validation is not None:
            self.state.validation = (self.state.validation[0], self.state.validation[1])
        self.done_before = self.state.epoch

    def _task(self) -> str:
        """A digest of options, network and data: what must be the same for a resumed training to be the same."""
        digest = hashlib.sha256(repr((self.options.to_dict(), repr(self.network))).encode())
        for part in (self.training, self.validation):
            for first in range(0, 0 if part is None else len(part), DIGEST_ROWS):
                assert part is not None  # the loop is empty without it
                for values in part.take(slice(first, first + DIGEST_ROWS)):
                    digest.update(repr((tuple(values.shape), values.dtype)).encode())
                    digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()

    def _epoch(self) -> None:
        self.network.train()
        every = max(1, self.steps_an_epoch // MOMENTS_AN_EPOCH)
        total, rows = 0.0, 0.0
        order = torch.randperm(len(self.training), generator=self.order)
        # Batches of nearly one size: a last one of a single image would give batch norm nothing to average.
        for number, batch in enumerate(torch.tensor_split(order, self.steps_an_epoch), start=1):
            self._set_rate()
            self.state.step += 1
            loss = self._step(batch)
            total, rows = total + loss * len(batch), rows + len(batch)
            if number == self.steps_an_epoch:
                self._validate()
            if number % every == 0 or number == self.steps_an_epoch:
                self._tell(total / rows)
                total, rows = 0.0, 0.0

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.state.step, self.steps)

    def _step(self, batch: Tensor) -> float:
        """One step; returns the mean loss of its images."""
        self.optimizer.zero_grad()
        images, target = self.training.take(batch)
        weights = self.weights[target]
        value = 0.0
        parts = torch.tensor_split(torch.arange(len(batch)), min(self.options.accumulate, len(batch)))
        for part in parts:
            losses = self.network.head(self.network.features(self._augmented(images[part])), target[part])
            loss = (losses * weights[part]).sum() / weights.sum()
            self._check_finite("loss", loss.item(), batch[part])
            torch.autograd.backward(loss)
            value += loss.item()
        penalty = self._penalty()
        if penalty is not None:
            torch.autograd.backward(penalty)
        length = nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip or math.inf)
        self._check_finite("gradient", length.item(), batch)
        self.optimizer.step()
        return value

    def _augmented(self, images: Tensor) -> Tensor:
        images = images.float() if not images.is_floating_point() else images
        fill = getattr(self.network, "pixel_mean", 0.0)
        return self.options.augmentation(images, self.order, fill)

    def _penalty(self) -> Tensor | None:
        weight, options = self.network.head.weight, self.options
        if not (options.head_l1 or options.head_l2):
            return None
        value: Tensor = options.head_l1 * weight.abs().sum() + options.head_l2 / 2 * weight.square().sum()
        return value

    def _check_finite(self, what: str, value: float, rows: Tensor) -> None:
        if math.isfinite(value):
            return
        names = [self.trainer._name(int(row)) for row in self.training.rows[rows[:MOST_NAMED]]]
        more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
        raise DivergedError(
            f"the {what} is {value} at step {self.state.step} (epoch {self.state.epoch}), on {', '.join(names)}{more}; "
            f"try a lower learning rate than {self.options.peak:g}, a longer warm-up or stronger clipping, and look at "
            "these images"
        )

    def _validate(self) -> None:
        if self.validation is None:
            return
        self.network.eval()
        found = measure_network(self.network, self.validation, self.weights)
        self.network.train()
        self.state.validation = (_rounded(found[0]), round(found[1], 4))
        # With patience the weights of the best epoch are kept; without, the last ones, on which the schedule ends.
        if self.options.patience is not None and (found[0] < self.state.best_loss or not self.best):
            self.state.best_loss, self.state.best_epoch = found[0], self.state.epoch
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _pace(self) -> float:
        steps = self.state.step - self.done_before * self.steps_an_epoch
        seconds = time.monotonic() - self.began
        return steps * len(self.training) / self.steps_an_epoch / seconds if seconds > 0 else 0.0

    def _tell(self, loss: float) -> None:
        pace = self._pace()
        left = (self.steps - self.state.step) * len(self.training) / self.steps_an_epoch / pace if pace else 0.0
        validation_loss, error = self.state.validation or (None, None)
        moment = Moment(
            self.state.epoch, self.state.step, _rounded(loss), validation_loss, error, round(pace), round(left)
        )
        self.state.history.append(asdict(moment))
        if self.folder is not None:
            append_history(self.folder, asdict(moment))
        if self.trainer._watch is not None:
            self.trainer._watch(moment, self.options.epochs, self.steps)


def class_weights(target: Tensor, num_classes: int, balanced: bool) -> Tensor:
    """The weight of a row by its class, (C,): 1, or N / (classes present · rows of the class).

    Examples
    --------
    >>> class_weights(torch.tensor([0, 0, 0, 2]), 3, balanced=True)
    tensor([0.6667, 0.0000, 2.0000])
    """
    if not balanced:
        return torch.ones(num_classes)
    counts = torch.bincount(target, minlength=num_classes)
    weights = len(target) / (counts.clamp_min(1) * (counts > 0).sum())
    return torch.where(counts > 0, weights, torch.zeros(()))


def measure_network(network: Any, part: _Part, weights: Tensor) -> tuple[float, float]:
    """Mean loss, weighted by class, and the share of rows predicted wrong; the head's reduction must be "none"."""
    total, weight, wrong = 0.0, 0.0, 0
    with torch.no_grad():
        for first in range(0, len(part), VALIDATION_ROWS):
            images, target = part.take(slice(first, first + VALIDATION_ROWS))
            features, own = network.features(images.float()), weights[target].double()
            total += float((network.head(features, target).double() * own).sum())
            weight += float(own.sum())
            wrong += int((network.head.predict(features, 1).classes[:, 0] != target).sum())
    return total / weight if weight else math.nan, wrong / len(part)


@contextmanager
def _row_losses(head: Any) -> Iterator[None]:
    """The head gives one loss a row for a while."""
    before, head.reduction = head.reduction, "none"
    try:
        yield
    finally:
        head.reduction = before


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _check(images: Tensor, target: Tensor, options: TrainingOptions, validation: Labelled | Tensor | None) -> None:
    parts = {"training": (images, target)}
    if validation is not None and not isinstance(validation, Tensor):
        parts["validation"] = validation
    for name, (pictures, labels) in parts.items():
        if pictures.dim() != 4 or not len(pictures) or labels.shape != (len(pictures),):
            raise ValueError(
                f"{name} images must have shape (N, channels, height, width) and their target (N,), not "
                f"{tuple(pictures.shape)} and {tuple(labels.shape)}"
            )
    if options.patience is not None and validation is None:
        raise ValueError("patience waits for a lower validation loss: give validation images, or no patience")


__all__ = ["CheckpointError", "DivergedError", "Moment", "Trained", "Trainer"]
