"""Decoding in processes of its own, in order, with a bounded number of images in flight."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from crosshead.data.images.decoding import BrokenImageError, ImageForm, Picture, Pixels, decode

FEWEST_PIXELS = 1 << 28
"""Below so many pixels in all, the processes take longer to start than the decoding."""

SMALL_IMAGE = 1 << 18
"""An image of fewer pixels is decoded in less time than it takes to come back from another process."""

MOST_PROCESSES = 8
MOST_IMAGES_A_TASK = 16
BATCH_BYTES = 1 << 25
"""Of the pixels of a batch, which a network takes as numbers of four bytes: a model says their size and number."""

TASK_BYTES = 1 << 23
IDLE_SECONDS = 30


@dataclass(frozen=True)
class Task:
    """Some consecutive images, and what they are to become."""

    rows: Sequence[int]
    pictures: Sequence[Picture]
    form: ImageForm


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels (n, height, width, channels) of the images that could be read, their rows, and why others could not."""

    rows: list[int]
    pixels: Pixels
    broken: list[tuple[int, str]]


def images_a_task(form: ImageForm) -> int:
    """How many images one process decodes in one go: enough to be worth the way, few enough to fit in memory.

    Examples
    --------
    >>> images_a_task(ImageForm((224, 224), 3)), images_a_task(ImageForm((2000, 2000), 3))
    (16, 1)
    """
    height, width, channels = form.shape
    return max(1, min(MOST_IMAGES_A_TASK, TASK_BYTES // (height * width * channels)))


def images_a_batch(form: ImageForm, wanted: int) -> int:
    """How many images are held at a time: as many as wanted, or as many as fit in `BATCH_BYTES`.

    Examples
    --------
    >>> images_a_batch(ImageForm((224, 224), 3), 64), images_a_batch(ImageForm((2048, 2048), 3), 64)
    (64, 2)
    """
    height, width, channels = form.shape
    return max(1, min(wanted, BATCH_BYTES // (height * width * channels)))


def decode_task(task: Task) -> Decoded:
    """Decode each image of a task; what is broken is reported and never raised."""
    rows: list[int] = []
    pixels = np.empty((len(task.rows), *task.form.shape), dtype=np.uint8)
    broken: list[tuple[int, str]] = []
    for row, picture in zip(task.rows, task.pictures, strict=True):
        try:
            pixels[len(rows)] = decode(picture, task.form)
        except BrokenImageError as error:
            broken.append((row, str(error)))
        else:
            rows.append(row)
    return Decoded(rows, pixels[: len(rows)], broken)


def usual_workers(n_images: int, n_pixels: int) -> int:
    """How many processes are worth their start for images of about so many pixels each; 0 decodes in this one.

    Examples
    --------
    >>> usual_workers(1000000, 32 * 32), usual_workers(10, 4000 * 3000)
    (0, 0)
    """
    worth_it = n_pixels >= SMALL_IMAGE and n_images * n_pixels >= FEWEST_PIXELS
    return min(_cpus(), MOST_PROCESSES) if worth_it else 0


def _cpus() -> int:
    """The processors this process may use, where the system says; else all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(tasks: Iterator[Task], n_workers: int) -> Iterator[Decoded]:
    """The tasks' results in their order. At most three tasks a process wait, whatever the reader's pace.

    Raises ChildProcessError where a process is killed, as by a system that is short of memory.
    """
    if n_workers == 0:
        yield from map(decode_task, tasks)
        return
    pool = _pool(n_workers)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(decode_task, task))
            if len(waiting) >= 3 * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except _broken_pool() as error:
        _pool.cache_clear()
        said = "a process that decoded images was killed; was memory short? try --workers 0, which decodes in this one"
        raise ChildProcessError(errno.ECHILD, said) from error
    finally:
        for future in waiting:
            future.cancel()


def _broken_pool() -> type[Exception]:
    from concurrent.futures.process import BrokenProcessPool

    return BrokenProcessPool


@lru_cache(maxsize=1)
def _pool(n_workers: int) -> Any:
    """Processes that are kept for the next pass. Loky's need no `if __name__ == "__main__"` in a person's script."""
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(
        n_workers,
        timeout=IDLE_SECONDS,
        initializer=_start_worker,
        initargs=(os.getpid(),),
        env={"PYTHONSAFEPATH": "1"},  # a process must not import what lies in the working folder, which may be data
    )


atexit.register(_pool.cache_clear)  # while loky's module is whole, which the interpreter takes apart later


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end with it, also where it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
