"""What `crosshead fit` says when it is done."""

from __future__ import annotations

import math
from typing import Any

from crosshead.cli.commands.evaluate.run import loss_values
from crosshead.cli.embedding import backbone_title
from crosshead.cli.engine import engine_name
from crosshead.cli.errors import tell
from crosshead.cli.fitted import Fitted, seconds
from crosshead.cli.measures import Measures, model_loss
from crosshead.cli.output import loss_title, loss_words, percent, show_json, show_pairs
from crosshead.data.formats.feature_files import BACKBONE

ADVICE = {
    "max_iter": "raise --max-iter, scale the features (--scale), or accept the gap by a larger --tol",
    "max_time": "raise --max-time, or accept the gap by a larger --tol",
    "stalled": "accept the gap by a larger --tol",
    "no_certificate": "give --alpha above 0 for a certificate",
}


def show(fitted: Fitted) -> None:
    """Print the result on stdout, and on stderr whatever keeps it from being certified."""
    if fitted.options.as_json:
        show_json(document(fitted))
    else:
        show_pairs(pairs(fitted))
    if fitted.classifier.status_ == "interrupted":
        tell("warning", f"interrupted; the best weights so far are saved in {fitted.folder}, not certified")
    elif fitted.classifier.status_ != "converged":
        advice = ADVICE.get(fitted.classifier.status_)
        tell("warning", certificate(fitted) + ("" if advice is None else f"; {advice}"))


def certificate(fitted: Fitted) -> str:
    """Whether the optimum is certified, in words."""
    classifier, tol = fitted.classifier, fitted.options.tol
    if classifier.status_ == "converged":
        return f"certified: relative duality gap {classifier.gap_:.1e} ≤ {tol:.1e}"
    if not math.isfinite(classifier.gap_):
        return f"NOT certified: {classifier.message_}"
    return f"NOT certified: {classifier.message_}; relative duality gap {classifier.gap_:.1e} > {tol:.1e}"


def pairs(fitted: Fitted) -> list[tuple[str, str]]:
    """Names and values of the table, in the order they are shown."""
    options, classifier, model = fitted.options, fitted.classifier, fitted.model
    parts = [("train", fitted.training)] + ([] if fitted.test is None else [("test", fitted.test)])
    unit = " (nats)" if model_loss(model).has_probabilities else ""
    scaled = "" if options.scale == "none" else f", scaled by {options.scale}"
    penalty = f"alpha {fitted.alpha:.6g}" + (f", l1 ratio {options.l1_ratio:g}" if options.l1_ratio else "")
    return [
        ("rows", ", ".join(f"{part.rows} {name}" for name, part in parts)),
        ("features", f"{model.weight.shape[1]}{scaled}"),
        *([] if BACKBONE not in model.encoding else [("backbone", backbone_title(model.encoding[BACKBONE]))]),
        *([] if fitted.network is None else fitted.network.pairs()),
        ("classes", str(len(model.classes))),
        ("loss", f"{loss_words(model.loss, model.loss_parameters)}, {penalty}"),
        (
            loss_title(model.loss, model.loss_parameters),
            ", ".join(f"{part.mean_loss:.6g} {name}" for name, part in parts) + unit,
        ),
        ("error", ", ".join(f"{percent(part.error)} {name}" for name, part in parts)),
        ("objective", f"{classifier.objective_:.8g}"),
        ("gap", f"{classifier.gap_:.2e}" if math.isfinite(classifier.gap_) else "unknown"),
        ("status", certificate(fitted)),
        ("passes", f"{classifier.n_passes_} in {seconds(classifier):.2f} s"),
        ("engine", engine_name(options.engine)),
        ("saved in", str(fitted.folder)),
        *([] if fitted.report is None else [("report", str(fitted.report))]),
    ]


def document(fitted: Fitted) -> dict[str, Any]:
    """The result as one JSON document."""
    options, classifier, model = fitted.options, fitted.classifier, fitted.model
    return {
        "source": options.source,
        "features": int(model.weight.shape[1]),
        "backbone": model.encoding.get(BACKBONE),
        "classes": model.classes,
        "loss": model.loss,
        "loss_parameters": dict(model.loss_parameters),
        "alpha": fitted.alpha,
        "l1_ratio": options.l1_ratio,
        "scale": options.scale,
        "train": _measures(fitted, fitted.training),
        "test": None if fitted.test is None else _measures(fitted, fitted.test),
        "objective": classifier.objective_,
        "gap": classifier.gap_,
        "tol": options.tol,
        "certified": classifier.status_ == "converged",
        "status": classifier.status_,
        "message": classifier.message_,
        "iterations": classifier.n_iter_,
        "passes": classifier.n_passes_,
        "seconds": seconds(classifier),
        "engine": engine_name(options.engine),
        "model": str(fitted.folder),
        "network": None if fitted.network is None else fitted.network.document(),
        "report": None if fitted.report is None else str(fitted.report),
    }


def _measures(fitted: Fitted, measures: Measures) -> dict[str, Any]:
    return {
        "rows": measures.rows,
        "errors": measures.errors,
        "error": measures.error,
        **loss_values(fitted.model, measures),
    }
