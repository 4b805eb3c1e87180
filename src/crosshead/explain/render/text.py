"""Explanations as text: one numbered heading per step and a table of its lines. Names are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosshead.escaping import display_width, for_terminal
from crosshead.explain.expression import Number, shown
from crosshead.explain.steps import Line, Step

if TYPE_CHECKING:
    from crosshead.explain.result import Explanation, SampleExplanations

INDENT = "   "


def explanation_text(explanation: Explanation) -> str:
    """Format one explanation as text."""
    head = [for_terminal(line) for line in (explanation.title, explanation.verdict) if line]
    parts = ["\n".join(head)] if head else []
    parts += [_step_text(number, step) for number, step in enumerate(explanation.steps, start=1)]
    return "\n\n".join(parts)


def samples_text(samples: SampleExplanations) -> str:
    """Format several explanations and their summary as text."""
    summary = summary_rows(samples)
    parts = [
        f"Sample {number} of {len(samples)}\n{explanation_text(sample)}"
        for number, sample in enumerate(samples, start=1)
    ]
    if summary:
        parts.append("\n".join(["All samples", *aligned(summary)]))
    return "\n\n".join(parts)


def summary_rows(samples: SampleExplanations) -> list[tuple[str, str, str, str]]:
    """Label, arithmetic, value and note of the summary lines; empty if a sample has no target."""
    if any(sample.value is None for sample in samples):
        return []
    first = samples[0]
    unit = f" {first.unit}" if first.unit else ""
    values, weights = tuple(samples.values.tolist()), tuple(samples.weights.tolist())
    plain = set(weights) == {1.0}
    numbers: dict[str, Number] = {"values": values, "s": weights, "n": float(len(values))}
    total = Line("sum", "sum(values)" if plain else "dot(s, values)", numbers)
    mean = Line("mean", "total / n" if plain else "total / sum(s)", {**numbers, "total": total.value})
    rows = [_cells(line, unit) for line in (total, mean)]
    if samples.error is not None:
        wrong = sum(not sample.correct for sample in samples)
        rows.append(("error", f"{wrong} of {len(samples)} wrong", shown(samples.error), ""))
    return rows


def line_cells(line: Line) -> tuple[str, str, str, str]:
    """Label, arithmetic, value and note of a line."""
    return _cells(line, "")


def _cells(line: Line, unit: str) -> tuple[str, str, str, str]:
    arithmetic, value = ("" if line.given else line.arithmetic), shown(line.value)
    note = "; ".join(part for part in (line.note, "true class" if line.marked else "") if part)
    note = "true class" if line.note == "true class" else note
    cells = (line.label, "" if arithmetic == value else arithmetic, f"{value}{unit}", note)
    label, arithmetic, value, note = map(for_terminal, cells)
    return label, arithmetic, value, note


def _step_text(number: int, step: Step) -> str:
    rows = [line_cells(line) for line in step.lines]
    if step.total is not None:
        rows.append(line_cells(step.total))
    heading = for_terminal(f"{number}. {step.title}    {step.formula}")
    return "\n".join([heading, *aligned(rows), *_wrapped(for_terminal(step.meaning))])


def aligned(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Align rows in columns: label, arithmetic, = value, note."""
    labels, sums, values = (max((display_width(row[place]) for row in rows), default=0) for place in range(3))
    lines = []
    for label, arithmetic, value, note in rows:
        cells = [label + " " * (labels - display_width(label))]
        if sums:
            sign = "=" if arithmetic else " "
            cells.append(f"{arithmetic}{' ' * (sums - display_width(arithmetic))} {sign}")
        cells.append(" " * (values - display_width(value)) + value)
        lines.append((INDENT + "  ".join([*cells, note])).rstrip())
    return lines


def _wrapped(meaning: str) -> list[str]:
    import textwrap

    return textwrap.wrap(meaning, 100, initial_indent=INDENT, subsequent_indent=INDENT)
