"""`crosshead fit`: train a model, and say how close to the optimum it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from crosshead.cli import image_options, network_options, options


@dataclass(frozen=True)
class FitOptions:
    """The options of one `crosshead fit`, checked."""

    source: str
    target: str | None
    ignore: tuple[str, ...]
    loss: str
    alpha: float | None
    l1_ratio: float
    scale: str
    size: tuple[int, int] | None
    images: image_options.ImageOptions
    network: network_options.NetworkOptions | None
    test: str | None
    test_fraction: float | None
    class_weight: str | None
    intercept: bool
    tol: float
    max_iter: int
    max_time: float | None
    seed: int
    threads: int | None
    engine: str
    precision: str
    output: str | None
    report: bool
    report_output: str | None
    as_json: bool


def fit(
    source: options.Source,
    target: options.Target = None,
    ignore: options.Ignore = None,
    loss: Annotated[
        str, typer.Option(metavar="NAME", help=f"What a wrong score costs: {', '.join(options.LOSSES)}.")
    ] = "softmax",
    alpha: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Strength of the penalty on the weights; also as 1/60000. [default: 1e-4; with --backbone cnn the one "
            "with the lowest validation loss]",
            show_default=False,
        ),
    ] = None,
    l1_ratio: Annotated[
        str, typer.Option(metavar="NUMBER", help="Share of L1 in the penalty: 0 is L2, 1 is L1.")
    ] = "0",
    scale: Annotated[
        str,
        typer.Option(
            metavar="|".join(options.SCALINGS),
            help="Scale the features: standard makes each column mean 0 and deviation 1; maxabs divides all "
            "by the largest absolute value (pixels 0…255 become 0…1).",
        ),
    ] = "none",
    backbone: image_options.BackboneName = None,
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
    cache: image_options.Cache = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE|FRACTION",
            help="Rows to measure on, never trained on: another source, or a fraction of the rows, held out "
            "by class. [default: the source's own test rows, if any]",
            show_default=False,
        ),
    ] = None,
    class_weight: Annotated[
        str | None,
        typer.Option(
            metavar="balanced",
            help="Weight rows so that all classes count the same in training.",
            show_default=False,
        ),
    ] = None,
    no_intercept: Annotated[bool, typer.Option("--no-intercept", help="Train without a bias.")] = False,
    tol: Annotated[
        str, typer.Option(metavar="NUMBER", help="Relative duality gap at which the fit is certified.")
    ] = "1e-4",
    max_iter: Annotated[int, typer.Option(min=1, metavar="N", help="Most iterations.")] = 1000,
    max_time: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Longest training time.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses the held-out rows.")] = 0,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Where to save the model; one that is there is replaced. [default: <SOURCE's name>-model]",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page about the model: MODEL's folder, then -report.html.")
    ] = False,
    report_output: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write that page here.", show_default=False),
    ] = None,
    epochs: network_options.Epochs = None,
    train_batch: network_options.TrainBatch = None,
    accumulate: network_options.Accumulate = None,
    optimizer: network_options.Optimizer = None,
    learning_rate: network_options.LearningRate = None,
    momentum: network_options.Momentum = None,
    warmup: network_options.Warmup = None,
    weight_decay: network_options.WeightDecay = None,
    head_l1: network_options.HeadL1 = None,
    head_l2: network_options.HeadL2 = None,
    label_smoothing: network_options.LabelSmoothing = None,
    dropout: network_options.Dropout = None,
    clip: network_options.Clip = None,
    patience: network_options.Patience = None,
    validation: network_options.Validation = None,
    shift: network_options.Shift = None,
    flip: network_options.Flip = False,
    random_crop: network_options.RandomCrop = None,
    cutout: network_options.Cutout = None,
    widths: network_options.Widths = None,
    convolutions: network_options.Convolutions = None,
    pooling: network_options.Pooling = None,
    margin: network_options.Margin = None,
    resume: network_options.Resume = False,
    checkpoints: network_options.Checkpoints = None,
    as_json: options.AsJson = False,
) -> int:
    """Train a classifier on SOURCE and save it.

    The result says how far from the optimum the training objective can be at most: the relative duality gap.
    Ctrl-C ends the training early and saves the best weights so far. With --backbone the features are those that a
    network makes of SOURCE's images, as by `crosshead embed`; they are kept for the next time, and the model remembers
    the network, so that it takes images from then on.

    With --backbone cnn a convolutional network is trained on the images first; then its last layer is solved to the
    certified optimum on the network's features. Test loss and error are shown for the last layer before and after.
    """
    network = network_options.network_options(
        backbone,
        {
            "epochs": epochs,
            "train_batch": train_batch,
            "accumulate": accumulate,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "warmup": warmup,
            "weight_decay": weight_decay,
            "head_l1": head_l1,
            "head_l2": head_l2,
            "label_smoothing": label_smoothing,
            "dropout": dropout,
            "clip": clip,
            "patience": patience,
            "validation": validation,
            "shift": shift,
            "flip": flip,
            "random_crop": random_crop,
            "cutout": cutout,
            "widths": widths,
            "convolutions": convolutions,
            "pooling": pooling,
            "margin": margin,
            "resume": resume,
            "checkpoints": checkpoints,
        },
    )
    shape = options.image_size(size)
    images = image_options.image_options(
        backbone=backbone,
        size=shape,
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
        cache=cache,
    )
    chosen = FitOptions(
        source=source,
        target=target,
        ignore=tuple(ignore or ()),
        loss=options.choice("--loss", loss, options.LOSSES),
        alpha=_alpha(alpha, backbone),
        l1_ratio=options.number("--l1-ratio", l1_ratio, highest=1.0),
        scale=options.choice("--scale", scale, options.SCALINGS),
        size=shape,
        images=images,
        network=network,
        test=test,
        test_fraction=None if test is None else options.held_out_fraction(test),
        class_weight=None if class_weight is None else _class_weight(class_weight),
        intercept=not no_intercept,
        tol=options.number("--tol", tol),
        max_iter=max_iter,
        max_time=None if max_time is None else options.number("--max-time", max_time),
        seed=options.whole("--seed", seed, highest=2**32 - 1),
        threads=threads,
        engine=options.choice("--engine", engine, options.ENGINES),
        precision=options.choice("--precision", precision, options.PRECISIONS),
        output=output,
        report=report or report_output is not None,
        report_output=report_output,
        as_json=as_json,
    )
    from crosshead.cli.fitting import run

    return run(chosen)


def _alpha(text: str | None, backbone: str | None) -> float | None:
    """None where validation chooses it."""
    if text is None:
        return None if backbone == network_options.CNN else 1e-4
    return options.number("--alpha", text)


def _class_weight(value: str) -> str:
    return options.choice("--class-weight", value, ("balanced",))
