"""An evaluation as a person reads it: pairs of names and values, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from scipy import sparse

from crosshead.cli.commands.evaluate import EvaluateOptions
from crosshead.cli.errors import tell
from crosshead.cli.output import percent, show_json, show_pairs, show_table, show_text, warn_of_infinite_loss
from crosshead.evaluation import Evaluation

MOST_CLASSES = 20


def show(
    options: EvaluateOptions,
    found: Evaluation,
    head: Mapping[str, Any],
    loss_title: str | None,
    row_name: Callable[[int], str],
) -> None:
    """Print the result on stdout; ``head`` are further entries of the JSON document."""
    warn_of_infinite_loss(found, row_name)
    if options.as_json:
        show_json({**head, **found.to_dict()})
        return
    show_pairs(pairs(found, loss_title))
    show_classes(found)
    if options.confusion:
        show_confusion(found)
    if options.reliability:
        if not found.has_probabilities:
            tell("note", "--reliability: there are no probabilities to show it of")
        show_reliability(found)


def pairs(found: Evaluation, loss_title: str | None) -> list[tuple[str, str]]:
    """Names and values, the most telling first; ``loss_title`` is what the mean loss is called, None for none."""
    lines = [
        ("rows", str(found.rows)),
        ("error", f"{percent(found.error)} ({found.wrong} wrong){_limits(found, 'error', percent)}"),
    ]
    if found.top_k_error is not None:
        lines.append((f"top-{found.top_k} error", percent(found.top_k_error) + _limits(found, "top_k_error", percent)))
    if loss_title is not None and found.mean_loss is not None and not _is_cross_entropy(found):
        lines.append((loss_title, f"{found.mean_loss:.6g}{_limits(found, 'mean_loss')}"))
    return lines + _probability_pairs(found)


def show_classes(found: Evaluation) -> None:
    """Errors, precision, recall and F1 of each class, where there are not too many."""
    if len(found.classes) > MOST_CLASSES:
        return
    show_text()
    measures = found.per_class
    rows = []
    for position, label in enumerate(found.classes.tolist()):
        count, wrong = measures.rows[position], measures.wrong[position]
        shares = [wrong / count if count else math.nan, *(float(m[position]) for m in _shares(measures))]
        rows.append([str(label), f"{count:g}", f"{wrong:g}", *(_share(value) for value in shares)])
    show_table(["class", "rows", "wrong", "error", "precision", "recall", "F1"], rows)


def show_confusion(found: Evaluation) -> None:
    """The confusion matrix, or where there are many classes the pairs that are confused most often."""
    show_text()
    names = [str(label) for label in found.classes.tolist()]
    if len(names) <= MOST_CLASSES:
        rows = [[name, *(f"{count:g}" for count in row)] for name, row in zip(names, found.confusion, strict=True)]
        show_table(["true \\ predicted", *names], rows)
        return
    cells = sparse.coo_array(found.confusion)
    wrong = sorted(
        (-count, true, predicted)
        for count, true, predicted in zip(cells.data.tolist(), cells.row.tolist(), cells.col.tolist(), strict=True)
        if true != predicted and count
    )
    rows = [[names[true], names[predicted], f"{-count:g}"] for count, true, predicted in wrong[:MOST_CLASSES]]
    show_table(["true", "predicted", "rows"], rows)


def show_reliability(found: Evaluation) -> None:
    """Confidence against accuracy, bin by bin."""
    if found.reliability is None:
        return
    table = found.reliability
    rows = []
    for lower, upper, count, confidence, accuracy in zip(
        table.lower, table.upper, table.count.tolist(), table.confidence, table.accuracy, strict=True
    ):
        rows.append([f"{lower:.4f} to {upper:.4f}", str(count), _share(float(confidence)), _share(float(accuracy))])
    show_text()
    show_table(["confidence", "rows", "mean", "right"], rows)


def _probability_pairs(found: Evaluation) -> list[tuple[str, str]]:
    if found.cross_entropy is None or found.brier is None or found.reliability is None:
        return []
    nats = f"{found.cross_entropy:.6g} nats, {found.cross_entropy_bits:.6g} bits"
    ece = f"{percent(found.reliability.ece)} expected{_limits(found, 'ece', percent)}"
    return [
        ("cross-entropy", nats + _limits(found, "cross_entropy")),
        ("log-likelihood", f"{found.log_likelihood:.6g} nats"),
        ("Brier score", f"{found.brier:.6g}{_limits(found, 'brier')}"),
        ("calibration error", f"{ece}, {percent(found.reliability.mce)} at most"),
        ("in bins of equal mass", percent(found.ece_equal_mass or 0.0)),
        ("by chance alone", f"{percent(found.reliability.ece_of_noise)} expected on so many rows"),
    ]


def _is_cross_entropy(found: Evaluation) -> bool:
    """Whether the mean loss is the cross-entropy, which has a line of its own."""
    nats = found.cross_entropy
    return nats is not None and found.mean_loss is not None and math.isclose(nats, found.mean_loss, rel_tol=1e-9)


def _limits(found: Evaluation, name: str, text: Callable[[float], str] = "{:.6g}".format) -> str:
    interval = found.intervals.get(name)
    if interval is None:
        return ""
    return f", {100 * interval.level:g} % interval {text(interval.lower)} to {text(interval.upper)}"


def _shares(measures: object) -> list[list[float]]:
    return [getattr(measures, name) for name in ("precision", "recall", "f1")]


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value)
