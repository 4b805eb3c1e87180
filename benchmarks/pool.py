"""Fits in processes of their own, which are ended where they do not end themselves."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from fits import Record, Request, fit, from_elsewhere, stalled, unfinished

KILL_FACTOR, KILL_SECONDS = 2.0, 30.0  # a fit is ended after so many times its limit and so long beside
LEAST_SHARE = 0.05  # of a processor, that is expected where processor seconds count
MOST_RESTARTS = 4
ENDED = ("killed", "crashed")


@dataclass
class Worker:
    """A process with what it works on, and the record of a fit that it tries from elsewhere."""

    process: Any
    pipe: Connection
    request: Request | None = None
    until: float = 0.0
    stalled: Record | None = None

    def allow(self, fits: int) -> None:
        """Time for so many fits from now on."""
        assert self.request is not None
        share = LEAST_SHARE if self.request.clock == "cpu" else 1.0
        self.until = time.monotonic() + (fits * KILL_FACTOR * self.request.seconds + KILL_SECONDS) / share


def run(requests: Iterable[Request], jobs: int) -> Iterator[Record]:
    """Records in the order in which fits end. Whatever happens, no process is left."""
    todo, workers = iter(requests), [_started() for _ in range(jobs)]
    try:
        for worker in workers:
            _next(worker, todo)
        while any(worker.request for worker in workers):
            busy = [worker for worker in workers if worker.request]
            wait([worker.pipe for worker in busy], timeout=max(0.0, min(w.until for w in busy) - time.monotonic()))
            for place, worker in enumerate(workers):
                if worker.request is None:
                    continue
                record = _answer(worker)
                if record is None:
                    continue
                if record.status in ENDED or record.restart.endswith(ENDED):
                    _stop(worker)
                    worker = workers[place] = _started()
                _next(worker, todo)
                yield record
    finally:
        for worker in workers:
            _stop(worker)


def _started() -> Worker:
    context = multiprocessing.get_context("fork")  # at once, with all that is imported
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    return Worker(process, here)


def _serve(pipe: Connection) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # the parent decides what an interruption ends
    while True:
        try:
            request = pipe.recv()
            record = fit(request)
            pipe.send(record)
            if stalled(record, request):
                pipe.send(replace(record, restart=from_elsewhere(request)))
        except (EOFError, BrokenPipeError):
            return


def _next(worker: Worker, todo: Iterator[Request]) -> None:
    worker.request = next(todo, None)
    if worker.request is not None:
        worker.allow(fits=1)
        worker.pipe.send(worker.request)


def _answer(worker: Worker) -> Record | None:
    """The last record that comes of a request, or what stands for it; None where it may still come."""
    assert worker.request is not None
    ended = "killed" if time.monotonic() >= worker.until else ""
    try:
        if worker.pipe.poll():
            record: Record = worker.pipe.recv()
            if worker.stalled is None and stalled(record, worker.request):
                worker.stalled = record
                worker.allow(MOST_RESTARTS)
                return None
            worker.stalled = None
            return record
    except (EOFError, ConnectionResetError):
        ended = "crashed"
    if ended and worker.stalled is not None:
        return replace(worker.stalled, restart=f"nothing, {ended}")
    return unfinished(worker.request, ended) if ended else None


def _stop(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()
