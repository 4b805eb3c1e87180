"""One training, from its start or a checkpoint to its end: epochs, validation, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from crosshead.nn.training.checkpoint import BEST, Checkpoint, CheckpointError
from crosshead.nn.training.data import Part, measure_network
from crosshead.nn.training.environment import restore_environment
from crosshead.nn.training.options import TrainingOptions
from crosshead.nn.training.record import Moment, Record, Trained, Watch, rounded
from crosshead.nn.training.state import ENVIRONMENT, Checkpoints, State, task_of
from crosshead.nn.training.steps import DivergedError, Steps

REPORTS_PER_EPOCH = 20


@final
class TrainingRun:
    """One call of `crosshead.nn.Trainer.fit`."""

    def __init__(
        self,
        network: Any,
        options: TrainingOptions,
        training: Part,
        validation: Part | None,
        *,
        folder: Path | None,
        resume: bool,
        watch: Watch | None,
        name: Callable[[int], str],
    ) -> None:
        self._network, self._options, self._validation = network, options, validation
        self._steps = Steps(network, options, training, name)
        self._state, self._best = State(), dict[str, Tensor]()
        self._checkpoints = None
        if folder is not None:
            self._checkpoints = Checkpoints(folder, task_of(options, network, training, validation), resume)
            found = self._checkpoints.find()
            if found is not None:
                try:
                    self._restore(found, folder)
                except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
                    raise CheckpointError(
                        f"{folder}: the checkpoint does not fit the training ({error}); remove the folder"
                    ) from error
            folder.mkdir(parents=True, exist_ok=True)
        self._epochs_before = self._state.epoch
        self._record = Record(
            self._state,
            folder,
            watch,
            epochs=options.epochs,
            steps=self._steps.count,
            images_a_step=self._steps.images_a_step,
        )

    def run(self) -> Trained:
        """Train to the end, with a checkpoint after each epoch."""
        state = self._state
        while not state.finished:
            state.epoch += 1
            self._train_epoch()
            state.finished = self._is_over()
            if self._checkpoints is not None:
                self._checkpoints.keep(self._network, self._best, self._steps.optimizer, self._steps.order, state)
        if self._best:
            self._network.load_state_dict(self._best)
        self._network.eval()
        return Trained(
            self._record.moments(),
            state.epoch,
            state.best_epoch if self._best else state.epoch,
            state.epoch < self._options.epochs,
            self._epochs_before,
            self._record.pace(),
            torch.get_num_threads(),
        )

    def _restore(self, found: Checkpoint, folder: Path) -> None:
        restore_environment(found.document.get(ENVIRONMENT, {}), str(folder))
        found.restore(self._network, self._steps.optimizer, self._steps.order)
        self._best, self._state = found.part(BEST), State.of_document(found.document["state"])
        for moment in self._state.history:
            Moment(**moment)
        own = {name: value.shape for name, value in self._network.state_dict().items()}
        if self._best and {name: value.shape for name, value in self._best.items()} != own:
            raise ValueError("its best weights are those of another network")

    def _is_over(self) -> bool:
        state, patience = self._state, self._options.patience
        waited = patience is not None and self._validation is not None and state.epoch - state.best_epoch >= patience
        return waited or state.epoch == self._options.epochs

    def _train_epoch(self) -> None:
        self._network.train()
        count = self._steps.an_epoch
        every = max(1, count // REPORTS_PER_EPOCH)
        total, rows = 0.0, 0
        for number, batch in enumerate(self._steps.batches(), start=1):
            total, rows = total + self._steps.take(batch, self._state) * len(batch), rows + len(batch)
            if number == count:
                self._validate()
            if number % every == 0 or number == count:
                self._record.tell(total / rows)
                total, rows = 0.0, 0

    def _validate(self) -> None:
        if self._validation is None:
            return
        state = self._state
        self._network.eval()
        loss, error = measure_network(self._network, self._validation, self._steps.weights)
        self._network.train()
        if not math.isfinite(loss):
            raise DivergedError(
                f"the validation loss is {loss} after step {state.step} (epoch {state.epoch}), though training's is "
                f"finite; try a lower learning rate than {self._options.peak:g} or a longer warm-up, and look at the "
                "validation images"
            )
        state.validation = (rounded(loss), round(error, 4))
        # With patience the best epoch's weights are kept; without, the last ones: the learning rate ends there.
        if self._options.patience is not None and (loss < state.best_loss or not self._best):
            state.best_loss, state.best_epoch = loss, state.epoch
            self._best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
