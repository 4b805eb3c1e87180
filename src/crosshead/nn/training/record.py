"""The progress of a training: what is shown and stored while it runs, and its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from crosshead.nn.training.checkpoint import append_history, write_history
from crosshead.nn.training.state import State


@dataclass(frozen=True)
class Moment:
    """A progress report of a training, rounded as it is shown and stored.

    * ``epoch``, ``step``: the latest, counted from 1; steps are counted through all epochs
    * ``loss``: the mean over the rows since the previous report, in the loss's unit
    * ``validation_loss``, ``validation_error``: after the latest finished epoch, None before the first

    Examples
    --------
    >>> moment = Moment(1, 3, 0.7, None, None, 900, 2)
    >>> moment.loss, moment.validation_loss
    (0.7, None)
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
    """The result of a training.

    * ``history``: its progress reports
    * ``epochs``: how many were trained, ``resumed_after`` of them by earlier runs
    * ``epoch_of_weights``: the epoch whose weights the network has now
    * ``stopped_early``: whether ``patience`` ended it before the last epoch
    * ``images_per_second``: in this run
    * ``threads``: PyTorch's threads when the training began

    Examples
    --------
    >>> import torch
    >>> from crosshead.nn.training import CNN, Trainer, TrainingOptions
    >>> images, target = torch.zeros(20, 1, 8, 8), torch.arange(20) % 2
    >>> trained = Trainer(CNN((1, 8, 8), 2), TrainingOptions(epochs=2)).fit(images, target)
    >>> trained.epochs, trained.epoch_of_weights, trained.stopped_early, trained.resumed_after
    (2, 2, False, 0)
    """

    history: list[Moment]
    epochs: int
    epoch_of_weights: int
    stopped_early: bool
    resumed_after: int
    images_per_second: float
    threads: int


Watch = Callable[[Moment, int, int], object]
"""Called with each report, the number of epochs and the number of steps."""


@final
class Record:
    """The progress reports of a training: kept in ``state``, written to ``folder``, and passed to ``watch``.

    ``steps`` is the number of all steps, ``images_a_step`` the mean number of images in a step.
    """

    def __init__(
        self, state: State, folder: Path | None, watch: Watch | None, *, epochs: int, steps: int, images_a_step: float
    ) -> None:
        self._state, self._folder, self._watch = state, folder, watch
        self._epochs, self._steps, self._images_a_step = epochs, steps, images_a_step
        self._steps_before, self._began = state.step, time.monotonic()
        if folder is not None:
            write_history(folder, state.history)

    def pace(self) -> float:
        """Images per second in this run."""
        seconds = time.monotonic() - self._began
        return (self._state.step - self._steps_before) * self._images_a_step / seconds if seconds > 0 else 0.0

    def tell(self, loss: float) -> None:
        """Add a report with this loss, and show it."""
        state, pace = self._state, self.pace()
        left = (self._steps - state.step) * self._images_a_step / pace if pace else 0.0
        validation_loss, error = state.validation or (None, None)
        moment = Moment(state.epoch, state.step, rounded(loss), validation_loss, error, round(pace), round(left))
        state.history.append(asdict(moment))
        if self._folder is not None:
            append_history(self._folder, asdict(moment))
        if self._watch is not None:
            self._watch(moment, self._epochs, self._steps)

    def moments(self) -> list[Moment]:
        """All reports, those of earlier runs first."""
        return [Moment(**moment) for moment in self._state.history]


def rounded(value: float) -> float:
    """The loss with five digits, as it is shown and stored.

    >>> rounded(0.123456789)
    0.12346
    """
    return float(f"{value:.5g}")
