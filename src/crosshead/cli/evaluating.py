"""What `crosshead evaluate` does once its options are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from crosshead.cli.display import loss_title, percent, show_json, show_pairs, show_table
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, tell
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, Measures, measure, model_loss
from crosshead.cli.monitor import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.models import Model

MOST_CLASSES = 20


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead evaluate`."""

    model: str
    source: str
    target: str | None
    ignore: tuple[str, ...]
    test_rows: bool
    engine: str
    threads: int | None
    as_json: bool


def run(request: Request) -> int:
    """Measure and show; returns the exit code."""
    check_engine(request.engine)
    model = Model.load(request.model)
    with Monitor() as monitor:
        monitor.stage(f"reading {request.source}")
        dataset = load_for_model(
            request.source,
            model,
            target=request.target,
            ignore=request.ignore,
            target_required=True,
            test_rows=request.test_rows,
        )
        indices = class_indices(dataset, model.classes)
        monitor.stage(f"scoring {dataset.n_rows} rows")
        measures = measure(model, dataset.features, indices, Computing(request.engine, request.threads))
        trained_on = training_rows(model, dataset.fingerprint(), dataset.n_rows)
    if trained_on:
        tell("note", f"the model was trained on {trained_on} of these rows; new rows tell more about it")
    if request.as_json:
        show_json({"model": request.model, "source": request.source, **_document(model, measures, trained_on)})
    else:
        _show(model, measures)
    return DONE


def training_rows(model: Model, fingerprint: str, n_rows: int) -> int:
    """How many of the rows with this fingerprint the model is known to have been trained on."""
    if fingerprint == model.fingerprint:
        return n_rows
    return int(model.training["rows"]) if fingerprint == model.training.get("split_from") else 0


def _document(model: Model, measures: Measures, trained_on: int) -> dict[str, Any]:
    return {
        "rows": measures.rows,
        "errors": measures.errors,
        "error": measures.error,
        "loss": model.loss,
        **loss_values(model, measures),
        "training_rows": trained_on,
        "by_class": [
            {"class": label, "rows": rows, "errors": errors}
            for label, rows, errors in zip(
                model.classes.tolist(),
                measures.class_rows.tolist(),
                measures.class_errors.tolist(),
                strict=True,
            )
        ],
    }


def loss_values(model: Model, measures: Measures) -> dict[str, float]:
    """The mean loss by its name; in nats and bits where it is a cross-entropy."""
    if not model_loss(model).has_probabilities:
        return {"mean_loss": measures.mean_loss}
    nats = measures.mean_loss
    return {"mean_loss": nats, "cross_entropy_nats": nats, "cross_entropy_bits": nats / math.log(2)}


def _show(model: Model, measures: Measures) -> None:
    value = f"{measures.mean_loss:.6g}"
    if model_loss(model).has_probabilities:
        value = f"{value} nats, {measures.mean_loss / math.log(2):.6g} bits"
    show_pairs(
        [
            ("rows", str(measures.rows)),
            ("error", f"{percent(measures.error)} ({measures.errors} wrong)"),
            (loss_title(model.loss), value),
        ]
    )
    if len(model.classes) <= MOST_CLASSES:
        print()
        show_table(["class", "rows", "wrong", "error"], _class_rows(model, measures))


def _class_rows(model: Model, measures: Measures) -> list[list[str]]:
    return [
        [str(label), str(rows), str(errors), percent(errors / rows) if rows else "–"]
        for label, rows, errors in zip(
            model.classes.tolist(), measures.class_rows.tolist(), measures.class_errors.tolist(), strict=True
        )
    ]
