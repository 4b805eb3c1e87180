"""Images with names and labels, decoded in batches, for embedding, prediction and training of networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.data.dataset import Array
from crosshead.data.errors import DataError
from crosshead.data.images.decoding import BrokenImageError, ImageForm, Pixels, Size, read_header
from crosshead.data.images.decoding_pool import (
    Decoded,
    Task,
    decode_all,
    images_per_batch,
    images_per_task,
    usual_workers,
)
from crosshead.data.images.storage import ImageStorage, digest_image

MAX_LISTED = 10
"""Number of broken images that are listed before reading stops."""


@dataclass(frozen=True)
class Broken:
    """An image that cannot be read: its row in the source, its location, and the reason."""

    row: int
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Some consecutive images of a source, as `ImageSource.batches` yields them.

    * ``pixels`` (n, height, width, channels), uint8
    * ``rows`` (n,): their rows in the source
    * ``broken``: images that were skipped
    * ``stop``: the first row of the source that is in no batch so far

    Examples
    --------
    >>> from crosshead.data import open_images
    >>> batch = next(open_images("digits").batches(ImageForm((8, 8), 1), batch_size=10))
    >>> batch.rows.tolist() == list(range(10)), batch.broken
    (True, ())
    """

    pixels: Pixels
    rows: NDArray[np.int64]
    broken: tuple[Broken, ...]
    stop: int


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images that are decoded on demand; created by `crosshead.data.open_images`.

    * ``names`` (N,): files relative to the folder; rows of tables and arrays by number or path
    * ``labels`` (N,): int64, bool or str, or None
    * ``test``: the test images of the source, if it has any
    * ``rows`` (N,): the indices of these images in ``storage``

    Examples
    --------
    >>> from crosshead.data import open_images
    >>> digits = open_images("digits")
    >>> len(digits), digits.classes[:3]
    (1797, array([0, 1, 2]))
    >>> batch = next(digits.batches(ImageForm((8, 8), 1), batch_size=100))
    >>> batch.pixels.shape, str(batch.pixels.dtype), batch.stop
    ((100, 8, 8, 1), 'uint8', 100)
    """

    storage: ImageStorage
    rows: NDArray[np.int64]
    names: Sequence[str] | None
    labels: Array | None
    source: str
    test: ImageSource | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.rows.size

    @property
    def classes(self) -> Array | None:
        """The distinct labels, sorted."""
        return None if self.labels is None else np.unique(self.labels)

    def name(self, row: int) -> str:
        """The name of an image: its file, or its number from 1."""
        return str(self.rows[row] + 1) if self.names is None else self.names[row]

    def place(self, row: int) -> str:
        """The location of an image, for messages."""
        return self.storage.place(int(self.rows[row]))

    def take(self, rows: NDArray[np.int64]) -> ImageSource:
        """Select images by row, without the test images; for splitting and shuffling."""
        return replace(
            self,
            rows=self.rows[rows],
            names=None if self.names is None else [self.names[row] for row in rows],
            labels=None if self.labels is None else self.labels[rows],
            test=None,
        )

    def batches(
        self,
        form: ImageForm,
        *,
        batch_size: int = 64,
        start: int = 0,
        workers: int | None = None,
        skip_broken: bool = False,
    ) -> Iterator[ImageBatch]:
        """Yield decoded images, ``batch_size`` rows of the source at a time, starting at row ``start``.

        Batches of large images are smaller, see `images_per_batch`. The images of a batch depend only on ``form``,
        ``batch_size`` and ``start``; broken images are missing from it. A few batches are in memory at a time.

        Parameters
        ----------
        workers : int, optional
            Number of processes that decode; 0 decodes in this one. By default one per processor, up to 8, and none for
            small or few images, whose transfer would take longer than decoding.
        skip_broken : bool
            Whether to skip images that cannot be read, and report them in the batches.

        Raises
        ------
        DataError
            If images cannot be read and ``skip_broken`` is not set; it lists up to ten of them.
        """
        batch_size = images_per_batch(form, batch_size)
        chosen = self._usual_workers(start) if workers is None else workers
        decoded = decode_all(self._tasks(form, batch_size, start), chosen)
        for first in range(start, len(self), batch_size):
            stop = min(first + batch_size, len(self))
            parts = [next(decoded) for _ in range(first, stop, images_per_task(form))]
            broken = self._broken(parts)
            if broken and not skip_broken:
                raise self._refusal(broken, decoded)
            yield ImageBatch(
                np.concatenate([part.pixels for part in parts]),
                np.array([row for part in parts for row in part.rows], dtype=np.int64),
                tuple(broken),
                stop,
            )

    def common_form(
        self, size: Size | None = None, channels: int | None = None, *, skip_broken: bool = False
    ) -> ImageForm:
        """Determine one form for all images, from their headers alone.

        Without ``size`` all images must have the same size; DataError names two that differ. If all images are grey
        they stay grey, otherwise all become RGB. Without ``skip_broken``, DataError lists images with broken headers.
        """
        first: tuple[Size, int] | None = None
        all_grey = True
        broken: list[Broken] = []
        for row in range(len(self)):
            try:
                found, is_grey = read_header(self.storage.get([int(self.rows[row])])[0])
            except BrokenImageError as error:
                if len(broken) < MAX_LISTED:
                    broken.append(Broken(row, self.place(row), str(error)))
                if len(broken) == MAX_LISTED and not skip_broken:
                    break
                continue
            all_grey &= is_grey
            first = first or (found, row)
            if size is None and found != first[0]:
                raise DataError(
                    f"images differ in size: {self.place(first[1])} has {_times(first[0])}, {self.place(row)} has "
                    f"{_times(found)} (height×width); say --size to resize them to one"
                )
        if first is None or (broken and not skip_broken):
            raise DataError(refusal_of(broken, self.source))
        return ImageForm(size or first[0], channels or (1 if all_grey else 3))

    def fingerprint(self) -> str:
        """Compute the SHA-256 of names, labels and contents of all images, in hexadecimal; reads every file once."""
        digest = hashlib.sha256(f"images {len(self)}\n".encode())
        for row in range(len(self)):
            label = None if self.labels is None else self.labels[row].item()
            digest.update(repr((self.name(row), label)).encode("utf-8", "surrogatepass"))
            digest_image(digest, self.storage.get([int(self.rows[row])])[0])
        return digest.hexdigest()

    def _usual_workers(self, start: int) -> int:
        """The number of processes worth starting, by the size of a few images."""
        if not self.storage.encoded or start >= len(self):
            return 0
        sizes = []
        for row in {start, (start + len(self)) // 2, len(self) - 1}:
            try:
                height, width = read_header(self.storage.get([int(self.rows[row])])[0])[0]
            except BrokenImageError:
                continue
            sizes.append(height * width)
        return usual_workers(len(self) - start, sorted(sizes)[len(sizes) // 2] if sizes else 0)

    def _tasks(self, form: ImageForm, batch_size: int, start: int) -> Iterator[Task]:
        step = images_per_task(form)
        for first in range(start, len(self), batch_size):
            stop = min(first + batch_size, len(self))
            for begin in range(first, stop, step):
                rows = range(begin, min(begin + step, stop))
                yield Task(rows, self.storage.get([int(self.rows[row]) for row in rows]), form)

    def _broken(self, parts: Sequence[Decoded]) -> list[Broken]:
        return [Broken(row, self.place(row), reason) for part in parts for row, reason in part.broken]

    def _refusal(self, found: list[Broken], rest: Iterator[Decoded]) -> DataError:
        """The error for broken images; searches for more of them, so that all can be fixed at once."""
        while len(found) < MAX_LISTED:
            part = next(rest, None)
            if part is None:
                break
            found += self._broken([part])
        return DataError(refusal_of(found, self.source))


def refusal_of(broken: Sequence[Broken], source: str) -> str:
    """The message if images cannot be read and are not skipped.

    Examples
    --------
    >>> refusal_of([Broken(0, "a/x.png", "the image file is empty")], "a")
    'a/x.png: the image file is empty; remove or replace it, or leave such images out with --skip-broken'
    """
    advice = "or leave such images out with --skip-broken"
    if len(broken) == 1:
        return f"{broken[0]}; remove or replace it, {advice}"
    count = f"{len(broken)}" if len(broken) < MAX_LISTED else f"at least {len(broken)}"
    shown = "; ".join(map(str, broken[:MAX_LISTED]))
    return f"{source}: {count} images cannot be read: {shown}; remove or replace them, {advice}"


def skipped_note(broken: Sequence[Any], source: str) -> str:
    """The message about images that were skipped.

    Examples
    --------
    >>> skipped_note([Broken(0, "a/x.png", "the image file is empty")], "a")
    'a: 1 image could not be read and was left out: a/x.png: the image file is empty'
    """
    one = len(broken) == 1
    shown = "; ".join(map(str, broken[:MAX_LISTED]))
    more = f" and {len(broken) - MAX_LISTED} more" if len(broken) > MAX_LISTED else ""
    return (
        f"{source}: {len(broken)} image{'' if one else 's'} could not be read and "
        f"{'was' if one else 'were'} left out: {shown}{more}"
    )


def _times(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
