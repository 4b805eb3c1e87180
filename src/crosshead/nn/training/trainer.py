"""The training of a network with a head, from images in memory or memory-mapped; resumed exactly after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from crosshead.nn.training.checkpoint import CheckpointError
from crosshead.nn.training.data import Labelled, Part, check_images, validation_part
from crosshead.nn.training.environment import ResumeWarning, threads_kept
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.record import Moment, Trained, Watch
from crosshead.nn.training.run import TrainingRun
from crosshead.nn.training.steps import DivergedError


@final
class Trainer:
    """Trains ``network`` on images (N, channels, height, width) and class numbers (N,).

    The objective of a step is Σ sᵢℓᵢ / Σ sᵢ over its images, plus the head's penalty; ℓ is the loss of
    ``network.head``. The same seed, data, threads and machine give the same weights, bit for bit, whether the training
    was interrupted or not; a resumed one takes the number of threads that it was begun with.

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

    Warns
    -----
    ResumeWarning
        A resumed training was begun with another number of threads, or by another version of PyTorch.

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
        watch: Watch | None = None,
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
        check_images(images, target, validation)
        if self.options.patience is not None and validation is None:
            raise ValueError("patience waits for a lower validation loss: give validation images, or no patience")
        training = Part(images, target, torch.arange(len(images)) if rows is None else rows)
        if hasattr(self.network, "learn_pixels"):
            self.network.learn_pixels(images, training.rows)
        with torch.random.fork_rng(devices=[]), threads_kept(), _row_losses(self.network.head):
            torch.manual_seed(self.options.seed)
            run = TrainingRun(
                self.network,
                self.options,
                training,
                validation_part(images, target, validation),
                folder=self._folder,
                resume=self._resume,
                watch=self._watch,
                name=self._name,
            )
            return run.run()


@contextmanager
def _row_losses(head: Any) -> Iterator[None]:
    """The head gives one loss a row for a while."""
    before, head.reduction = head.reduction, "none"
    try:
        yield
    finally:
        head.reduction = before


__all__ = ["CheckpointError", "DivergedError", "Moment", "ResumeWarning", "Trained", "Trainer"]
