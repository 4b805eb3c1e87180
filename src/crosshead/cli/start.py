"""Where the program starts, before anything is imported that takes time; it prepares closed streams and signals.

Ctrl-C and SIGTERM end a command alike: it keeps what it can, and says so in one line. Before there is a command, and
after it, they end the process without a message.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

TERMINATED = 143  # 128 and the number of SIGTERM, as shells count
BEGUN_WITH = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Signals:
    """Turns the signals that ask the program to end into KeyboardInterrupt, and remembers a SIGTERM."""

    def __init__(self) -> None:
        self.terminated = False
        # One that was ignored before we came stays so: that is what `nohup` and a shell's `&` ask for.
        self._ours = [number for number, handler in BEGUN_WITH.items() if signal.getsignal(number) is handler]

    def end_at_once(self) -> None:
        """Leave them to the system."""
        for number in self._ours:
            signal.signal(number, signal.SIG_DFL)

    def interrupt(self) -> None:
        """Have them interrupt what is under way."""
        for number in self._ours:
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> NoReturn:
        self.terminated = self.terminated or number == signal.SIGTERM
        raise KeyboardInterrupt


def run() -> NoReturn:
    """The console script."""
    signals = Signals()
    signals.end_at_once()
    # No process that this one starts may import what lies in the working folder, which may be somebody else's data.
    os.environ["PYTHONSAFEPATH"] = "1"
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a class named in odd letters is no reason to fail
    from crosshead.cli.errors import DONE, FAILED, tell

    try:
        from crosshead.cli.main import main
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        tell("error", f"the command line needs {error.name}, which is not installed: pip install 'crosshead[cli]'")
        sys.exit(FAILED)

    try:
        signals.interrupt()
        code = _flushed(main())
        signals.end_at_once()
    except KeyboardInterrupt:  # between two lines of these
        code = FAILED
    sys.exit(TERMINATED if signals.terminated and code != DONE else code)


def _flushed(code: int) -> int:
    """The exit code once all output is written; what a full disk or a closed pipe does not take is told here."""
    from crosshead.cli.errors import DONE, answer_to, tell

    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at exit, and answer with a code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        failed, message = answer_to(error)
        if code == DONE:
            tell("error", message)
            return failed
    return code


def _open_closed_streams() -> None:
    """Where the caller closed a stream (`>&-`), what goes there is dropped, and no file of ours takes its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
