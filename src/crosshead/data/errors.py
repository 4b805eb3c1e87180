"""The one error of the data readers, and the one way they load an optional package."""

from __future__ import annotations

import importlib
from typing import Any

from crosshead.escaping import one_line


class DataError(ValueError):
    """The data cannot be used: one line that says what is wrong, where, and what to do.

    Examples
    --------
    >>> raise DataError("flowers.csv: row 3 has no label")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: flowers.csv: row 3 has no label
    """

    def __init__(self, message: str):
        # Messages quote other libraries' errors and names out of files, which may hold anything.
        super().__init__(one_line(message))


def load_package(module: str, package: str, purpose: str) -> Any:
    """Import `module` now; where it is missing, say which package to install and what for.

    Examples
    --------
    >>> load_package("no_such_module", "no-package", "reading dreams")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    crosshead.data.errors.DataError: reading dreams needs no-package: pip install no-package
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{purpose} needs {package}: pip install {package}") from error
