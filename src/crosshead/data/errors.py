"""The error of the data readers, and how they load optional packages."""

from __future__ import annotations

import importlib
from typing import Any

from crosshead.escaping import one_line


class DataError(ValueError):
    """Error for data that cannot be used; the message says in one line what is wrong, where, and what to do.

    Examples
    --------
    >>> raise DataError("flowers.csv: row 3 has no label")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: flowers.csv: row 3 has no label
    """

    def __init__(self, message: str):
        # Messages quote errors of other libraries and names from files, which may contain any characters.
        super().__init__(one_line(message))


def load_package(module: str, requirement: str, purpose: str) -> Any:
    """Import a module; if it is missing, DataError says what needs it and how to install it.

    Examples
    --------
    >>> load_package("no_module", "crosshead[tables]", "a table")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: a table needs no_module, which is not installed: pip install 'crosshead[tables]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("PIL", "Pillow")
        how = f"pip install '{requirement}'"
        raise DataError(f"{purpose} needs {package}, which is not installed: {how}") from error
