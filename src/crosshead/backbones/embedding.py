"""Compute features of images: in memory, to a file with resumption, or from a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.atomic_files import atomic_write, writing
from crosshead.backbones.protocol import Backbone, Features
from crosshead.backbones.resumable_file import PartialFeatures, partial_folder, remove_left_behind, text_of
from crosshead.data.dataset import Dataset
from crosshead.data.errors import DataError
from crosshead.data.formats.feature_files import (
    BACKBONE,
    KIND,
    FeatureRows,
    read_feature_archive,
    write_archive,
    write_table,
)
from crosshead.data.images.source import Broken, ImageBatch, ImageSource, refusal_of
from crosshead.models.json_document import package_version

BATCH_SIZE = 32
BATCH = "batch_size"
"""The key of the batch size in the description of a backbone."""

CACHE_VARIABLE = "CROSSHEAD_CACHE"
WRITERS = {".npz": write_archive, ".parquet": write_table}
_VERSIONS = ("crosshead", "numpy", "onnxruntime", "pillow", "torch")

Watch = Callable[[int, int], None]
"""A callback with the number of finished images, and the total."""


@dataclass(frozen=True)
class Embedding:
    """Options of embedding: batch size, number of decoding processes, and whether to skip broken images.

    Examples
    --------
    >>> Embedding(batch_size=16).batch_size
    16
    """

    batch_size: int = BATCH_SIZE
    workers: int | None = None
    skip_broken: bool = False


@dataclass(frozen=True, eq=False)
class Embedded:
    """The file of the features, the images that were skipped, and the number of images done by earlier runs.

    Examples
    --------
    >>> Embedded(Path("features.npz"), (), 0).broken
    ()
    """

    path: Path
    broken: tuple[Broken, ...]
    resumed: int
    cached: bool = False


def embed(source: ImageSource, backbone: Backbone, how: Embedding | None = None) -> Dataset:
    """Compute the features (N, D) of all images in memory, float32, with names and labels of the images.

    Raises DataError for images that cannot be read, unless they are skipped.

    Examples
    --------
    >>> from crosshead.backbones import load_backbone
    >>> from crosshead.data import open_images
    >>> net = load_backbone("small.onnx", {"mean": 0.5, "std": 0.25})  # doctest: +SKIP
    >>> embed(open_images("photos"), net).features.shape  # doctest: +SKIP
    (400, 1280)
    """
    how = how or Embedding()
    batches = source.batches(
        backbone.preprocessing.form, batch_size=how.batch_size, workers=how.workers, skip_broken=how.skip_broken
    )
    parts, kept = [np.empty((0, backbone.n_features), dtype=np.float32)], [np.empty(0, dtype=np.int64)]
    for batch in batches:
        parts.append(embed_batch(batch, source, backbone))
        kept.append(batch.rows)
    read = source.take(np.concatenate(kept))
    if not len(read):
        raise DataError(f"{source.source}: none of the {len(source)} images can be read")
    return Dataset(
        np.concatenate(parts),
        read.labels,
        row_names=[read.name(row) for row in range(len(read))],
        test=None if source.test is None else embed(source.test, backbone, how),
        encoding={"kind": KIND, BACKBONE: described(backbone, how), "n_features": backbone.n_features},
        source=source.source,
        notes=source.notes,
    )


def embed_batch(batch: ImageBatch, source: ImageSource, backbone: Backbone) -> Features:
    """Compute the features of one batch; DataError names an image whose features are NaN or infinite."""
    features = backbone.embed(batch.pixels)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        place = source.place(int(batch.rows[bad[0]]))
        raise DataError(f"{place}: the backbone's features of this image are NaN or infinite; is its scaling right?")
    return features


def embed_to_file(
    source: ImageSource, backbone: Backbone, output: Path, how: Embedding | None = None, watch: Watch | None = None
) -> Embedded:
    """Write the features to `.npz` or `.parquet`, which `crosshead.load` reads with names and labels.

    Rows are collected in a folder beside ``output``. A run that was killed, or ended at a broken image, resumes there
    if images, backbone, pre-processing and batch size are the same, with the same bytes as an uninterrupted run. The
    file appears once it is complete. Memory does not grow with the number of images, except for names and labels.

    Raises
    ------
    DataError
        For images that cannot be read, unless they are skipped; for another file type; if another run writes the same
        file.

    Examples
    --------
    >>> net = load_backbone("small.onnx")  # doctest: +SKIP
    >>> embed_to_file(open_images("photos"), net, Path("features.npz")).path  # doctest: +SKIP
    PosixPath('features.npz')
    """
    how = how or Embedding()
    return _write(source, backbone, output, how, embedding_key(source, backbone, how), watch)


def embed_cached(
    source: ImageSource, backbone: Backbone, folder: Path, how: Embedding | None = None, watch: Watch | None = None
) -> Embedded:
    """Compute features as `embed_to_file`, or reuse a file in ``folder`` named by a digest of everything it depends on.

    Examples
    --------
    >>> net = load_backbone("small.onnx")  # doctest: +SKIP
    >>> embed_cached(open_images("photos"), net, Path("cache")).resumed  # doctest: +SKIP
    0
    """
    how = how or Embedding()
    key = embedding_key(source, backbone, how)
    output = folder / f"features-{key[:40]}.npz"
    if output.is_file():
        remove_left_behind(output)
        broken = _broken_of(source, output)
        if broken and not how.skip_broken:
            raise DataError(refusal_of(broken, source.source))
        return Embedded(output, broken, 0, cached=True)
    folder.mkdir(parents=True, exist_ok=True)
    return _write(source, backbone, output, how, key, watch)


def cache_folder(chosen: str | None = None) -> Path:
    """The cache folder: the given one, else `CROSSHEAD_CACHE`, else that in the user's cache folder."""
    named = chosen or os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "crosshead" / "features"


