"""What must not happen while something is read: what is watched, and the verdict on it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

ALLOWED_GROWTH = 300 << 20
"""Bytes that reading may take whatever the size of the input, beside three times that size."""

ADDRESS_SPACE = 4 << 30
"""The second line: how much more a worker may ask of the system at all."""

ACCEPTED, REFUSED = "accepted", "refused"

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn")
_RUNS_CODE += ("pickle.find_class", "marshal.loads", "code.__new__", "socket.connect", "socket.bind", "webbrowser.open")
_RUNS_CODE += ("ftplib.connect", "urllib.Request", "os.fork", "os.forkpty", "os.kill")
_CHANGES_FILES = frozenset({"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"})
_CHANGES_FILES |= {"os.chmod", "os.chown", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
_HOSTILE_MODULES = ("/fuzz_canary.py", "/http/server.py", "/antigravity.py", "/this.py", "/pty.py")


@dataclass
class Verdict:
    """How a case ended: accepted, refused, or a kind of failure with a message; ``growth`` is in bytes."""

    outcome: str
    message: str = ""
    where: str = ""
    growth: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it is neither accepted nor refused."""
        return self.outcome not in (ACCEPTED, REFUSED)

    @property
    def signature(self) -> str:
        """What failures have in common that are the same defect: no numbers, no names."""
        import re

        text = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|[0-9.+-]+", "·", self.message)
        return f"{self.outcome} {self.where} {text[:60] if not self.where else ''}".strip()


@dataclass
class Watch:
    """What the audit hook has seen while it was switched on."""

    active: bool = False
    folder: str = ""
    seen: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note events that run code or touch what is none of the case's business."""
        if not self.active:
            return
        if event == "open":
            self._opened(arguments)
        elif event == "exec":  # what importlib imports raises no event called import
            file = getattr(arguments[0], "co_filename", "")
            if file.startswith(f"{self.folder}/") or file.endswith(_HOSTILE_MODULES):
                self.seen.append(f"code: import {file}")
        elif event in _CHANGES_FILES:
            self._changed(event, arguments)
        elif event == "ctypes.dlopen":  # libraries of packages are opened late; those of a case's folder never
            if isinstance(arguments[0], str | bytes) and self._inside(os.path.abspath(os.fsdecode(arguments[0]))):
                self.seen.append(f"code: library {os.fsdecode(arguments[0])}")
        elif event.startswith(_RUNS_CODE) and not self._by_import(event):
            self.seen.append(f"code: {event} {str(arguments)[:100]}")

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        if isinstance(path, int):
            return
        place = os.path.abspath(os.fsdecode(path))
        if place.endswith("/secret.csv"):
            self.seen.append("outside: read a file outside the folder")
        writes = bool(flags & _WRITING) if isinstance(flags, int) else bool(mode and set(mode) & set("wax+"))
        if writes and not self._inside(place):
            self.seen.append(f"outside: open {place} for writing")

    def _changed(self, event: str, arguments: tuple[Any, ...]) -> None:
        for path in arguments[:2]:
            if isinstance(path, str | bytes) and not self._inside(os.path.abspath(os.fsdecode(path))):
                self.seen.append(f"outside: {event} {os.fsdecode(path)}")

    def _inside(self, place: str) -> bool:
        return place.startswith((f"{self.folder}/", "/dev/null")) or place == self.folder

    def _by_import(self, event: str) -> bool:
        """Whether it is the bytecode of a module that is imported."""
        if event not in ("marshal.loads", "code.__new__"):
            return False
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            following = frame.f_back
            if following is None:
                return False
            frame = following
        return False


WATCH = Watch()
_installed: list[bool] = []


def install() -> None:
    """Add the audit hook, once a process; it stays for good."""
    if not _installed:
        sys.addaudithook(WATCH.hook)
        _installed.append(True)


@contextlib.contextmanager
def _time_limit(seconds: float, log: TextIO | None) -> Iterator[None]:
    """End the process with a traceback in the log after so many seconds of computing, or twice as many in all.

    Nothing milder ends a loop in C. Computing is counted apart, so that a busy machine makes no failures.
    """
    if log is None:
        yield
        return
    faulthandler.dump_traceback_later(2 * seconds, exit=True, file=log)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def resident(what: str) -> int:
    """VmRSS, VmHWM or VmSize of this process in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith(what)]
    return int(found[0].split()[1]) << 10 if found else 0


def reset_peak() -> None:
    """Let VmHWM begin again at what is resident now."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")


def judge(
    run: Callable[[], str | None],
    folder: Path,
    honest_size: int,
    *,
    seconds: float = 10.0,
    log: TextIO | None = None,
    native_stderr: int | None = None,
) -> Verdict:
    """Run a target in a folder and say how it went; ``run`` returns what a command refused with, or None."""
    import time

    from crosshead.cli.errors import UsageError
    from crosshead.data.errors import DataError
    from crosshead.models import ModelError

    WATCH.folder, WATCH.seen = str(folder), []
    before = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    reset_peak()
    base = resident("VmRSS")
    began = time.monotonic()
    error: BaseException | None = None
    refusal: str | None = None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        WATCH.active = True
        try:
            with _time_limit(seconds, log):
                refusal = run()
        except (DataError, ModelError, UsageError) as known:
            refusal = str(known)
        except (Exception, SystemExit) as other:
            error = other
        finally:
            gc.collect()  # what was left open is told now, not in the next case
            gc.freeze()  # and what remains is not looked at again
            WATCH.active = False
    verdict = Verdict(ACCEPTED if refusal is None else REFUSED, refusal or "")
    verdict.seconds = time.monotonic() - began
    verdict.growth = max(resident("VmHWM") - base, 0)
    fault = _fault(verdict, error, warned, folder, before, honest_size, native_stderr)
    if fault is not None:
        verdict.outcome, verdict.message, verdict.where = fault
    return verdict


