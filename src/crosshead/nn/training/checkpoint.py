"""The checkpoint file of a training: its state after an epoch, one safetensors file that is replaced atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer

from crosshead.atomic_files import atomic_write, writing
from crosshead.data.formats.json_text import parse_json

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.jsonl"
FORMAT = "crosshead training 1"
DIGEST = "digest"
NETWORK, BEST, OPTIMIZER = "network.", "best.", "optimizer."
DROPOUT_RANDOM, ORDER_RANDOM = "random.dropout", "random.order"


class CheckpointError(ValueError):
    """A training that cannot start or resume in its folder. The message is one line: why, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by name, and ``document``, everything else, as JSON types."""

    tensors: Mapping[str, Tensor]
    document: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix``, by the rest of the name."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}

    def restore(self, network: nn.Module, optimizer: Optimizer, order: torch.Generator) -> None:
        """Load weights, optimizer state and random states; ValueError if they are of another network or optimizer."""
        network.load_state_dict(self.part(NETWORK))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.part(OPTIMIZER).items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for parameter, held in optimizer.state.items():  # PyTorch checks neither
            if not isinstance(parameter, Tensor) or any(
                one.shape not in ((), parameter.shape) for one in held.values()
            ):
                raise ValueError("the optimizer's state is that of other parameters")
        torch.set_rng_state(self.tensors[DROPOUT_RANDOM])
        order.set_state(self.tensors[ORDER_RANDOM])


def take_checkpoint(
    network: nn.Module,
    best: Mapping[str, Tensor],
    optimizer: Optimizer,
    order: torch.Generator,
    document: Mapping[str, Any],
) -> Checkpoint:
    """A copy of the present state."""
    tensors = {f"{NETWORK}{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"{BEST}{name}": value for name, value in best.items()}
    for number, held in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{number}.{key}": value for key, value in held.items() if value is not None}
    tensors |= {DROPOUT_RANDOM: torch.get_rng_state(), ORDER_RANDOM: order.get_state()}
    # safetensors refuses memory that two names share, and lays out what is not contiguous in another order.
    return Checkpoint(
        {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()},
        {"format": FORMAT, **document},
    )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint atomically: a killed run leaves the old one or the new one."""
    document = {**checkpoint.document, DIGEST: _digest(checkpoint)}
    content = save(dict(checkpoint.tensors), {"crosshead": json.dumps(document)})
    with atomic_write(folder / CHECKPOINT) as temporary:
        temporary.write_bytes(content)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint, or None; CheckpointError if the file is damaged or something else."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as opened:
            document = parse_json((opened.metadata() or {})["crosshead"])
        tensors = load_file(path)
        if document["format"] == FORMAT:
            _check_digest(Checkpoint(tensors, document))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint, or a damaged one ({error}); put a whole one in its place, or remove the folder"
        ) from error
    if document["format"] == FORMAT and not _is_complete(document):
        raise CheckpointError(f"{path}: does not say which training it is of, or how far that is; remove the folder")
    if document["format"] != FORMAT:
        raise CheckpointError(f"{path}: a checkpoint of another version of crosshead; remove the folder")
    return Checkpoint(tensors, document)


def _is_complete(document: Mapping[str, Any]) -> bool:
    state = document.get("state")
    return "task" in document and isinstance(state, dict) and {"finished", "epoch"} <= set(state)


def _digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of tensors and document: the safetensors reader notices a file cut short, but not an altered one."""
    document = {name: value for name, value in checkpoint.document.items() if name != DIGEST}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, value in sorted(checkpoint.tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_digest(checkpoint: Checkpoint) -> None:
    """ValueError if the content is not what was written; early checkpoints have no digest to compare."""
    if DIGEST in checkpoint.document and checkpoint.document[DIGEST] != _digest(checkpoint):
        raise ValueError("its contents are not those that were written")


def write_history(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Replace the history file."""
    with atomic_write(folder / HISTORY) as temporary:
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def append_history(folder: Path, line: Mapping[str, Any]) -> None:
    """Add one line to the history file."""
    with writing(folder / HISTORY), (folder / HISTORY).open("a", encoding="utf-8") as stream:
        stream.write(f"{json.dumps(line)}\n")
