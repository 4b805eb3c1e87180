"""`crosshead embed`: the features that a network makes of images, as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.errors import UsageError
from crosshead.cli.options.images import ImageOptions


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """The options of one `crosshead embed`, checked."""

    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The images: a folder with one folder per class, or with metadata.csv or .jsonl (file_name, label), "
            "also below train and test; IDX; .npz; Parquet with a column of images; or digits.",
            show_default=False,
        ),
    ]
    output: Annotated[str, options.option("FILE", "Write to FILE (.npz or .parquet).")]
    images: ImageOptions
    target: options.Target = None
    threads: options.Threads = None
    as_json: options.AsJson = False

    def __post_init__(self) -> None:
        if self.images.backbone is None:
            raise UsageError("--backbone is missing: name the network that makes features, such as net.onnx")


@command
def embed(chosen: EmbedOptions) -> int:
    """Write the features that a backbone makes of SOURCE's images, with file names and labels.

    `crosshead fit` takes the file. A run that was killed goes on where it was when it is started again, and makes the
    same bytes. Pixels become (pixel · white/255 − mean) / std, channel by channel; a file beside the network named
    like it but .json (with the keys size, colours, crop, resample, white, mean, std, layout), or Hugging Face's
    preprocessor_config.json, can say so once and for all.
    """
    from crosshead.cli.commands.embed.run import run

    return run(chosen)