def described(backbone: Backbone, how: Embedding) -> dict[str, Any]:
    """The description of features: the backbone, and the batch size."""
    return {**backbone.description, BATCH: how.batch_size}


def embedding_key(source: ImageSource, backbone: Backbone, how: Embedding) -> str:
    """SHA-256 of everything the features depend on: images, labels, backbone, pre-processing, batch size, versions.

    It does not depend on the name of the backbone's file, as the fingerprint covers its content, nor on whether broken
    images are skipped, so that a run that ended at one resumes with --skip-broken.
    """
    description = {name: value for name, value in backbone.description.items() if name != "name"}
    content = {
        "images": source.fingerprint(),
        "test": None if source.test is None else source.test.fingerprint(),
        "backbone": description,
        BATCH: how.batch_size,
        "versions": {name: package_version(name) for name in _VERSIONS},
    }
    return hashlib.sha256(text_of(content).encode()).hexdigest()


def _write(
    source: ImageSource, backbone: Backbone, output: Path, how: Embedding, key: str, watch: Watch | None
) -> Embedded:
    suffix = output.suffix.lower()
    if suffix not in WRITERS:
        raise DataError(f"{output}: name a file that ends in {' or '.join(WRITERS)}")
    total, done = len(source) + (0 if source.test is None else len(source.test)), 0
    written, broken, resumed = [], [], 0
    with partial_folder(output, key) as folder:
        for name, part in (("train", source), ("test", source.test)):
            if part is None:
                continue
            partial = PartialFeatures(folder, name, backbone.n_features)
            resumed += partial.progress.stop
            try:
                with writing(folder):
                    _gather(part, backbone, partial, how, _Counter(watch, done, total))
            finally:
                partial.close()
            done += len(part)
            written.append(_finished(part, partial))
            broken += partial.progress.broken
        with atomic_write(output) as temporary:
            WRITERS[suffix](temporary, written[0], written[1] if len(written) > 1 else None, described(backbone, how))
    return Embedded(output, tuple(broken), resumed)


@dataclass(frozen=True)
class _Counter:
    """Reports the number of finished images of all parts."""

    watch: Watch | None
    before: int
    total: int

    def __call__(self, stop: int) -> None:
        if self.watch is not None:
            self.watch(self.before + stop, self.total)


def _gather(source: ImageSource, backbone: Backbone, partial: PartialFeatures, how: Embedding, count: _Counter) -> None:
    if partial.progress.broken and not how.skip_broken:
        raise DataError(refusal_of(partial.progress.broken, source.source))
    count(partial.progress.stop)
    batches = source.batches(
        backbone.preprocessing.form,
        batch_size=how.batch_size,
        start=partial.progress.stop,
        workers=how.workers,
        skip_broken=how.skip_broken,
    )
    try:
        for batch in batches:
            partial.add(embed_batch(batch, source, backbone), batch.stop, batch.broken)
            count(batch.stop)
    finally:
        partial.save()


def _finished(source: ImageSource, partial: PartialFeatures) -> FeatureRows:
    kept = np.ones(len(source), dtype=bool)
    kept[[one.row for one in partial.progress.broken]] = False
    if not kept.any():
        raise DataError(f"{source.source}: none of the {len(source)} images can be read")
    read = source.take(np.flatnonzero(kept))
    return FeatureRows(partial.rows(), [read.name(row) for row in range(len(read))], read.labels)


def _broken_of(source: ImageSource, path: Path) -> tuple[Broken, ...]:
    """The images that are missing in a cached file."""
    dataset = read_feature_archive(path)
    found: list[Broken] = []
    for part, data in ((source, dataset), (source.test, dataset.test)):
        if part is not None and data is not None and data.n_rows < len(part):
            present = set(data.row_names or [])
            lacking = [row for row in range(len(part)) if part.name(row) not in present]
            found += [Broken(row, part.place(row), "could not be read when the features were made") for row in lacking]
    return tuple(found)
