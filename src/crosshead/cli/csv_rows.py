"""Rows of CSV, in files and on stdout: the one place where they are written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.cli.errors import tell
from crosshead.cli.output import TextTarget
from crosshead.escaping import for_csv, for_utf8


class _Lines:
    """Rows that end as lines of text do. Told that they end in both, Python's writer quotes either in a cell."""

    def __init__(self, stream: TextTarget) -> None:
        self._stream = stream

    def write(self, row: str, /) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


class CsvRows:
    """Writes columns as rows below a header. Floats have as many digits as tell them apart.

    With ``spreadsheet_safe``, text that a spreadsheet would run as a formula gets an apostrophe before it.
    """

    def __init__(self, stream: TextTarget, header: Sequence[str], *, spreadsheet_safe: bool) -> None:
        self._rows, self._safe, self._changed = csv.writer(_Lines(stream), lineterminator="\r\n"), spreadsheet_safe, 0
        self._rows.writerow(self._texts(header))

    def write(self, columns: Sequence[Sequence[Any] | NDArray[Any]], numbers: NDArray[Any] | None = None) -> None:
        """Write some rows: columns of equal length (n,), and then those of a matrix of floats (n, C)."""
        cells = map(self._cells, columns)
        if numbers is None:
            self._rows.writerows(zip(*cells, strict=True))
            return
        texts = numbers.astype(np.str_).tolist()
        self._rows.writerows([*row, *text] for *row, text in zip(*cells, texts, strict=True))

    def finish(self) -> None:
        """Say on stderr how many cells are not what the text was."""
        if self._changed:
            cells = "1 cell begins" if self._changed == 1 else f"{self._changed} cells begin"
            tell(
                "note",
                f"{cells} like a formula; an apostrophe was put first, so that no spreadsheet runs it "
                "(--no-spreadsheet-safe writes text as it is)",
            )

    def _cells(self, column: Sequence[Any] | NDArray[Any]) -> list[Any]:
        if not isinstance(column, np.ndarray):
            return self._texts(column)
        if column.dtype.kind == "f":
            return list(column.astype(np.str_).tolist())
        return self._texts(column.tolist())

    def _texts(self, values: Sequence[Any]) -> list[Any]:
        values = [for_utf8(value) if isinstance(value, str) else value for value in values]
        if not self._safe:
            return values
        safe = [for_csv(value) if isinstance(value, str) else value for value in values]
        self._changed += sum(new is not old for new, old in zip(safe, values, strict=True))
        return safe
