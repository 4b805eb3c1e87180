"""What `crosshead top-losses` says when it is done: a table, one JSON document, or a file of CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead.cli.commands.top_losses import TopLossesOptions
from crosshead.cli.destinations import text_file
from crosshead.cli.errors import tell
from crosshead.cli.output import CsvRows, percent, show_json, show_pairs, show_table, show_text


@dataclass(frozen=True)
class Listing:
    """A list of samples: what it says above the list, its columns by name, and further entries of its document."""

    key: str
    pairs: list[tuple[str, str]]
    columns: dict[str, list[Any]]
    facts: dict[str, Any]


def show(options: TopLossesOptions, listing: Listing, output: Path | None) -> None:
    """Print the list on stdout, or write it to a file."""
    if output is not None:
        with text_file(output) as stream:
            rows = CsvRows(stream, list(listing.columns), spreadsheet_safe=options.spreadsheet_safe)
            rows.write(list(listing.columns.values()))
            rows.finish()
    if options.as_json:
        names = [name.replace(" ", "_") for name in listing.columns]
        entries = [dict(zip(names, row, strict=True)) for row in zip(*listing.columns.values(), strict=True)]
        head = {"model": options.model, "source": options.source, "output": options.output}
        show_json({**head, **listing.facts, listing.key: entries})
        return
    if output is not None:
        tell("note", f"{len(next(iter(listing.columns.values())))} rows written to {options.output}")
        return
    show_pairs(listing.pairs)
    show_text()
    texts = [[_text(name, value) for value in values] for name, values in listing.columns.items()]
    show_table(list(listing.columns), [list(row) for row in zip(*texts, strict=True)])


def _text(column: str, value: Any) -> str:
    if column == "share":
        return percent(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
