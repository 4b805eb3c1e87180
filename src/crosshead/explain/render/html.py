"""Explanations as HTML: an ordered list of steps with one table each. No scripts, fonts or network requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosshead.escaping import for_html
from crosshead.explain.render.text import line_cells, summary_rows
from crosshead.explain.steps import Step

if TYPE_CHECKING:
    from crosshead.explain.result import Explanation, SampleExplanations

EXPLANATION_CSS = """
.crosshead-explanation {
  --ce-ink: var(--ink, #1b1f24); --ce-quiet: var(--muted, #57606a); --ce-rule: var(--rule, #d0d7de);
  --ce-mark: var(--mark, #fff4d6); color: var(--ce-ink); font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem;
}
@media (prefers-color-scheme: dark) {
  .crosshead-explanation {
    --ce-ink: var(--ink, #e6edf3); --ce-quiet: var(--muted, #9da7b1); --ce-rule: var(--rule, #3d444d);
    --ce-mark: var(--mark, #3a2f10);
  }
}
.crosshead-explanation h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
.crosshead-explanation p { margin: .25rem 0; }
.crosshead-explanation .formula { font-family: ui-serif, Georgia, serif; font-style: italic; }
.crosshead-explanation .meaning { color: var(--ce-quiet); }
.crosshead-explanation .scroll { overflow-x: auto; }
.crosshead-explanation table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.crosshead-explanation th, .crosshead-explanation td {
  border-top: 1px solid var(--ce-rule); padding: .2rem .75rem .2rem 0; text-align: left; white-space: nowrap;
}
.crosshead-explanation th { font-weight: normal; }
.crosshead-explanation .value { text-align: right; font-weight: 600; }
.crosshead-explanation .note { color: var(--ce-quiet); white-space: normal; }
.crosshead-explanation tr.true-class { background: var(--ce-mark); }
.crosshead-explanation tr.total > * { border-top: 2px solid var(--ce-ink); }
@media print { .crosshead-explanation li { break-inside: avoid; } }
""".strip()


def explanation_html(explanation: Explanation, *, style: bool = True) -> str:
    """Format one explanation as an HTML fragment."""
    return _fragment(_body(explanation), style)


def samples_html(samples: SampleExplanations, *, style: bool = True) -> str:
    """Format several explanations and their summary as an HTML fragment."""
    parts = [
        f"<section>\n<h2>Sample {number} of {len(samples)}</h2>\n{_body(sample)}\n</section>"
        for number, sample in enumerate(samples, start=1)
    ]
    rows = [_row(cells, "") for cells in summary_rows(samples)]
    if rows:
        parts.append(f"<section>\n<h2>All samples</h2>\n{_table(rows)}\n</section>")
    return _fragment("\n".join(parts), style)


def formula_html(formula: str) -> str:
    """Convert a plain-text formula to HTML with subscripts.

    Examples
    --------
    >>> formula_html("p_c = e_c / S")
    'p<sub>c</sub> = e<sub>c</sub> / S'
    """
    return re.sub(r"_(\{[^}]*\}|[\w≠]+)", lambda found: f"<sub>{found[1].strip('{}')}</sub>", for_html(formula))


def _fragment(body: str, style: bool) -> str:
    css = f"<style>\n{EXPLANATION_CSS}\n</style>\n" if style else ""
    return f'{css}<article class="crosshead-explanation">\n{body}\n</article>'


def _body(explanation: Explanation) -> str:
    head = [f"<p><strong>{for_html(line)}</strong></p>" for line in (explanation.title, explanation.verdict) if line]
    steps = [f"<li>\n{_step(step)}\n</li>" for step in explanation.steps]
    return "\n".join([*head, "<ol>", *steps, "</ol>"])


def _step(step: Step) -> str:
    rows = [_row(line_cells(line), ' class="true-class"' if line.marked else "") for line in step.lines]
    if step.total is not None:
        rows.append(_row(line_cells(step.total), ' class="total"'))
    return "\n".join(
        [
            f"<h3>{for_html(step.title)}</h3>",
            f'<p class="formula">{formula_html(step.formula)}</p>',
            _table(rows),
            f'<p class="meaning">{for_html(step.meaning)}</p>',
        ]
    )


def _table(rows: Sequence[str]) -> str:
    return "\n".join(['<div class="scroll"><table>', *rows, "</table></div>"])


def _row(cells: tuple[str, str, str, str], attributes: str) -> str:
    label, arithmetic, value, note = (for_html(cell) for cell in cells)
    return (
        f'<tr{attributes}><th scope="row">{label}</th><td>{arithmetic}</td>'
        f'<td class="value">{"= " if arithmetic else ""}{value}</td><td class="note">{note}</td></tr>'
    )
