"""Results as a person reads them on stdout, and as a program does."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

LOSS_TITLES = {"softmax": "cross-entropy", "binary": "binary cross-entropy"}
"""The losses measured in nats; any other is shown under its own name."""


def show_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document; numbers that are not finite are null."""
    from crosshead.models.document import plain

    print(json.dumps(plain(document), ensure_ascii=False, allow_nan=False, indent=2))


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns, wrapped to the terminal where stdout is one."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in pair_lines(pairs, columns):
        print(line)


def pair_lines(pairs: Sequence[tuple[str, str]], columns: int | None) -> list[str]:
    """The lines of `show_pairs`; ``columns`` None does not wrap.

    Examples
    --------
    >>> pair_lines([("rows", "1437 train, 360 test"), ("classes", "10")], 22)
    ['rows     1437 train,', '         360 test', 'classes  10']
    """
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
    from rich.cells import cell_len

    table = [header, *rows]
    widths = [max(cell_len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        padding = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
        numbers = [space + cell for space, cell in zip(padding[1:], row[1:], strict=True)]
        print("  ".join([row[0] + padding[0], *numbers]))


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
