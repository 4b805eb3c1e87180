"""Write the table of methods, from `crosshead.solvers.plan`, into docs/explanation/solvers.md."""

from __future__ import annotations

from pathlib import Path

from crosshead.solvers.plan import TABLE

DOCUMENT = Path(__file__).parents[1] / "docs" / "explanation" / "solvers.md"
BEGIN, END = "<!-- table of methods: tools/solvers_table.py writes it -->", "<!-- end of the table -->"


def table() -> str:
    """The table in Markdown."""
    lines = ["| objective | methods, one after the other | why |", "|---|---|---|"]
    lines += [f"| {row.when} | {row.methods} | {row.why} |" for row in TABLE]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """A document's text with the table between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
