"""The options of `crosshead fit --backbone cnn`: the network and its training. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

CNN = "cnn"
POOLINGS = ("average", "max", "flatten")
OPTIMIZERS = ("adamw", "sgd")
PANEL = "With --backbone cnn"


def _option(metavar: str | None, text: str, **others: Any) -> Any:
    return typer.Option(metavar=metavar, help=text, show_default=False, rich_help_panel=PANEL, **others)


Epochs = Annotated[int | None, _option("N", "Times that all images are seen. [default: 10]", min=1)]
TrainBatch = Annotated[int | None, _option("N", "Images of one step. [default: 64]", min=1)]
Accumulate = Annotated[int | None, _option("N", "Passes that a step's images are split into. [default: 1]", min=1)]
Optimizer = Annotated[str | None, _option("|".join(OPTIMIZERS), "What takes the steps. [default: adamw]")]
LearningRate = Annotated[str | None, _option("NUMBER", "Its peak. [default: 0.01 for adamw, 0.05 for sgd]")]
Momentum = Annotated[str | None, _option("SHARE", "Of sgd. [default: 0.9]")]
Warmup = Annotated[str | None, _option("SHARE", "Share of the steps in which the rate rises. [default: 0.1]")]
WeightDecay = Annotated[str | None, _option("NUMBER", "On the convolutions' weights. [default: 0.02]")]
HeadL1 = Annotated[str | None, _option("NUMBER", "L1 penalty on the head's weights in training. [default: 0]")]
HeadL2 = Annotated[str | None, _option("NUMBER", "L2 penalty on the head's weights in training. [default: 0]")]
LabelSmoothing = Annotated[str | None, _option("SHARE", "Of softmax, in training. [default: 0]")]
Dropout = Annotated[str | None, _option("SHARE", "Features set to zero in training. [default: 0.1]")]
Clip = Annotated[str | None, _option("NUMBER", "Longest gradient of a step. [default: 5]")]
Patience = Annotated[int | None, _option("N", "End after N epochs without a lower validation loss.", min=1)]
Validation = Annotated[str | None, _option("FRACTION", "Training images held out to choose by. [default: 0.1]")]
Shift = Annotated[int | None, _option("PIXELS", "Move training images by up to so much.", min=0)]
Flip = Annotated[bool, _option(None, "Mirror half of the training images.")]
RandomCrop = Annotated[str | None, _option("SHARE", "Cut up to this share off the sides of training images.")]
Cutout = Annotated[int | None, _option("PIXELS", "Cover a square of training images.", min=0)]
Widths = Annotated[str | None, _option("N,N,…", "Channels of the stages. [default: by the images' size]")]
Convolutions = Annotated[int | None, _option("N", "Convolutions of a stage. [default: 1]", min=1)]
Pooling = Annotated[str | None, _option("|".join(POOLINGS), "What becomes of the last maps. [default: average]")]
Margin = Annotated[str | None, _option("M1,M2,M3[,SCALE]", "Train with a margin: 1,0.5,0 is ArcFace. [scale: 16]")]
Resume = Annotated[bool, _option(None, "Go on where a killed run was.")]
Checkpoints = Annotated[str | None, _option("FOLDER", "Where checkpoints and history go. [default: MODEL-training]")]


@dataclass(frozen=True)
class NetworkOptions:
    """``network`` are arguments of `crosshead.nn.CNN`, ``training`` of `TrainingOptions`: those that were given."""

    network: dict[str, Any]
    training: dict[str, Any]
    augmentation: dict[str, Any]
    validation: float
    resume: bool
    checkpoints: str | None


def network_options(backbone: str | None, given: dict[str, Any]) -> NetworkOptions | None:
    """The options as read; None without such a network, UsageError where they mean nothing or are wrong."""
    said = {name: value for name, value in given.items() if value is not None and value is not False}
    if backbone != CNN:
        if said:
            name = next(iter(said)).replace("_", "-")
            raise UsageError(f"--{name} is about a network that is trained; it needs --backbone cnn")
        return None
    numbers = _numbers(said)
    choices = {"optimizer": OPTIMIZERS, "pooling": POOLINGS}
    for name, known in choices.items():
        if name in said:
            options.choice(f"--{name}", said[name], known)
    network = _chosen(said, "convolutions", "pooling") | _chosen(numbers, "dropout", "label_smoothing")
    if "widths" in said:
        network["widths"] = _whole_numbers("--widths", said["widths"])
    if "margin" in said:
        network |= _margin(said["margin"])
    training = _chosen(said, "epochs", "accumulate", "optimizer", "patience")
    training |= _chosen(numbers, "learning_rate", "momentum", "warmup", "weight_decay", "head_l1", "head_l2", "clip")
    training |= {"batch_size": said["train_batch"]} if "train_batch" in said else {}
    augmentation = _chosen(said, "shift", "flip", "cutout") | (
        {"crop": numbers["random_crop"]} if "random_crop" in said else {}
    )
    return NetworkOptions(
        network,
        training,
        augmentation,
        numbers.get("validation", 0.1),
        bool(said.get("resume")),
        said.get("checkpoints"),
    )


def _chosen(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _numbers(said: dict[str, Any]) -> dict[str, float]:
    """What was given as text, as numbers within their limits."""
    shares = {"momentum", "warmup", "label_smoothing", "dropout", "random_crop"}
    names = (*sorted(shares), "learning_rate", "weight_decay", "head_l1", "head_l2", "clip")
    found = {}
    for name in names:
        if name in said:
            highest = 1.0 if name in shares else math.inf
            found[name] = options.number(f"--{name.replace('_', '-')}", said[name], highest=highest)
    if "validation" in said:
        found["validation"] = options.share("--validation", said["validation"])
    return found


def _whole_numbers(option: str, text: str) -> list[int]:
    values = options.numbers(option, text)
    if any(value != int(value) or value < 1 for value in values):
        raise UsageError(f"{option} {text}: give whole numbers above 0 with commas, such as 16,32,64")
    return [int(value) for value in values]


def _margin(text: str) -> dict[str, Any]:
    values = options.numbers("--margin", text)
    if len(values) not in (3, 4):
        raise UsageError(f"--margin {text}: give m1,m2,m3 or m1,m2,m3,scale, such as 1,0.5,0,16")
    return {"m1": values[0], "m2": values[1], "m3": values[2], "scale": values[3] if len(values) == 4 else 16.0}
