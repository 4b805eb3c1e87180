"""A comparison as a person reads it."""

from __future__ import annotations

from collections.abc import Callable

from crosshead.cli.output import percent, show_json, show_pairs, show_table, show_text, warn_of_infinite_loss
from crosshead.evaluation import Comparison, Evaluation, Pair

Text = Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:.4g}"


MEASURES: tuple[tuple[str, str, Text], ...] = (
    ("error", "error", percent),
    ("cross_entropy", "cross-entropy (nats)", _number),
    ("brier", "MSE (Brier)", _number),
    ("ece", "calibration error", percent),
)
"""Name, title, and how its values are written."""


def show(found: Comparison, row_name: Callable[[int], str], *, as_json: bool) -> None:
    """One JSON document; or one table of all models, then each pair of them."""
    if as_json:
        document = found.to_dict()
        for pair in document["pairs"]:
            pair["most_different"] = [{"name": row_name(row["row"]), **row} for row in pair["most_different"]]
        show_json(document)
        return
    for evaluation in found.evaluations.values():
        warn_of_infinite_loss(evaluation, row_name)
    show_text(f"{found.rows} rows, {100 * found.level:g} % intervals of {found.resamples} resamples")
    show_text()
    measured = {name for evaluation in found.evaluations.values() for name in evaluation.intervals}
    known = [measure for measure in MEASURES if measure[0] in measured]
    rows = [[name, *(_cell(e, key, text) for key, _, text in known)] for name, e in found.evaluations.items()]
    show_table(["model", *(title for _, title, _ in known)], rows)
    for pair in found.pairs:
        _show_pair(pair, row_name, several=len(found.pairs) > 1)


def _cell(found: Evaluation, name: str, text: Text) -> str:
    interval = found.intervals.get(name)
    return "–" if interval is None else f"{text(interval.estimate)} [{text(interval.lower)}, {text(interval.upper)}]"


def _show_pair(pair: Pair, row_name: Callable[[int], str], *, several: bool) -> None:
    test = pair.mcnemar
    corrected = f", {pair.holm:.3g} corrected for all pairs" if several else ""
    show_text()
    show_text(f"{pair.second} less {pair.first}")
    show_text()
    lines = [
        ("only the first right", f"{test.only_first} rows"),
        ("only the second right", f"{test.only_second} rows"),
        ("both right, both wrong", f"{pair.both_right} and {pair.both_wrong} rows"),
        ("McNemar's test", f"p = {test.exact:.3g} (exact){corrected}, {test.chi_squared:.3g} (chi-squared)"),
    ]
    for name, title, text in MEASURES:
        if name in pair.differences:
            one = pair.differences[name]
            limits = f"[{text(one.interval.lower)}, {text(one.interval.upper)}]"
            lines.append((title, f"{text(one.estimate)} {limits}, p = {one.p_value:.3g}"))
    show_pairs(lines)
    if pair.most_different:
        show_text()
        _show_rows(pair, row_name)


def _show_rows(pair: Pair, row_name: Callable[[int], str]) -> None:
    header = ["row", "true", pair.first, pair.second]
    with_losses = pair.most_different[0].first_cross_entropy is not None
    rows = []
    for row in pair.most_different:
        cells = [row_name(row.row), str(row.target), str(row.first_predicted), str(row.second_predicted)]
        if row.first_cross_entropy is not None and row.second_cross_entropy is not None:
            losses = (row.first_cross_entropy, row.second_cross_entropy, row.difference)
            cells += [f"{loss:.4g}" for loss in losses]
        rows.append(cells)
    show_table([*header, "nats", "nats", "difference"] if with_losses else header, rows)