def _fault(
    verdict: Verdict,
    error: BaseException | None,
    warned: list[warnings.WarningMessage],
    folder: Path,
    before: set[str],
    honest_size: int,
    native_stderr: int | None,
) -> tuple[str, str, str] | None:
    """The worst that happened, if anything did: kind, message, place."""
    if WATCH.seen:
        kind, _, what = WATCH.seen[0].partition(": ")
        return kind, what, ""
    if error is not None:
        place = "" if isinstance(error, BrokenPromiseError) else _place(error)
        return f"exception {type(error).__name__}", str(error)[:300], place
    if verdict.growth > ALLOWED_GROWTH + 3 * honest_size:
        return "memory", f"{verdict.growth >> 20} MB for {honest_size >> 10} kB ({verdict.message[:150]})", ""
    if warned:
        one = warned[0]
        return f"warning {one.category.__name__}", str(one.message)[:200], f"{Path(one.filename).name}:{one.lineno}"
    if verdict.outcome == REFUSED and ("\n" in verdict.message or not verdict.message.strip()):
        return "not one line", verdict.message[:200], ""
    if verdict.outcome == REFUSED:
        left = sorted({str(path.relative_to(folder)) for path in folder.rglob("*")} - before)
        left = [name for name in left if not name.startswith(".cache")]
        if left:
            return "litter", f"left behind: {', '.join(left)[:200]}", ""
    if native_stderr is not None:
        said = os.pread(native_stderr, 400, 0)
        if said and not any(
            mark in said for mark in (b"TIFF", b"tempfile.tif", b"LZWDecode")
        ):  # Pillow has no switch for libtiff's messages
            return "native message", said.decode("utf-8", "replace"), ""
    return None


def _place(error: BaseException) -> str:
    """The last line of crosshead's own code in a traceback, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/crosshead/" in frame.filename]
    chosen = own[-1:] + frames[-1:]
    return " < ".join(
        dict.fromkeys(
            f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}" for frame in chosen
        )
    )


class BrokenPromiseError(Exception):
    """A command did not keep its promise: exit code 0, 1 or 2, and one line for a refusal."""


def command(arguments: list[str]) -> str | None:
    """Run a command line in this process; returns the line of a refusal, None where it was done."""
    from crosshead.cli import main as program

    out, err = io.StringIO(), io.StringIO()
    before, answer = program._show_warning, program.answer_to
    shown: list[str] = []
    raised: list[Exception] = []

    def remembered(error: Exception) -> tuple[int, str]:
        raised.append(error)
        return answer(error)

    def show(message: Warning | str, category: type[Warning] = Warning, *rest: Any, **named: Any) -> None:
        if category in (RuntimeWarning, DeprecationWarning, FutureWarning, PendingDeprecationWarning, ResourceWarning):
            shown.append(f"{category.__name__}: {message} ({rest[:2]})")
        before(message)

    program._show_warning, program.answer_to = show, remembered
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = program.main(arguments)
    finally:
        program._show_warning, program.answer_to = before, answer
    said = err.getvalue()
    if raised and (("unexpected " in said and "please report" in said) or "not enough memory" in said):
        raise raised[0]
    if shown:
        raise BrokenPromiseError(f"warning shown: {shown[0]}")
    return checked_command(arguments, code, out.getvalue(), said)


def checked_command(arguments: list[str], code: int, out: str, err: str) -> str | None:
    """Hold what a command printed against what is promised; returns the line of its refusal."""
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("crosshead: error: ")]
    name = arguments[0]
    if code not in (0, 1, 2):
        raise BrokenPromiseError(f"{name}: exit code {code}: {err[-300:]}")
    if "unexpected " in err and "please report" in err:
        raise BrokenPromiseError(f"{name}: {errors[-1] if errors else err[-300:]}")
    if "not enough memory" in err or "Traceback" in err:
        raise BrokenPromiseError(f"{name}: {err[-300:]}")
    if any(not line.startswith(("crosshead: error: ", "crosshead: warning: ", "crosshead: note: ")) for line in lines):
        raise BrokenPromiseError(f"{name}: more than one line: {err[:300]!r}")
    if code == 2 and len(errors) != 1:
        raise BrokenPromiseError(f"{name}: exit code 2 with {len(errors)} errors: {err[:300]!r}")
    if code == 0 and errors:
        raise BrokenPromiseError(f"{name}: exit code 0 with an error: {errors[0]}")
    hostile = [mark for mark in err if (mark < " " and mark != "\n") or mark in "\x7f\x85\u2028\u2029\u202e"]
    if hostile:
        raise BrokenPromiseError(f"{name}: control characters on stderr: {hostile[:5]!r} in {err[:200]!r}")
    return None if code == 0 else (errors[0].removeprefix("crosshead: error: ") if errors else f"exit code {code}")
