"""What the command line answers when something is wrong: one line on stderr, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from crosshead.escaping import for_terminal, one_line

DONE, FAILED, WRONG_INPUT = 0, 1, 2

DEBUG_VARIABLE = "CROSSHEAD_DEBUG"

_UNREADABLE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class UsageError(ValueError):
    """The arguments or the data cannot be used as asked: one line that says what is wrong and what to do."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class WorkError(RuntimeError):
    """The work failed for a reason that is known: one line that says why and what to try."""


def tell(kind: str, message: str) -> None:
    """Print one line on stderr, as a terminal shows it safely; ``kind`` is error, warning or note."""
    print(f"crosshead: {kind}: {one_line(message)}", file=sys.stderr, flush=True)


def show_traceback(error: Exception) -> None:
    """Print on stderr where an error came from; its lines may quote names and other libraries."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(for_terminal(line), file=sys.stderr)


def answer_to(error: Exception) -> tuple[int, str]:
    """The exit code and the line for an error that reached the top.

    Examples
    --------
    >>> answer_to(UsageError("--alpha is -1: it must not be negative"))
    (2, '--alpha is -1: it must not be negative')
    """
    message = _mistake(error)
    if message is not None:
        return WRONG_INPUT, message
    if isinstance(error, WorkError):
        return FAILED, str(error)
    if isinstance(error, MemoryError):
        return FAILED, f"not enough memory ({error or 'the system gave no more'})"
    if isinstance(error, OSError) and error.strerror:
        return FAILED, _system_error(error)
    return FAILED, (
        f"unexpected {type(error).__name__}: {error}; set {DEBUG_VARIABLE}=1 to see where, and please report it"
    )


def _mistake(error: Exception) -> str | None:
    """The message of an error that a person can mend by other arguments or other data, else None."""
    from crosshead.data.errors import DataError
    from crosshead.models import ModelError

    if isinstance(error, UsageError | DataError | ModelError):
        return str(error)
    if isinstance(error, _UNREADABLE):
        return _system_error(error)
    describe = getattr(error, "format_message", None)  # what typer raises for wrong arguments
    return None if describe is None else f"{str(describe()).removesuffix('.')}{_where_help_is(error)}"


def _system_error(error: OSError) -> str:
    advice = "; free some space, or write elsewhere" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{place}{error.strerror}{advice}"


def _where_help_is(error: Exception) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    return "" if path is None else f"; see {path} --help"
