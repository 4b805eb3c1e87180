"""What each loss contributes to an explanation: its steps, its gradient, its value for other true classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import e

from crosshead.explain.expression import shown
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Line, Step


@dataclass(frozen=True)
class LossSteps:
    """The steps that explain a loss of scores.

    * ``steps``: from the scores to the loss; the last one's total is the loss
    * ``gradient``: the lines of ∂ℓ/∂z and their formula
    * ``alternative``: the loss if a given class were the true one, as a line
    * ``unit``: "nats" where the loss is a logarithm, else ""
    """

    steps: Callable[[Sample], list[Step]]
    gradient: Callable[[Sample], Step]
    alternative: Callable[[Sample, int], Line]
    unit: str = ""


def class_lines(sample: Sample, line: Callable[[int], Line]) -> tuple[Line, ...]:
    """One line for each column shown."""
    return tuple(line(column) for column in sample.shown)


def selection(sample: Sample) -> str:
    """A sentence that says how many classes are shown, empty if all are."""
    if not sample.hidden:
        return ""
    return f" Lines for {len(sample.shown)} of {len(sample.scores)} classes; sums run over all of them."


def logarithm(base: float) -> str:
    """The expression for the logarithm of ``p`` to a base.

    Examples
    --------
    >>> logarithm(e), logarithm(2), logarithm(3)
    ('ln(p)', 'log2(p)', 'ln(p) / ln(base)')
    """
    return {e: "ln(p)", 2: "log2(p)", 10: "log10(p)"}.get(base, "ln(p) / ln(base)")


def unit_of(base: float) -> str:
    """The unit of a logarithm to this base."""
    return {e: "nats", 2: "bits", 10: "bans"}.get(base, f"units of log base {shown(base)}")


def converted(step_key: str, value: float, base: float) -> Step:
    """The step that converts a loss in nats to another unit."""
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
    """Convert a line in nats to the unit of another logarithm."""
    if base == e:
        return line
    return replace(line, expression=f"({line.expression}) / ln(base)", numbers={**line.numbers, "base": float(base)})


def weight_steps(value: float, weights: Mapping[str, float]) -> list[Step]:
    """The step that multiplies the loss by its weights; empty if they are all 1."""
    if all(weight == 1 for weight in weights.values()):
        return []
    lines = tuple(Line(name, "s", {"s": weight}) for name, weight in weights.items())
    product = " * ".join(f"s{place}" for place in range(len(weights)))
    numbers = {f"s{place}": weight for place, weight in enumerate(weights.values())}
    total = Line("weighted loss", f"{product} * loss", {**numbers, "loss": value})
    meaning = "Weights multiply the loss and its gradient: a weight of 2 is the same as the sample twice."
    return [Step("weight", "Weight of the sample", "s·ℓ", lines, total, meaning)]


def as_tuple(values: Iterable[float]) -> tuple[float, ...]:
    """Convert numbers to a tuple of Python floats."""
    return tuple(float(value) for value in values)
