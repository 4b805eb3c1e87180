"""The options about images and backbones that commands share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.command import Reads
from crosshead.cli.errors import UsageError
from crosshead.cli.options import values

RESAMPLINGS = ("nearest", "bilinear", "bicubic", "lanczos")
COLOURS = ("rgb", "bgr", "grey", "rgba")
LAYOUTS = ("nchw", "nhwc")
BATCH_SIZE, MOST_IMAGES = 32, 1 << 16

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
        metavar="FILE.onnx|torch:MODULE:NAME|MODEL",
        help="MODEL's backbone: its file, or Python code, which runs only where it is named here. [default: its file "
        "in the working folder, or where it last was on this machine]",
        show_default=False,
    ),
]
Size = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="WxH", help=f"Resize images to this many pixels. {_BESIDE.format('the network’s own')}"),
    Reads(values.image_size),
]
Crop = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Keep the proportions: take this share of the largest centred part that has them, such as 0.875. "
        "[default: the whole image, stretched]",
        show_default=False,
    ),
    Reads(partial(values.above_zero, highest=1.0)),
]
Resample = Annotated[
    str | None,
    typer.Option(metavar="|".join(RESAMPLINGS), help=f"How images are resized. {_BESIDE.format('bilinear')}"),
    options.one_of(RESAMPLINGS),
]
Colours = Annotated[
    str | None,
    typer.Option(metavar="|".join(COLOURS), help=f"The network's channels. {_BESIDE.format('by its input')}"),
    options.one_of(COLOURS),
]
White = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", help=f"What white is before mean and std, 1 or 255. {_BESIDE.format('1')}"),
    Reads(values.above_zero),
]
Mean = Annotated[
    list[float] | None,
    typer.Option(metavar="NUMBERS", help=f"Subtracted from pixels, one or one a channel. {_BESIDE.format('0')}"),
    Reads(values.numbers),
]
Std = Annotated[
    list[float] | None,
    typer.Option(metavar="NUMBERS", help=f"Then they are divided by this. {_BESIDE.format('1')}"),
    Reads(values.numbers),
]
Layout = Annotated[
    str | None,
    typer.Option(metavar="|".join(LAYOUTS), help="Order of the network's input. [default: by its shape]"),
    options.one_of(LAYOUTS),
]
BatchSize = Annotated[
    int, typer.Option(min=1, max=MOST_IMAGES, metavar="N", help="Images the network takes at a time, at most 65536.")
]
OwnBatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_IMAGES,
        metavar="N",
        help="Images the network takes at a time, at most 65536. [default: as many as in training]",
    ),
]
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
class StreamedImages:
    """The options about images for a saved model, which takes them through its backbone or as pixels."""

    backbone: OwnBackbone = None
    batch_size: OwnBatchSize = None
    workers: Workers = None
    skip_broken: SkipBroken = False


@dataclass(frozen=True)
class OwnImages(StreamedImages):
    """The same, and where the features of images are kept."""

    cache: Cache = None

    @property
    def given(self) -> list[str]:
        """The options that were given, as they are typed."""
        return [f"--{each.name.replace('_', '-')}" for each in fields(self) if getattr(self, each.name) != each.default]

    def refuse(self, reason: str, allowed: str = "") -> None:
        """UsageError where an option is given that means nothing here."""
        named = [option for option in self.given if option != allowed]
        if named:
            raise UsageError(f"{named[0]}: {reason}")


@dataclass(frozen=True)
class ImageOptions:
    """The options about images and their backbone."""

    backbone: BackboneName = None
    size: Size = None
    crop: Crop = None
    resample: Resample = None
    colours: Colours = None
    white: White = None
    mean: Mean = None
    std: Std = None
    layout: Layout = None
    batch_size: BatchSize = BATCH_SIZE
    workers: Workers = None
    skip_broken: SkipBroken = False
    cache: str | None = None

    @property
    def stated(self) -> dict[str, Any]:
        """The fields of `crosshead.backbones.Preprocessing` that were given."""
        names = ("crop", "resample", "colours", "white", "mean", "std", "layout", "size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def check(self) -> None:
        """UsageError where an option means nothing for want of a backbone; images of pixels have a size too."""
        if self.backbone is not None:
            return
        batch_size = self.batch_size if self.batch_size != BATCH_SIZE else None
        others = {"cache": self.cache, "workers": self.workers, "batch-size": batch_size}
        named = [*self.stated, *(name for name, value in others.items() if value is not None)]
        named = [name for name in named if name != "size"]
        if named:
            raise UsageError(f"--{named[0]} says how a network takes images; name the network with --backbone")
