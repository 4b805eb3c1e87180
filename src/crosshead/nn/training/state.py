"""How far a training is, where that is kept, and from where it may go on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from crosshead.nn.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    take_checkpoint,
    write_checkpoint,
)
from crosshead.nn.training.data import Part, add_to_digest
from crosshead.nn.training.environment import surroundings
from crosshead.nn.training.options import TrainingOptions

SURROUNDINGS = "surroundings"


@dataclass
class State:
    """What a checkpoint holds besides tensors."""

    epoch: int = 0
    step: int = 0
    finished: bool = False
    best_loss: float = math.inf
    best_epoch: int = 0
    validation: tuple[float, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> State:
        """The state that `dataclasses.asdict` made a JSON document of; TypeError or ValueError for another."""
        state = cls(**document)
        if not all(type(count) is int and count >= 0 for count in (state.epoch, state.step, state.best_epoch)):
            raise ValueError("epochs and steps are whole numbers")
        if type(state.finished) is not bool or type(state.best_loss) is not float:
            raise ValueError("finished is true or false, best_loss a number")
        if not isinstance(state.history, list) or not all(isinstance(moment, dict) for moment in state.history):
            raise ValueError("the history is a list of objects")
        if state.validation is not None:
            state.validation = (state.validation[0], state.validation[1])
        return state


@final
class Checkpoints:
    """The folder where one training is kept: ``task`` says which one, ``resume`` whether it may go on there."""

    def __init__(self, folder: Path, task: str, resume: bool) -> None:
        self._folder, self._task, self._resume = folder, task, resume

    def find(self) -> Checkpoint | None:
        """Where to go on, None at the start; CheckpointError where that would lose or mix up a training."""
        found = read_checkpoint(self._folder)
        if found is None:
            return None
        if self._resume:
            if found.document["task"] != self._task:
                raise CheckpointError(
                    f"{self._folder}: holds a training with other options or other images; give those again, or "
                    "remove the folder and begin anew"
                )
            return found
        if not found.document["state"]["finished"]:
            raise CheckpointError(
                f"{self._folder}: holds an unfinished training, {found.document['state']['epoch']} epoch(s) long; "
                "resume it (--resume), or remove the folder"
            )
        return None

    def keep(
        self,
        network: torch.nn.Module,
        best: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        order: torch.Generator,
        state: State,
    ) -> None:
        """Replace the checkpoint by the state as it is now."""
        document = {"task": self._task, "state": asdict(state), SURROUNDINGS: surroundings()}
        write_checkpoint(self._folder, take_checkpoint(network, best, optimizer, order, document))


def task_of(options: TrainingOptions, network: torch.nn.Module, training: Part, validation: Part | None) -> str:
    """A digest of options, network and data: what must be the same for a resumed training to be the same."""
    digest = hashlib.sha256(repr((options.to_dict(), repr(network))).encode())
    for part in (training, validation):
        if part is not None:
            add_to_digest(digest, part)
    return digest.hexdigest()
