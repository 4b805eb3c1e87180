"""The parts of an explanation: steps, which consist of lines with a formula, its numbers and its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crosshead.explain.expression import Numbers, evaluate, with_numbers


@dataclass(frozen=True)
class Line:
    """One computation: ``value`` is ``expression`` evaluated at ``numbers``, in float64.

    ``marked`` is true for lines of the true class; ``note`` is a short comment on the line.

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
        """The expression with its numbers substituted."""
        return with_numbers(self.expression, self.numbers)

    @property
    def given(self) -> bool:
        """Whether the line is an input rather than a computation."""
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
    """One step of the computation from features to gradient.

    * ``key``: identifier, such as "scores" or "loss"; ``title``: heading
    * ``formula``: plain text, in which _ begins a subscript
    * ``lines``: the computations; ``total``: their sum, or None
    * ``meaning``: one or two sentences on the purpose of the step

    Examples
    --------
    >>> from crosshead.explain import explain
    >>> step = explain([3.2, 5.1, -1.7], 0, loss="hinge").step("loss")
    >>> step.formula, len(step.lines), round(step.result, 4)
    ('ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)', 2, 2.9)
    """

    key: str
    title: str
    formula: str
    lines: tuple[Line, ...]
    total: Line | None = None
    meaning: str = ""

    @property
    def result(self) -> float | tuple[float, ...]:
        """The total, or without one the value of every line."""
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
    """The sum of the values of lines, as a line."""
    return Line(label, "sum(terms)", {"terms": tuple(line.value for line in lines)}, note)
