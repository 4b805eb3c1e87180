"""How far a training has come, and the folder that keeps its checkpoints."""

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
from crosshead.nn.training.environment import environment
from crosshead.nn.training.options import TrainingOptions

ENVIRONMENT = "surroundings"
"""The name in a checkpoint's document. It stays, so that existing checkpoints keep their meaning."""


@dataclass
class State:
    """How far a training has come: what a checkpoint holds besides tensors."""

    epoch: int = 0
    step: int = 0
    finished: bool = False
    best_loss: float = math.inf
    best_epoch: int = 0
    validation: tuple[float, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> State:
        """The state from a JSON document that `dataclasses.asdict` made; TypeError or ValueError for another one."""
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
    """The folder with the checkpoint of one training; ``task`` identifies it, ``resume`` allows to continue it."""

    def __init__(self, folder: Path, task: str, resume: bool) -> None:
        self._folder, self._task, self._resume = folder, task, resume

    def find(self) -> Checkpoint | None:
        """The checkpoint to continue from, None to start anew; CheckpointError if a training would be lost."""
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
        """Replace the checkpoint by the present state."""
        document = {"task": self._task, "state": asdict(state), ENVIRONMENT: environment()}
        write_checkpoint(self._folder, take_checkpoint(network, best, optimizer, order, document))


def task_of(options: TrainingOptions, network: torch.nn.Module, training: Part, validation: Part | None) -> str:
    """A digest of options, network and data, all of which a resumed training must share."""
    digest = hashlib.sha256(repr((options.to_dict(), repr(network))).encode())
    for part in (training, validation):
        if part is not None:
            add_to_digest(digest, part)
    return digest.hexdigest()
