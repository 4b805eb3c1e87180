"""The same cases as real processes: `python -m crosshead …` in the case's folder, which is what a person runs."""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz import edits as editing
from fuzz import seeds, targets
from fuzz.cases import Bench, Case
from fuzz.guard import ACCEPTED, ADDRESS_SPACE, ALLOWED_GROWTH, REFUSED, BrokenPromiseError, Verdict, checked_command

SECONDS = 60.0


def run_all(make: Callable[[int], Case], numbers: range, jobs: int, deadline: float) -> Iterator[tuple[int, Verdict]]:
    """Verdicts of the cases of these numbers, as they come, until the deadline (of `time.monotonic`)."""
    with ThreadPoolExecutor(jobs) as pool:
        for first in range(0, len(numbers), 4 * jobs):
            if time.monotonic() > deadline:
                return
            chosen = numbers[first : first + 4 * jobs]
            made = [make(number) for number in chosen]
            yield from zip(chosen, pool.map(run_one, made), strict=True)


def run_one(case: Case) -> Verdict:
    """The verdict of one case, run as a process of its own."""
    began = time.monotonic()
    status, out, err, peak, size, executed = _run(case)
    verdict = Verdict(ACCEPTED, seconds=time.monotonic() - began)
    verdict.growth = max(
        peak - _honest_peak(case.kind in seeds.TORCH_KINDS, case.seed.group, case.options["arguments"][0]), 0
    )
    if executed:
        verdict.outcome, verdict.message = "code", "the module in the working folder was imported"
    elif status is None:
        verdict.outcome, verdict.message = "hang", f"over {SECONDS:.0f} s"
    elif os.WIFSIGNALED(status):
        verdict.outcome, verdict.message = f"crash signal {os.WTERMSIG(status)}", err[-300:]
    else:
        try:
            refusal = checked_command(case.options["arguments"], os.WEXITSTATUS(status), out, err)
        except BrokenPromiseError as fault:
            verdict.outcome, verdict.message = "exception BrokenPromiseError", str(fault)[:400]
            return verdict
        if refusal is not None:
            verdict.outcome, verdict.message = REFUSED, refusal
        if verdict.growth > ALLOWED_GROWTH + 3 * size:
            verdict.message = f"{verdict.growth >> 20} MB for {size >> 10} kB ({verdict.message[:150]})"
            verdict.outcome = "memory"
    return verdict


@functools.cache
def _honest_peak(with_torch: bool, group: str, name: str) -> int:
    """What the command takes of honest files of such a kind, in bytes: mostly its libraries, PyTorch among them."""
    for kind in seeds.kinds():
        if (kind in seeds.TORCH_KINDS) == with_torch and seeds.seed(kind).group == group:
            for line in targets.command_lines(seeds.seed(kind)):
                if line[0] == name:
                    return _run(Case(kind, "command", {"arguments": line}))[3]
    return 0


def _run(case: Case) -> tuple[int | None, str, str, int, int, bool]:
    """Exit status, what was printed, peak in bytes, size of the files, and whether the module was imported."""
    bench = Bench()
    try:
        with bench.laid_down(case, change_folder=False) as files:
            out, err = bench.base / "out.txt", bench.base / "stderr"
            environment = {**os.environ, "CROSSHEAD_CACHE": str(bench.folder / ".cache"), "TMPDIR": str(bench.folder)}
            environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "default"}
            with out.open("wb") as out_stream, err.open("wb") as err_stream:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "crosshead", *case.options["arguments"]],
                    cwd=bench.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out_stream,
                    stderr=err_stream,
                    preexec_fn=_limit,
                )
            status, peak = _wait(process.pid)
            process.returncode = 0
            said = [path.read_bytes().decode("utf-8", "replace") for path in (out, err)]
            executed = (bench.folder / "EXECUTED").exists()
            size = max(editing.size(case.seed.files), editing.size(files))
            return status, said[0], said[1], peak, size, executed
    finally:
        bench.close()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 * ADDRESS_SPACE, 4 * ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def _wait(process: int) -> tuple[int | None, int]:
    """Exit status, None where the time is up, and the peak of resident memory in bytes."""
    until, peak = time.monotonic() + SECONDS, 0
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status, peak
        # ru_maxrss would count this process's own memory, of which the child was a copy before it became a command.
        peak = max(peak, _peak_of(process))
        if time.monotonic() > until:
            os.kill(process, 9)
            os.waitpid(process, 0)
            return None, peak
        time.sleep(0.005)


def _peak_of(process: int) -> int:
    """A running process's VmHWM in bytes, 0 before it runs its command and once it has ended."""
    try:
        if _command_of(process) == _command_of(os.getpid()):
            return 0
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
