"""The images that a network is trained on, decoded once to pixels in memory, or on the disk where they are many."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

import numpy as np

from crosshead.atomic_files import writing
from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.errors import UsageError, tell
from crosshead.cli.progress import Monitor
from crosshead.data import ImageForm, ImageSource, open_images
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.images.decoding import COLOURS, Pixels
from crosshead.data.images.source import Broken, skipped_note

MOST_IN_MEMORY = 1 << 29
"""Bytes of pixels; more lie in a file without a name, of which the system keeps in memory what there is room for."""

NOT_FOR_CNN = {
    "white": "the network learns mean and deviation of the pixels",
    "mean": "the network learns mean and deviation of the pixels",
    "std": "the network learns mean and deviation of the pixels",
    "layout": "the network has its own",
}


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images: ``pixels`` (N, channels, height, width) uint8, with the source that names and labels them."""

    pixels: Pixels
    source: ImageSource
    form: ImageForm
    test: Images | None = None

    @property
    def labels(self) -> Array | None:
        """(N,)."""
        return self.source.labels

    @property
    def colours(self) -> str:
        """What the channels are, as pre-processing calls it."""
        return {1: "grey", 3: "rgb", 4: "rgba"}[self.form.channels]


def check_images(options: FitOptions) -> None:
    """UsageError for options about images that mean nothing for a network that is trained."""
    stated = options.images.stated
    for name, reason in NOT_FOR_CNN.items():
        if name in stated:
            raise UsageError(f"--{name}: means nothing with --backbone cnn: {reason}")
    if stated.get("colours") == "bgr":
        raise UsageError(
            "--colours bgr: with --backbone cnn say rgb; a network that is trained here knows no other order"
        )
    if options.images.cache is not None:
        raise UsageError("--cache: with --backbone cnn features change with every training; none are kept")
    if options.ignore:
        raise UsageError("--ignore names columns of a table of features, and images have none")
    assert options.network is not None
    if "m1" in options.network.network and options.loss != "softmax":
        raise UsageError(f"--margin: a margin belongs to softmax, not to --loss {options.loss}")


def read_images(options: FitOptions, monitor: Monitor) -> Images:
    """Training images, and those of the source's own test part or of ``--test``, brought to one form."""
    source = open_images(options.source, target=options.target, labels_required=True)
    test = source.test
    if options.test is not None:
        test = None
        if options.test_fraction is None:
            test = open_images(options.test, target=options.target, labels_required=True)
    stated = options.images.stated
    channels = COLOURS[stated["colours"]] if "colours" in stated else None
    form = source.common_form(options.size, channels, skip_broken=options.images.skip_broken)
    form = ImageForm(form.size, form.channels, stated.get("crop"), stated.get("resample", "bilinear"))
    images = _decoded(source, form, options, monitor)
    return (
        images if test is None else Images(images.pixels, images.source, form, _decoded(test, form, options, monitor))
    )


def _decoded(source: ImageSource, form: ImageForm, options: FitOptions, monitor: Monitor) -> Images:
    for note in source.notes:
        tell("note", note)
    height, width, channels = form.shape
    pixels = _room((len(source), channels, height, width))
    kept, broken = list[Array](), list[Broken]()
    done = 0
    batches = source.batches(form, workers=options.images.workers, skip_broken=options.images.skip_broken)
    for batch in batches:
        pixels[done : done + len(batch.rows)] = batch.pixels.transpose(0, 3, 1, 2)
        done += len(batch.rows)
        kept.append(batch.rows)
        broken += batch.broken
        monitor.detail(f"reading {source.source}: {batch.stop} of {len(source)} images")
    if not done:
        raise DataError(f"{source.source}: none of the {len(source)} images can be read")
    if broken:
        tell("note", skipped_note(broken, source.source))
    return Images(pixels[:done], source.take(np.concatenate(kept)), form)


def _room(shape: tuple[int, int, int, int]) -> Pixels:
    if int(np.prod(shape)) <= MOST_IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    with writing(tempfile.gettempdir()), tempfile.TemporaryFile() as file:
        # A full disk is an error here; later it would be a page that cannot be written, which ends the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
        return np.memmap(file, np.uint8, "w+", shape=shape)
