"""From images to features on the command line: which backbone, how it is run, and what is said meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crosshead.backbones import Backbone, find_backbone, load_backbone
from crosshead.backbones.embedding import BATCH, Embedded, Embedding, cache_folder, described, embed_cached
from crosshead.backbones.locations import remember
from crosshead.cli.errors import tell
from crosshead.cli.options.images import BATCH_SIZE, ImageOptions, OwnImages
from crosshead.cli.progress import Monitor
from crosshead.data import Dataset, ImageSource, load, open_images
from crosshead.data.formats.feature_files import BACKBONE, KIND
from crosshead.data.images.open_images import holds_images
from crosshead.data.images.source import skipped_note

Encoding = Mapping[str, Any]

GOES_ON = "the features made so far are kept, and the same command goes on from there"


class Rate:
    """Shows how many images are done and how many a second."""

    def __init__(self, monitor: Monitor, source: str) -> None:
        self._monitor, self._source = monitor, source
        self._began: tuple[int, float] | None = None
        monitor.stage(f"embedding {source}")

    def __call__(self, done: int, total: int) -> None:
        """Show how many images of how many are done."""
        self._began = self._began or (done, time.monotonic())
        seconds = time.monotonic() - self._began[1]
        pace = f", {(done - self._began[0]) / seconds:.0f} images/s" if seconds > 0 else ""
        self._monitor.detail(f"embedding {self._source}: {done} of {total}{pace}")


def open_backbone(options: ImageOptions, threads: int | None) -> Backbone:
    """The backbone that the options name; says where its pre-processing comes from, where that is no option."""
    assert options.backbone is not None  # callers ask only where one is named
    backbone = load_backbone(options.backbone, options.stated, threads=threads)
    remember(backbone)
    if backbone.stated_in is not None:
        tell("note", f"pre-processing as {backbone.stated_in} says")
    if backbone.assumed:
        tell(
            "note",
            f"nothing says how {options.backbone} takes pixels, so they are scaled to 0…1; if it was trained "
            "otherwise, say --white, --mean and --std",
        )
    return backbone


def backbone_of(
    encoding: Encoding, chosen: str | None, network: bytes = b"", *, threads: int | None = None
) -> Backbone:
    """The backbone that an ``encoding`` describes; where a person says where it is, that is remembered."""
    backbone = find_backbone(encoding[BACKBONE], chosen, network=network, threads=threads)
    if chosen is not None:
        remember(backbone)
    return backbone


def how_of(options: ImageOptions) -> Embedding:
    """How images are embedded."""
    return Embedding(options.batch_size, options.workers, options.skip_broken)


def batch_size_of(encoding: Encoding, chosen: int | None) -> int:
    """How many images a model's network takes at a time: as many as in training, unless another number is chosen.

    The last places of features may depend on it, and so may whether these are the rows that a model has seen.
    """
    return chosen or int(encoding.get(BACKBONE, {}).get(BATCH, BATCH_SIZE))


def embedded_source(
    images: ImageSource,
    backbone: Backbone,
    how: Embedding,
    cache: str | None = None,
    monitor: Monitor | None = None,
) -> Dataset:
    """The features of a source of images, from the cache or into it."""
    source = images.source
    watch = None if monitor is None else Rate(monitor, source)
    try:
        made = embed_cached(images, backbone, cache_folder(cache), how, watch)
    except KeyboardInterrupt:
        tell("note", GOES_ON)
        raise
    show_image_notes(images, made)
    tell("note", f"features of {source} {'taken from' if made.cached else 'kept in'} {made.path}")
    features = load(made.path, target_required=images.labels is not None)
    # What the backbone's file is called now, not what it was called when the features were first made.
    encoding = {**features.encoding, BACKBONE: described(backbone, how)}
    test = None if features.test is None else replace(features.test, encoding=encoding, source=source)
    return replace(features, test=test, encoding=encoding, source=source)


def load_again(
    source: str,
    encoding: Encoding,
    *,
    target: str | None = None,
    ignore: tuple[str, ...] = (),
    target_required: bool = False,
    images: ImageOptions | OwnImages | None = None,
    threads: int | None = None,
    monitor: Monitor | None = None,
    network: bytes = b"",
) -> Dataset:
    """Read a source into the features of an earlier ``encoding``; images go through the backbone that it describes.

    ``network`` is the model's own, where it has one.
    """
    images = images or OwnImages()
    if encoding.get("kind") == KIND and holds_images(source):
        opened = open_images(source, target=target, labels_required=target_required)
        backbone = backbone_of(encoding, images.backbone, network, threads=threads)
        chosen = images.batch_size if isinstance(images, OwnImages) else None
        how = Embedding(batch_size_of(encoding, chosen), images.workers, images.skip_broken)
        return embedded_source(opened, backbone, how, images.cache, monitor)
    if isinstance(images, OwnImages):
        reason = f"it is for a model with a backbone and for images, and {source} goes through none"
        images.refuse(reason, allowed="--skip-broken")
    return load(
        source,
        target=target,
        ignore=ignore,
        encoding=encoding,
        target_required=target_required,
        skip_broken=images.skip_broken,
    )


def show_image_notes(images: ImageSource, made: Embedded) -> None:
    """Say which files were no images, and which images could not be read."""
    for note in (*images.notes, *(() if images.test is None else images.test.notes)):
        tell("note", note)
    if made.broken:
        tell("note", skipped_note(made.broken, images.source))
