"""Pixels as features: one row of numbers per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.dataset import Dataset
from crosshead.data.errors import DataError
from crosshead.data.images.decoding import ImageForm, Size
from crosshead.data.images.source import Broken, ImageSource, skipped_note

BATCH_SIZE = 256


def read_images(
    source: ImageSource, *, size: Size | None, encoding: Mapping[str, Any] | None = None, skip_broken: bool = False
) -> Dataset:
    """Read pixels 0…255 as float32 rows, row by row of the image, with colours last.

    `size` is (height, width). Without it all images must have the same size. If all images are grey they stay grey,
    otherwise all become RGB. With an earlier `encoding`, size and colours are those of training. The test images of the
    source get the form of its training images.
    """
    training = _read(source, _learned_form(encoding, size), skip_broken)
    if source.test is None:
        return training
    return replace(training, test=_read(source.test, _learned_form(training.encoding, None), skip_broken))


def _read(source: ImageSource, learned: tuple[Size | None, int | None], skip_broken: bool) -> Dataset:
    size, channels = learned
    if size is None or channels is None:
        form = source.common_form(size, channels, skip_broken=skip_broken)
    else:
        form = ImageForm(size, channels)
    pixels = np.empty((len(source), size_of(form)), dtype=np.float32)
    kept: list[NDArray[np.int64]] = []
    skipped: list[Broken] = []
    for batch in source.batches(form, batch_size=BATCH_SIZE, skip_broken=skip_broken):
        first = sum(rows.size for rows in kept)
        pixels[first : first + batch.rows.size] = batch.pixels.reshape(batch.rows.size, pixels.shape[1])
        kept.append(batch.rows)
        skipped += batch.broken
    rows = np.concatenate(kept)
    if not rows.size:
        raise DataError(f"{source.source}: none of the {len(source)} images can be read")
    notes = source.notes if not skipped else (*source.notes, skipped_note(skipped, source.source))
    read = source.take(rows)
    return Dataset(
        pixels[: rows.size],
        read.labels,
        row_names=None if read.names is None else list(read.names),
        encoding=_encoding(form),
        source=source.source,
        notes=notes,
    )


def size_of(form: ImageForm) -> int:
    """The number of features of an image."""
    height, width, channels = form.shape
    return height * width * channels


def _encoding(form: ImageForm) -> dict[str, Any]:
    size = list(form.size)
    shape = size if form.channels == 1 else [*size, form.channels]
    mode = "L" if form.channels == 1 else "RGB"
    return {"kind": "images", "size": size, "mode": mode, "shape": shape, "resample": form.resample}


def learned_form(encoding: Mapping[str, Any]) -> ImageForm:
    """The form of the images that a model of pixels was trained on; DataError if it was not trained on images."""
    size, channels = _learned_form(encoding, None)
    assert size is not None  # an encoding without a shape was rejected
    assert channels is not None
    return ImageForm(size, channels)


def _learned_form(encoding: Mapping[str, Any] | None, size: Size | None) -> tuple[Size | None, int | None]:
    """Size and channels as in training, also for arrays of shape (height, width) or (height, width, 3)."""
    if encoding is None:
        return size, None
    shape = encoding.get("shape")
    if shape is None or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DataError("the model was not trained on images, so it cannot take images; give features instead")
    learned = (int(shape[0]), int(shape[1]))
    if size is not None and size != learned:
        raise DataError(f"--size is {size[0]}×{size[1]}, but training had {learned[0]}×{learned[1]} (height×width)")
    return learned, 3 if len(shape) == 3 and shape[2] == 3 else 1
