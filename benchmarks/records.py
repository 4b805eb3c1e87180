"""The rows of measurements.csv: written one by one, so that an interrupted run goes on where it was."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

NAN = float("nan")
TOO_LONG = "did not finish"


@dataclass(frozen=True)
class Row:
    """One fit, or (with ``note`` alone) why there is none."""

    workload: str
    solver: str
    knob: str = ""
    budget: float = NAN
    repeat: int = 0
    seconds: float = NAN
    objective: float = NAN
    relative_suboptimality: float = NAN
    peak_memory_mb: float = NAN
    own_gap: float = NAN
    dtype: str = ""
    threads: int = 0
    version: str = ""
    words: str = ""
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether there were no weights."""
        return self.seconds != self.seconds

    @property
    def worth_another_try(self) -> bool:
        """Whether it failed for a reason that may be gone in the next run; one that took too long will again."""
        return self.note.startswith("failed: ") and TOO_LONG not in self.note


def _parse(entry: dict[str, str]) -> Row:
    kinds = {"float": lambda text: float(text) if text else NAN, "int": lambda text: int(text or 0), "str": str}
    return Row(**{field.name: kinds[str(field.type)](entry.get(field.name) or "") for field in fields(Row)})


def _format(row: Row) -> dict[str, object]:
    return {key: "" if value != value else value for key, value in asdict(row).items()}


class Records:
    """All rows of a results folder."""

    def __init__(self, results: Path) -> None:
        self.path = results / "measurements.csv"
        self._rows: list[Row] = []
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = [_parse(entry) for entry in csv.DictReader(file)]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def of(self, workload: str, solver: str) -> list[Row]:
        """The rows of one solver on one workload."""
        return [row for row in self._rows if (row.workload, row.solver) == (workload, solver)]

    def add(self, row: Row) -> None:
        """Append a row to the file."""
        new = not self.path.is_file()
        self._rows.append(row)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            if new:
                writer.writeheader()
            writer.writerow(_format(row))

    def drop(self, unwanted: Callable[[Row], bool]) -> int:
        """Remove rows, to run them again; how many there were."""
        kept = [row for row in self._rows if not unwanted(row)]
        dropped, self._rows = len(self._rows) - len(kept), kept
        if dropped:
            temporary = self.path.with_suffix(".tmp")
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [field.name for field in fields(Row)])
                writer.writeheader()
                writer.writerows(_format(row) for row in kept)
            temporary.replace(self.path)
        return dropped
