"""`crosshead embed`: the features that a network makes of images, as a file."""

from __future__ import annotations

from typing import Annotated

import typer

from crosshead.cli import image_options, options
from crosshead.cli.errors import UsageError


def embed(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The images: a folder with one folder per class, or with metadata.csv or .jsonl (file_name, label), "
            "also below train and test; IDX; .npz; Parquet with a column of images; or digits.",
            show_default=False,
        ),
    ],
    output: Annotated[str, typer.Option(metavar="FILE", help="Write to FILE (.npz or .parquet).", show_default=False)],
    backbone: image_options.BackboneName = None,
    target: options.Target = None,
    size: image_options.Size = None,
    crop: image_options.Crop = None,
    resample: image_options.Resample = None,
    colours: image_options.Colours = None,
    white: image_options.White = None,
    mean: image_options.Mean = None,
    std: image_options.Std = None,
    layout: image_options.Layout = None,
    batch_size: image_options.BatchSize = image_options.BATCH_SIZE,
    workers: image_options.Workers = None,
    skip_broken: image_options.SkipBroken = False,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Write the features that a backbone makes of SOURCE's images, with file names and labels.

    `crosshead fit` takes the file. A run that was killed goes on where it was when it is started again, and makes the
    same bytes. Pixels become (pixel · white/255 − mean) / std, channel by channel; a file beside the network named
    like it but .json (with the keys size, colours, crop, resample, white, mean, std, layout), or Hugging Face's
    preprocessor_config.json, can say so once and for all.
    """
    if backbone is None:
        raise UsageError("--backbone is missing: name the network that makes features, such as net.onnx")
    chosen = image_options.image_options(
        backbone=backbone,
        size=options.image_size(size),
        crop=crop,
        resample=resample,
        colours=colours,
        white=white,
        mean=mean,
        std=std,
        layout=layout,
        batch_size=batch_size,
        workers=workers,
        skip_broken=skip_broken,
        cache=None,
    )
    from crosshead.cli.embedding import run

    return run(source, output, target, chosen, threads, as_json)
