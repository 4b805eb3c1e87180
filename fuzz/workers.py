"""Processes that run cases: each is forked with everything imported, and another takes over where one dies."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from fuzz import guard
from fuzz.cases import Bench, Case
from fuzz.guard import ADDRESS_SPACE, Verdict
from fuzz.seeds import seed

SECONDS = 10.0
"""How long a case may take; a hang is ended by faulthandler, which leaves a traceback."""

MOST_GROWTH = 2 << 30
"""A worker with so much more address space than in the beginning makes way for a new one: with little of
`ADDRESS_SPACE` left, what is honest would fail too."""


def run_all(make: Callable[[int], Case], numbers: range, jobs: int, deadline: float) -> Iterator[tuple[int, Verdict]]:
    """Verdicts of the cases of these numbers, as they come, until the deadline (of `time.monotonic`)."""
    with selectors.DefaultSelector() as selector:
        for todo in (numbers[job::jobs] for job in range(jobs)):
            if todo:
                worker = Worker(make, todo, deadline)
                selector.register(worker.pipe, selectors.EVENT_READ, worker)
        while selector.get_map():
            for key, _ in selector.select(timeout=1.0):
                worker = key.data
                yield from worker.read()
                if worker.ended:
                    selector.unregister(worker.pipe)
                    following, crash = worker.finish()
                    if crash is not None:
                        yield crash
                    if following and time.monotonic() < deadline:
                        again = Worker(make, following, deadline)
                        selector.register(again.pipe, selectors.EVENT_READ, again)


def run_one(case: Case) -> Verdict:
    """The verdict of one case, run in a process of its own."""
    for kind in [case.kind, *(edit[2] for edit in case.edits if edit[0] == "splice")]:
        seed(kind)  # made here, not in the child, which is watched
    for _, verdict in run_all(lambda _: case, range(1), 1, time.monotonic() + 10 * SECONDS):
        return verdict
    return Verdict("crash", "no verdict")


class Worker:
    """A forked process that runs cases one after the other and says so through a pipe."""

    def __init__(self, make: Callable[[int], Case], todo: range, deadline: float) -> None:
        self.todo = todo
        self.bench = Bench()
        self.pipe, child = os.pipe()
        self._buffer = b""
        self._begun: int | None = None
        self._done = 0
        self.ended = False
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.pipe)
            status = 1
            try:
                _work(self.bench, make, todo, deadline, child)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(child)

    def read(self) -> Iterator[tuple[int, Verdict]]:
        """What it has said since."""
        piece = os.read(self.pipe, 1 << 16)
        if not piece:
            self.ended = True
            return
        *lines, self._buffer = (self._buffer + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if isinstance(said, int):
                self._begun = said
            else:
                yield self._begun or 0, Verdict(**said)
                self._begun, self._done = None, self._done + 1

    def finish(self) -> tuple[range, tuple[int, Verdict] | None]:
        """What is still to do, and the case that ended the process, if one did."""
        os.close(self.pipe)
        _, status = os.waitpid(self.process, 0)
        said = _tail(self.bench.base / "stderr") + _tail(self.bench.base / "log")
        self.bench.close()
        if self._begun is None:
            if status:
                print(f"a worker ended between cases ({status}): {said}", file=sys.stderr)
            return self.todo[self._done :] if self._done else range(0), None
        return self.todo[self._done + 1 :], (self._begun, _death(status, said))


def _work(bench: Bench, make: Callable[[int], Case], todo: range, deadline: float, pipe: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    native = os.open(bench.base / "stderr", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(native, 1)
    os.dup2(native, 2)
    guard.install()
    guard.faulthandler.enable()
    limit = guard.resident("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    gc.freeze()  # so that collecting looks at nothing but what cases made
    begun = guard.resident("VmSize")
    with open(bench.base / "log", "w") as log:
        guard.faulthandler.register(signal.SIGPROF, log, chain=True)  # then it ends the process, as it does by default
        for number in todo:
            if time.monotonic() > deadline or guard.resident("VmSize") > begun + MOST_GROWTH:
                return
            case = make(number)
            os.write(pipe, f"{number}\n".encode())
            verdict = bench.run(case, seconds=SECONDS, log=log, native=native)
            if os.fstat(native).st_size:
                os.ftruncate(native, 0)
            verdict.message = verdict.message[:2000]
            os.write(pipe, json.dumps(asdict(verdict)).encode() + b"\n")


def _death(status: int, said: str) -> Verdict:
    """The verdict on a case that ended its process."""
    frames = re.findall(r'File "[^"]*/(\w+/\w+\.py)", line (\d+) in (\w+)', said)
    own = [f"{file}:{line}" for file, line, _ in frames if (file.split("/")[0] not in ("fuzz",))]
    place = " < ".join(dict.fromkeys([*own[:1], *[one for one in own if _is_own(one)][:1]]))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return Verdict("hang", f"over {SECONDS:.0f} s of computing", place)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Verdict(f"crash {name}", said[:300], place)
    if "Timeout (" in said:
        return Verdict("hang", f"over {2 * SECONDS:.0f} s", place)
    return Verdict("crash", f"exit code {os.WEXITSTATUS(status)}: {said[-300:]}", place)


def _is_own(place: str) -> bool:
    return place.split("/")[0] in (
        "data",
        "models",
        "cli",
        "backbones",
        "engines",
        "nn",
        "linear",
        "solvers",
        "explain",
    )


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:20_000]
    except OSError:
        return ""
