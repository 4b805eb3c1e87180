"""What `crosshead calibrate` says when it is done: one JSON document, or measures before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosshead.cli.commands.calibrate import CalibrateOptions
from crosshead.cli.output import percent, show_json, show_pairs, show_table, show_text
from crosshead.evaluation import Evaluation
from crosshead.models import Calibrated


def show(options: CalibrateOptions, folder: Path, found: Calibrated) -> None:
    """Print the result on stdout."""
    if options.as_json:
        show_json(_document(options, folder, found))
        return
    judged = found.judged
    low, high = float(judged.temperatures.min()), float(judged.temperatures.max())
    show_pairs(
        [
            ("temperature", f"{found.model.temperature:.6g} ({low:.4g} to {high:.4g} on the folds)"),
            ("rows", f"{judged.after.rows}, judged by {len(judged.temperatures)}-fold cross-fitting"),
            ("error", f"{percent(judged.after.error)}, as before"),
            ("saved", str(folder)),
        ]
    )
    show_text()
    rows = [
        [title, _cell(getattr(judged.before, name), text), _cell(getattr(judged.after, name), text)]
        for name, title, text in (
            ("cross_entropy", "cross-entropy (nats)", "{:.6g}".format),
            ("brier", "Brier score", "{:.6g}".format),
            ("ece", "calibration error", percent),
            ("ece_equal_mass", "in bins of equal mass", percent),
            ("mce", "largest in a bin", percent),
        )
    ]
    show_table(["on rows not fitted on", "before", "after"], rows)


def _document(options: CalibrateOptions, folder: Path, found: Calibrated) -> dict[str, Any]:
    return {
        "model": options.model,
        "source": options.source,
        "output": str(folder),
        "rows": found.judged.after.rows,
        "temperature": found.model.temperature,
        "folds": options.folds,
        "fold_temperatures": found.judged.temperatures,
        "before": _values(found.judged.before),
        "after": _values(found.judged.after),
    }


def _values(found: Evaluation) -> dict[str, Any] | None:
    if found.cross_entropy is None:
        return None
    return {
        "cross_entropy_nats": found.cross_entropy,
        "cross_entropy_bits": found.cross_entropy_bits,
        "brier": found.brier,
        "ece": found.ece,
        "ece_equal_mass": found.ece_equal_mass,
        "mce": found.mce,
    }


def _cell(value: float | None, text: Any) -> str:
    return "none" if value is None else str(text(value))
