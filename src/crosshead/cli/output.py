"""Results as a person reads them on stdout, and as a program does: text, tables, JSON, and rows of CSV anywhere.

All that a command prints on stdout goes through here, and whatever its texts hold, a terminal is not controlled by it.
Loads nothing heavy, for `crosshead --help` prints too.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from crosshead.cli.errors import tell
from crosshead.escaping import display_width, for_csv, for_json, for_terminal, for_utf8

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosshead.evaluation import Evaluation

LOSS_TITLES = {"softmax": "cross-entropy", "binary": "binary cross-entropy"}
"""The losses measured in nats; any other is shown under its own name."""


class TextTarget(Protocol):
    """Takes text."""

    def write(self, text: str, /) -> int: ...  # noqa: D102


def show_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document; numbers that are not finite are null."""
    from crosshead.models.json_document import plain

    print(json_text(plain(document), indent=2))


def json_text(document: Any, indent: int | None = None) -> str:
    r"""The document in JSON, in which characters that control a terminal have escapes.

    Examples
    --------
    >>> print(json_text({"class": "caf\xe9\u202e"}))
    {"class": "café\u202e"}
    """
    return for_json(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent))


def show_text(text: str = "") -> None:
    """Print a text of one line or several; what ends a line within a name must have been escaped before."""
    print("\n".join(map(for_terminal, text.split("\n"))))


def stdout_is_terminal() -> bool:
    """Whether a person reads what is printed on stdout."""
    return sys.stdout.isatty()


def json_stream() -> TextIO:
    """Where a JSON document goes that is printed part by part, each made by `json_text`."""
    return sys.stdout


def csv_stream() -> TextTarget:
    """Where rows of CSV go: to a file or a program as they are, to a terminal without what controls it."""
    return _TerminalRows() if stdout_is_terminal() else sys.stdout


class _TerminalRows:
    """Takes rows of CSV, one with each call, and prints each in one line."""

    def write(self, row: str, /) -> int:
        show_text(for_terminal(row.removesuffix("\n")))
        return len(row)


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns, wrapped to the terminal where stdout is one."""
    columns = shutil.get_terminal_size().columns if stdout_is_terminal() else None
    for line in pair_lines(pairs, columns):
        show_text(line)


def pair_lines(pairs: Sequence[tuple[str, str]], columns: int | None) -> list[str]:
    """The lines of `show_pairs`, with line breaks and control characters escaped; ``columns`` None does not wrap.

    Examples
    --------
    >>> pair_lines([("rows", "1437 train, 360 test"), ("classes", "10")], 22)
    ['rows     1437 train,', '         360 test', 'classes  10']
    """
    pairs = [(for_terminal(name), for_terminal(value)) for name, value in pairs]
    indent = max(len(name) for name, _ in pairs) + 2
    lines = []
    for name, value in pairs:
        line = f"{name:<{indent}}{value}"
        if columns is None or len(line) <= columns:
            lines.append(line)
        else:
            room = max(columns, indent + 12)
            lines += textwrap.wrap(line, room, subsequent_indent=" " * indent, break_on_hyphens=False)
    return lines


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose others are numbers."""
    table = [[for_terminal(cell) for cell in row] for row in (header, *rows)]
    widths = [max(display_width(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        padding = [" " * (width - display_width(cell)) for width, cell in zip(widths, row, strict=True)]
        numbers = [space + cell for space, cell in zip(padding[1:], row[1:], strict=True)]
        show_text("  ".join([row[0] + padding[0], *numbers]))


def loss_title(loss: str, parameters: Mapping[str, Any] | None = None) -> str:
    """What the mean loss is called, with its parameters.

    Examples
    --------
    >>> loss_title("softmax"), loss_title("squared_hinge")
    ('cross-entropy', 'squared hinge loss')
    >>> loss_title("hinge", {"margin": 2.0})
    'hinge loss (margin 2)'
    """
    title = LOSS_TITLES.get(loss, f"{loss.replace('_', ' ').removesuffix(' loss')} loss")
    return loss_words(title, parameters or {})


def percent(share: float) -> str:
    """A share as a percentage.

    Examples
    --------
    >>> percent(0.0741)
    '7.41 %'
    """
    return f"{100 * share:.2f} %"


def loss_words(loss: str, parameters: Mapping[str, Any]) -> str:
    """The name of a loss, and its parameters.

    Examples
    --------
    >>> loss_words("softmax", {}), loss_words("hinge", {"margin": 2.0})
    ('softmax', 'hinge (margin 2)')
    """
    told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in parameters.items())
    return f"{loss} ({told})" if told else loss


def warn_of_infinite_loss(found: Evaluation, row_name: Callable[[int], str]) -> None:
    """Say on stderr where a cross-entropy is infinite, and why."""
    if found.first_impossible is not None:
        rows = f"{found.impossible} rows give" if found.impossible > 1 else "1 row gives"
        name = row_name(found.first_impossible)
        tell("warning", f"the cross-entropy is infinite: {rows} the true class probability 0, first row {name}")


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
        texts = numbers.astype(str).tolist()
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
        if isinstance(column, Sequence):
            return self._texts(column)
        if column.dtype.kind == "f":
            return list(column.astype(str).tolist())
        return self._texts(column.tolist())

    def _texts(self, values: Sequence[Any]) -> list[Any]:
        values = [for_utf8(value) if isinstance(value, str) else value for value in values]
        if not self._safe:
            return values
        safe = [for_csv(value) if isinstance(value, str) else value for value in values]
        self._changed += sum(new is not old for new, old in zip(safe, values, strict=True))
        return safe
