"""Decode images in worker processes, in order, with a bounded number of images in memory."""

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

from crosshead.data.images.decoding import BrokenImageError, EncodedImage, ImageForm, Pixels, decode

FEWEST_PIXELS = 1 << 28
"""With fewer pixels in total, starting processes takes longer than decoding."""

SMALL_IMAGE = 1 << 18
"""Smaller images are decoded faster than they are transferred between processes."""

MAX_PROCESSES = 8
MAX_IMAGES_A_TASK = 16
BATCH_BYTES = 1 << 25
"""Limit of a batch as float32 numbers of a network; a model determines its size."""

TASK_BYTES = 1 << 23
IDLE_SECONDS = 30


@dataclass(frozen=True)
class Task:
    """Some consecutive images, and the form to convert them to."""

    rows: Sequence[int]
    images: Sequence[EncodedImage]
    form: ImageForm


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels (n, height, width, channels) of the images that could be read, their rows, and the errors of others."""

    rows: list[int]
    pixels: Pixels
    broken: list[tuple[int, str]]


def images_per_task(form: ImageForm) -> int:
    """The number of images per task: enough to amortise the transfer, few enough to fit in memory.

    Examples
    --------
    >>> images_per_task(ImageForm((224, 224), 3)), images_per_task(ImageForm((2000, 2000), 3))
    (16, 1)
    """
    height, width, channels = form.shape
    return max(1, min(MAX_IMAGES_A_TASK, TASK_BYTES // (height * width * channels)))


def images_per_batch(form: ImageForm, wanted: int) -> int:
    """The number of images in a batch: as many as wanted, or as fit in `BATCH_BYTES`.

    Examples
    --------
    >>> images_per_batch(ImageForm((224, 224), 3), 64), images_per_batch(ImageForm((2048, 2048), 3), 64)
    (64, 2)
    """
    height, width, channels = form.shape
    return max(1, min(wanted, BATCH_BYTES // (height * width * channels)))


def decode_task(task: Task) -> Decoded:
    """Decode the images of a task; broken ones are reported, not raised."""
    rows: list[int] = []
    pixels = np.empty((len(task.rows), *task.form.shape), dtype=np.uint8)
    broken: list[tuple[int, str]] = []
    for row, encoded in zip(task.rows, task.images, strict=True):
        try:
            pixels[len(rows)] = decode(encoded, task.form)
        except BrokenImageError as error:
            broken.append((row, str(error)))
        else:
            rows.append(row)
    return Decoded(rows, pixels[: len(rows)], broken)


def usual_workers(n_images: int, n_pixels: int) -> int:
    """The number of processes worth starting for images of about ``n_pixels`` pixels each; 0 decodes in this one.

    Examples
    --------
    >>> usual_workers(1000000, 32 * 32), usual_workers(10, 4000 * 3000)
    (0, 0)
    """
    worth_it = n_pixels >= SMALL_IMAGE and n_images * n_pixels >= FEWEST_PIXELS
    return min(_cpus(), MAX_PROCESSES) if worth_it else 0


def _cpus() -> int:
    """The number of processors this process may use, if known; else all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(tasks: Iterator[Task], n_workers: int) -> Iterator[Decoded]:
    """Yield the results of tasks in order. At most three tasks per process are pending.

    Raises ChildProcessError if a process is killed, as by a system that is short of memory.
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
    """Worker processes, reused by later calls. Loky needs no `if __name__ == "__main__"` in scripts."""
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(
        n_workers,
        timeout=IDLE_SECONDS,
        initializer=_start_worker,
        initargs=(os.getpid(),),
        env={"PYTHONSAFEPATH": "1"},  # workers must not import modules from the working folder, which may be data
    )


atexit.register(_pool.cache_clear)  # before the interpreter unloads loky at its end


def _start_worker(parent: int) -> None:
    """Ignore Ctrl-C, which the parent handles, and end with the parent, also if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
