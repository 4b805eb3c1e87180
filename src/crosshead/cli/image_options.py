"""The options about images and backbones that commands share. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

RESAMPLINGS = ("nearest", "bilinear", "bicubic", "lanczos")
COLOURS = ("rgb", "bgr", "grey", "rgba")
LAYOUTS = ("nchw", "nhwc")
BATCH_SIZE = 32

_BESIDE = "[default: what a JSON file beside the network says, else {}]"

BackboneName = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.onnx[:OUTPUT]|torch:MODULE:NAME|MODEL",
        help="The network that makes features of images: an ONNX file and, where it has several, an output or any "
        "tensor inside; a PyTorch module in Python code of your own; a model whose network crosshead trained. In "
        "`crosshead fit` also cnn, to train one.",
        show_default=False,
    ),
]
OwnBackbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="FILE.onnx|torch:MODULE:NAME",
        help="Where MODEL's backbone is now. [default: where it was in training]",
        show_default=False,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help=f"Resize images to this many pixels. {_BESIDE.format('the network’s own')}"),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Keep the proportions: take this share of the largest centred part that has them, such as 0.875. "
        "[default: the whole image, stretched]",
        show_default=False,
    ),
]
Resample = Annotated[
    str | None,
    typer.Option(metavar="|".join(RESAMPLINGS), help=f"How images are resized. {_BESIDE.format('bilinear')}"),
]
Colours = Annotated[
    str | None,
    typer.Option(metavar="|".join(COLOURS), help=f"The network's channels. {_BESIDE.format('by its input')}"),
]
White = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help=f"What white is before mean and std, 1 or 255. {_BESIDE.format('1')}"),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="NUMBERS", help=f"Subtracted from pixels, one or one a channel. {_BESIDE.format('0')}"),
]
Std = Annotated[
    str | None,
    typer.Option(metavar="NUMBERS", help=f"Then they are divided by this. {_BESIDE.format('1')}"),
]
Layout = Annotated[
    str | None,
    typer.Option(metavar="|".join(LAYOUTS), help="Order of the network's input. [default: by its shape]"),
]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Images the network takes at a time.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Processes that decode images; 0 decodes in this one. [default: one a CPU, none for small or few images]",
        show_default=False,
    ),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out images that cannot be read, and list them.")]
Cache = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Where features of images are kept. [default: $CROSSHEAD_CACHE, else ~/.cache/crosshead/features]",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ImageOptions:
    """What is said of images and their backbone, checked.

    ``stated`` are the fields of `crosshead.backbones.Preprocessing` that were given.
    """

    backbone: str | None = None
    stated: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    skip_broken: bool = False
    cache: str | None = None


def image_options(
    *,
    backbone: str | None,
    size: tuple[int, int] | None,
    crop: str | None,
    resample: str | None,
    colours: str | None,
    white: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None,
    batch_size: int,
    workers: int | None,
    skip_broken: bool,
    cache: str | None,
) -> ImageOptions:
    """The options as read; UsageError where one is wrong, or means nothing without a backbone."""
    stated: dict[str, Any] = {
        "crop": None if crop is None else _positive("--crop", crop, highest=1.0),
        "resample": None if resample is None else options.choice("--resample", resample, RESAMPLINGS),
        "colours": None if colours is None else options.choice("--colours", colours, COLOURS),
        "white": None if white is None else _positive("--white", white),
        "mean": None if mean is None else options.numbers("--mean", mean),
        "std": None if std is None else options.numbers("--std", std),
        "layout": None if layout is None else options.choice("--layout", layout, LAYOUTS),
    }
    given = {name: value for name, value in stated.items() if value is not None}
    if backbone is None:
        others = {"cache": cache, "workers": workers, "batch-size": batch_size if batch_size != BATCH_SIZE else None}
        named = [*given, *(name for name, value in others.items() if value is not None)]
        if named:
            raise UsageError(f"--{named[0]} says how a network takes images; name the network with --backbone")
    elif size is not None:
        given["size"] = size
    return ImageOptions(backbone, given, batch_size, workers, skip_broken, cache)


def _positive(option: str, text: str, **limits: float) -> float:
    value = options.number(option, text, **limits)
    if value == 0:
        raise UsageError(f"{option} {text}: it must be above 0")
    return value
