"""The training of a network with a head, on images in memory or memory-mapped; resumed exactly after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from crosshead.nn.training.checkpoint import CheckpointError
from crosshead.nn.training.data import Labelled, Part, check_images, validation_part
from crosshead.nn.training.environment import ResumeWarning, preserved_thread_count
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.record import Moment, Trained, Watch
from crosshead.nn.training.run import TrainingRun
from crosshead.nn.training.steps import DivergedError


@final
class Trainer:
    """Trains ``network`` on images (N, channels, height, width) and class numbers (N,).

    The objective of a step is Σ sᵢℓᵢ / Σ sᵢ over its images, plus the penalty on the head; ℓ is the loss of
    ``network.head`` and sᵢ the weight of the row's class. The same seed, data, threads and machine give the same
    weights, bit for bit, whether the training was interrupted or not; a resumed training uses the number of threads
    that it began with.

    Parameters
    ----------
    network : Module
        With a method ``features`` and a ``head``, such as `CNN`.
    options : TrainingOptions, optional
    folder : path, optional
        Folder for `checkpoint.safetensors`, written after each epoch, and `history.jsonl`, a line for each `Moment`.
    resume : bool
        Continue from the folder's checkpoint, if there is one.
    watch : callable, optional
        Called with each `Moment`, the number of epochs and the number of steps.
    name : callable, optional
        Gives the name of the image in a row, counted from 0, for messages.

    Raises
    ------
    CheckpointError
        The folder holds an unfinished training and ``resume`` is not set, or another training.
    DivergedError
        A loss or a gradient is not finite; the weights stay as before that step.
    ValueError
        Images, target and options that do not fit one another; a head that samples classes.

    Warns
    -----
    ResumeWarning
        The training was begun with another number of threads, or by another version of PyTorch.

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
                "a Trainer uses all classes in each step; a head with sample_rate < 1 needs its own training loop"
            )
        self.network: Any = network
        self.options = options or TrainingOptions()
        self._folder, self._resume = None if folder is None else Path(folder), resume
        self._watch, self._name = watch, name

    def fit(
        self, images: Tensor, target: Tensor, validation: Labelled | Tensor | None = None, rows: Tensor | None = None
    ) -> Trained:
        """Train the network and leave it in evaluation mode; PyTorch's global random state is unchanged.

        ``rows`` (n,) are positions of the images to train on, all by default; memory-mapped images are read a batch at
        a time. ``validation`` is either images with their target, or positions (M,) of other rows of ``images``.
        """
        check_images(images, target, validation)
        if self.options.patience is not None and validation is None:
            raise ValueError("patience waits for a lower validation loss: give validation images, or no patience")
        training = Part(images, target, torch.arange(len(images)) if rows is None else rows)
        if hasattr(self.network, "learn_pixels"):
            self.network.learn_pixels(images, training.rows)
        with torch.random.fork_rng(devices=[]), preserved_thread_count(), _unreduced(self.network.head):
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
def _unreduced(head: Any) -> Iterator[None]:
    """Inside the context the head gives one loss a row."""
    before, head.reduction = head.reduction, "none"
    try:
        yield
    finally:
        head.reduction = before


__all__ = ["CheckpointError", "DivergedError", "Moment", "ResumeWarning", "Trained", "Trainer"]
