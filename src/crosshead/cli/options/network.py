"""The options of `crosshead fit --backbone cnn`: the network and its training. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.command import Reads
from crosshead.cli.errors import UsageError
from crosshead.cli.options import values
from crosshead.cli.options.images import ImageOptions

CNN = "cnn"
POOLINGS = ("average", "max", "flatten")
OPTIMIZERS = ("adamw", "sgd")
PANEL = "With --backbone cnn"


NOT_FOR_CNN = {
    "white": "the network learns mean and deviation of the pixels",
    "mean": "the network learns mean and deviation of the pixels",
    "std": "the network learns mean and deviation of the pixels",
    "layout": "the network has its own",
}


def _option(metavar: str | None, text: str, **others: Any) -> Any:
    return typer.Option(metavar=metavar, help=text, show_default=False, rich_help_panel=PANEL, **others)


def _margin(option: str, text: str) -> dict[str, float]:
    found = values.numbers(option, text)
    if len(found) not in (3, 4):
        raise UsageError(f"{option} {text}: give m1,m2,m3 or m1,m2,m3,scale, such as 1,0.5,0,16")
    return {"m1": found[0], "m2": found[1], "m3": found[2], "scale": found[3] if len(found) == 4 else 16.0}


_NUMBER, _SHARE = options.a_number(), options.a_number(highest=1.0)


@dataclass(frozen=True)
class NetworkArguments:
    """The options of a network and its training; None or False where an option was not given."""

    epochs: Annotated[int | None, _option("N", "Times that all images are seen. [default: 10]", min=1)] = None
    train_batch: Annotated[int | None, _option("N", "Images of one step. [default: 64]", min=1)] = None
    accumulate: Annotated[
        int | None, _option("N", "Passes that a step's images are split into. [default: 1]", min=1)
    ] = None
    optimizer: Annotated[
        str | None, _option("|".join(OPTIMIZERS), "What takes the steps. [default: adamw]"), options.one_of(OPTIMIZERS)
    ] = None
    learning_rate: Annotated[
        float | None, _option("NUMBER", "Its peak. [default: 0.01 for adamw, 0.05 for sgd]"), _NUMBER
    ] = None
    momentum: Annotated[float | None, _option("SHARE", "Of sgd. [default: 0.9]"), _SHARE] = None
    warmup: Annotated[
        float | None, _option("SHARE", "Share of the steps in which the rate rises. [default: 0.1]"), _SHARE
    ] = None
    weight_decay: Annotated[
        float | None, _option("NUMBER", "On the convolutions' weights. [default: 0.02]"), _NUMBER
    ] = None
    head_l1: Annotated[
        float | None, _option("NUMBER", "L1 penalty on the head's weights in training. [default: 0]"), _NUMBER
    ] = None
    head_l2: Annotated[
        float | None, _option("NUMBER", "L2 penalty on the head's weights in training. [default: 0]"), _NUMBER
    ] = None
    label_smoothing: Annotated[float | None, _option("SHARE", "Of softmax, in training. [default: 0]"), _SHARE] = None
    dropout: Annotated[float | None, _option("SHARE", "Features set to zero in training. [default: 0.1]"), _SHARE] = (
        None
    )
    clip: Annotated[float | None, _option("NUMBER", "Longest gradient of a step. [default: 5]"), _NUMBER] = None
    patience: Annotated[int | None, _option("N", "End after N epochs without a lower validation loss.", min=1)] = None
    validation: Annotated[
        float | None, _option("FRACTION", "Training images held out to choose by. [default: 0.1]"), Reads(values.share)
    ] = None
    shift: Annotated[int | None, _option("PIXELS", "Move training images by up to so much.", min=0)] = None
    flip: Annotated[bool, _option(None, "Mirror half of the training images.")] = False
    random_crop: Annotated[
        float | None, _option("SHARE", "Cut up to this share off the sides of training images."), _SHARE
    ] = None
    cutout: Annotated[int | None, _option("PIXELS", "Cover a square of training images.", min=0)] = None
    widths: Annotated[
        list[int] | None,
        _option("N,N,…", "Channels of the stages. [default: by the images' size]"),
        Reads(values.whole_numbers),
    ] = None
    convolutions: Annotated[int | None, _option("N", "Convolutions of a stage. [default: 1]", min=1)] = None
    pooling: Annotated[
        str | None,
        _option("|".join(POOLINGS), "What becomes of the last maps. [default: average]"),
        options.one_of(POOLINGS),
    ] = None
    margin: Annotated[
        dict[str, float] | None,
        _option("M1,M2,M3[,SCALE]", "Train with a margin: 1,0.5,0 is ArcFace. [scale: 16]"),
        Reads(_margin),
    ] = None
    resume: Annotated[bool, _option(None, "Go on where a killed run was.")] = False
    checkpoints: Annotated[
        str | None, _option("FOLDER", "Where checkpoints and history go. [default: MODEL-training]")
    ] = None

    def chosen(self, backbone: str | None) -> NetworkOptions | None:
        """The options that were given; None without --backbone cnn, UsageError where one is given without it."""
        given = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        if backbone != CNN:
            if given:
                name = next(iter(given)).replace("_", "-")
                raise UsageError(f"--{name} is about a network that is trained; it needs --backbone cnn")
            return None
        network = _named(given, "convolutions", "pooling", "dropout", "label_smoothing", "widths")
        training = _named(given, "epochs", "accumulate", "optimizer", "patience", "learning_rate", "momentum", "warmup")
        training |= _named(given, "weight_decay", "head_l1", "head_l2", "clip", train_batch="batch_size")
        return NetworkOptions(
            network | given.get("margin", {}),
            training,
            _named(given, "shift", "flip", "cutout", random_crop="crop"),
            given.get("validation", 0.1),
            self.resume,
            self.checkpoints,
        )


@dataclass(frozen=True)
class NetworkOptions:
    """``network`` are arguments of `crosshead.nn.CNN`, ``training`` of `TrainingOptions`: those that were given."""

    network: dict[str, Any]
    training: dict[str, Any]
    augmentation: dict[str, Any]
    validation: float
    resume: bool
    checkpoints: str | None


def check_network(network: NetworkOptions, images: ImageOptions, ignore: Sequence[str], loss: str) -> None:
    """UsageError where an option contradicts the training of a network, or means nothing for it."""
    for name, reason in NOT_FOR_CNN.items():
        if name in images.stated:
            raise UsageError(f"--{name}: means nothing with --backbone cnn: {reason}")
    if images.stated.get("colours") == "bgr":
        raise UsageError(
            "--colours bgr: with --backbone cnn say rgb; a network that is trained here knows no other order"
        )
    if images.cache is not None:
        raise UsageError("--cache: with --backbone cnn features change with every training; none are kept")
    if ignore:
        raise UsageError("--ignore names columns of a table of features, and images have none")
    if "m1" in network.network and loss != "softmax":
        raise UsageError(f"--margin: a margin belongs to softmax, not to --loss {loss}")
    if "momentum" in network.training and network.training.get("optimizer") != "sgd":
        raise UsageError("--momentum: it belongs to sgd; say --optimizer sgd, or leave it out")


def _named(given: dict[str, Any], *names: str, **called: str) -> dict[str, Any]:
    """Those of ``given`` that are named; some are called otherwise there."""
    there = {name: name for name in names} | called
    return {there[name]: value for name, value in given.items() if name in there}
