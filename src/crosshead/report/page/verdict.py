"""The verdict of a report: its sentences and its table of measures with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crosshead.evaluation import Evaluation, Interval
from crosshead.report.page.contents import Contents, Training

THIN = "\u202f"  # a narrow no-break space
PERCENT = f"{THIN}%"


@dataclass(frozen=True)
class Measure:
    """One row of the table: name, meaning, value and, if any, interval."""

    name: str
    meaning: str
    value: str
    interval: str = ""


def headline(contents: Contents) -> tuple[str, str]:
    """The error rate, and the sentence that it begins."""
    found = contents.evaluation
    share = percent(found.error)
    rows = f"{found.rows:,}".replace(",", THIN)
    text = f"of {rows} {contents.judged_on} are predicted wrong, {found.wrong} in all."
    interval = found.intervals.get("error")
    if interval is None:
        return share, text
    return share, f"{text} The {100 * interval.level:g}{THIN}% interval is {_span(interval, 100)}{THIN}%."


def sentences(contents: Contents) -> list[str]:
    """Sentences that describe the measures."""
    found = contents.evaluation
    said = []
    if found.cross_entropy is not None:
        said.append(_of_cross_entropy(found))
        said.append(_of_calibration(found))
    elif found.mean_loss is not None:
        said.append(
            f"The mean {contents.loss_title} is {number(found.mean_loss)}. The model has scores and no probabilities, "
            "so nothing can be said about calibration."
        )
    if contents.training is not None:
        said.append(certificate(contents.training))
    return said


def _of_cross_entropy(found: Evaluation) -> str:
    assert found.cross_entropy is not None
    if not math.isfinite(found.cross_entropy):
        return (
            f"The cross-entropy is infinite: {found.impossible} rows gave their true class probability 0, the first of "
            f"them row {(found.first_impossible or 0) + 1}."
        )
    chance = math.log(len(found.classes))
    return (
        f"A row costs {number(found.cross_entropy)} nats on average; probabilities that know nothing would cost "
        f"ln {len(found.classes)} = {number(chance)}."
    )


def _of_calibration(found: Evaluation) -> str:
    table = found.reliability
    assert table is not None
    used = table.weight > 0
    lean = float(table.weight[used] @ table.gap[used] / table.weight.sum())
    manner = "too sure of itself" if lean < 0 else "too cautious"
    text = f"Its probabilities are off by {100 * table.ece:.2g} percentage points on average"
    if abs(lean) < 0.1 * table.ece or table.ece == 0:
        return f"{text}, in neither direction."
    return f"{text}; on the whole it is {manner}, by {100 * abs(lean):.2g} points."


def certificate(training: Training) -> str:
    """A sentence on whether the optimum is certified."""
    if training.gap is None or not math.isfinite(training.gap):
        return f"The training is not certified: {training.message or training.status}."
    bound = f"the objective exceeds its minimum by at most {training.gap:.1e} of itself"
    if training.status == "converged":
        return f"The training is certified: {bound}."
    return f"The training is not certified ({training.message or training.status}); {bound}."


def measures(contents: Contents) -> list[Measure]:
    """The table of the verdict."""
    found = contents.evaluation
    table = [_measure(found, "error", "error", "share of rows predicted wrong", 100, PERCENT)]
    if found.top_k_error is not None:
        meaning = f"share of rows whose class is not among the {found.top_k} likeliest"
        table.append(_measure(found, f"top-{found.top_k} error", "top_k_error", meaning, 100, PERCENT))
    if found.cross_entropy is not None:
        bits = found.cross_entropy_bits or 0.0
        meaning = f"mean −ln p of the true class; {number(bits)} bits"
        table.append(_measure(found, "cross-entropy", "cross_entropy", meaning, 1, " nats"))
        table.append(_measure(found, "Brier score", "brier", "mean Σ (p − y)², from 0 to 2", 1, ""))
        table.append(
            _measure(found, "calibration error", "ece", "mean |confidence − accuracy| of 15 bins (ECE)", 1, "")
        )
    if found.mean_loss is not None and (found.cross_entropy is None or contents.loss_title != "cross-entropy"):
        table.append(_measure(found, contents.loss_title, "mean_loss", "mean over rows, without penalty", 1, ""))
    return table + ([] if contents.training is None else _of_training(contents.training))


def _of_training(training: Training) -> list[Measure]:
    rows = []
    if training.objective is not None:
        rows.append(Measure("objective", "mean loss and penalty on the training rows", f"{training.objective:.6g}"))
    known = training.gap is not None and math.isfinite(training.gap)
    gap = f"{training.gap:.1e}" if known else "unknown"
    tol = "" if training.tol is None else f"; certified at {training.tol:.0e}"
    rows.append(Measure("certified gap", f"how far above its minimum the objective can be{tol}", gap))
    rows.append(Measure("status", training.message, training.status))
    return rows


def _measure(found: Evaluation, name: str, key: str, meaning: str, factor: float, unit: str) -> Measure:
    value = float(getattr(found, key))
    interval = found.intervals.get(key)
    text = percent(value) if unit == PERCENT else f"{number(factor * value)}{unit}"
    return Measure(name, meaning, text, "" if interval is None else f"{_span(interval, factor)}{unit}")


def _span(interval: Interval, factor: float) -> str:
    low, high = factor * interval.lower, factor * interval.upper
    if factor != 1:
        return f"{low:.2f} – {high:.2f}"
    return f"{number(low)} – {number(high)}"


def number(value: float) -> str:
    """Format a measure with three significant digits, without exponent if possible.

    Examples
    --------
    >>> number(0.111254), number(2.302585), number(float("inf")), number(1e-9)
    ('0.111', '2.3', '∞', '1e-09')
    """
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.3g}"


def percent(share: float) -> str:
    r"""Format a share as a percentage.

    Examples
    --------
    >>> percent(0.0362), percent(0.0)
    ('3.62\u202f%', '0\u202f%')
    """
    return f"{100 * share:.2f}{THIN}%" if share else f"0{THIN}%"
