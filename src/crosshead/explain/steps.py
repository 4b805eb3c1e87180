"""What an explanation is made of: steps, each of lines whose formula, numbers and result belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crosshead.explain.expression import Numbers, evaluate, with_numbers


@dataclass(frozen=True)
class Line:
    """One computation: ``value`` is ``expression`` at ``numbers``, in float64.

    ``marked`` lines are those of the true class; ``note`` says in a few words what the line does.

    Examples
    --------
    >>> line = Line("class 1", "max(0, z - y + margin)", {"z": 5.1, "y": 3.2, "margin": 1.0})
    >>> line.arithmetic, round(line.value, 6)
    ('max(0, 5.1 − 3.2 + 1)', 2.9)
    """

    label: str
    expression: str
    numbers: Numbers
    note: str = ""
    marked: bool = False
    value: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", evaluate(self.expression, self.numbers))

    @property
    def arithmetic(self) -> str:
        """The expression with its numbers in place."""
        return with_numbers(self.expression, self.numbers)

    @property
    def given(self) -> bool:
        """Whether the line states a number rather than computes one."""
        return self.expression.isidentifier()

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        inputs = {name: list(value) if isinstance(value, tuple) else value for name, value in self.numbers.items()}
        return {
            "label": self.label,
            "expression": self.expression,
            "inputs": inputs,
            "arithmetic": self.arithmetic,
            "value": self.value,
            "note": self.note,
            "target": self.marked,
        }


@dataclass(frozen=True)
class Step:
    """One step of the way from features to gradient.

    * ``key``: its name for programs, such as "scores" or "loss"; ``title``: for people
    * ``formula``: in plain text, where _ begins a subscript
    * ``lines``: the computations; ``total``: what they add up to, where they do
    * ``meaning``: one or two sentences on what the step is for
    """

    key: str
    title: str
    formula: str
    lines: tuple[Line, ...]
    total: Line | None = None
    meaning: str = ""

    @property
    def result(self) -> float | tuple[float, ...]:
        """The total, or where there is none the value of every line."""
        return tuple(line.value for line in self.lines) if self.total is None else self.total.value

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        return {
            "key": self.key,
            "title": self.title,
            "formula": self.formula,
            "meaning": self.meaning,
            "lines": [line.to_dict() for line in self.lines],
            "total": None if self.total is None else self.total.to_dict(),
        }


def total_of(label: str, lines: Sequence[Line], note: str = "") -> Line:
    """The sum of the lines' values, as a line."""
    return Line(label, "sum(terms)", {"terms": tuple(line.value for line in lines)}, note)
