"""A value that is computed beside other work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Value = TypeVar("Value")


def in_background(compute: Callable[[], Value]) -> Future[Value]:
    """The result of a call that begins now on a thread of its own; errors are raised where it is asked for.

    The thread is not waited for when the program ends.

    Example:
        >>> in_background(lambda: 6 * 7).result()
        42
    """
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future
