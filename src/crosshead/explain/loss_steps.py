"""What each loss brings to an explanation: its steps, its gradient line by line, its charge were another class true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import e

from crosshead.explain.expression import shown
from crosshead.explain.sample import Case
from crosshead.explain.steps import Line, Step


@dataclass(frozen=True)
class Lesson:
    """How a loss on scores is taught.

    * ``steps``: from the scores to the loss; the last one's total is the loss
    * ``gradient``: the lines of ∂ℓ/∂z and their formula
    * ``charge``: the loss were a given class the true one, as a line; None where that has no meaning
    * ``unit``: "nats" where the loss is a logarithm, else ""
    """

    steps: Callable[[Case], list[Step]]
    gradient: Callable[[Case], Step]
    charge: Callable[[Case, int], Line]
    unit: str = ""


def class_lines(case: Case, line: Callable[[int], Line]) -> tuple[Line, ...]:
    """One line for each column that is shown."""
    return tuple(line(column) for column in case.shown)


def selection(case: Case) -> str:
    """A sentence where not all classes have a line."""
    if not case.hidden:
        return ""
    return f" Lines for {len(case.shown)} of {len(case.scores)} classes; sums run over all of them."


def logarithm(base: float) -> str:
    """The expression of the logarithm of ``p`` to a base.

    Examples
    --------
    >>> logarithm(e), logarithm(2), logarithm(3)
    ('ln(p)', 'log2(p)', 'ln(p) / ln(base)')
    """
    return {e: "ln(p)", 2: "log2(p)", 10: "log10(p)"}.get(base, "ln(p) / ln(base)")


def unit_of(base: float) -> str:
    """What a logarithm to this base is measured in."""
    return {e: "nats", 2: "bits", 10: "bans"}.get(base, f"units of log base {shown(base)}")


def converted(step_key: str, value: float, base: float) -> Step:
    """The step from nats to another unit."""
    line = Line(unit_of(base), "loss / ln(base)", {"loss": value, "base": float(base)})
    return Step(
        step_key,
        f"The loss in {unit_of(base)}",
        f"loss / ln {shown(base)}",
        (),
        line,
        f"A logarithm to base {shown(base)} is the natural one divided by ln {shown(base)}.",
    )


def in_base(line: Line, base: float) -> Line:
    """A line of a loss in nats, in units of another logarithm."""
    if base == e:
        return line
    return replace(line, expression=f"({line.expression}) / ln(base)", numbers={**line.numbers, "base": float(base)})


def weight_steps(value: float, weights: Mapping[str, float]) -> list[Step]:
    """The step that multiplies the loss by its weights; nothing where they are all 1."""
    if all(weight == 1 for weight in weights.values()):
        return []
    lines = tuple(Line(name, "s", {"s": weight}) for name, weight in weights.items())
    product = " * ".join(f"s{place}" for place in range(len(weights)))
    numbers = {f"s{place}": weight for place, weight in enumerate(weights.values())}
    total = Line("weighted loss", f"{product} * loss", {**numbers, "loss": value})
    meaning = "Weights multiply the loss and its gradient: a weight of 2 is the same as the sample twice."
    return [Step("weight", "Weight of the sample", "s·ℓ", lines, total, meaning)]


def as_tuple(values: Iterable[float]) -> tuple[float, ...]:
    """Plain floats, for a line's numbers."""
    return tuple(float(value) for value in values)
