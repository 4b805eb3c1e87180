"""What `crosshead evaluate` does once its options are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from crosshead.cli.commands.evaluate import show as report
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, Measures, evaluate_model
from crosshead.cli.options.images import OwnImages
from crosshead.cli.options.predictions import PredictionOptions
from crosshead.cli.output import loss_title, show_json, show_pairs
from crosshead.cli.predicted import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.data import Dataset
from crosshead.evaluation import Evaluation, evaluate_predictions
from crosshead.models import Model


@dataclass(frozen=True)
class Measuring:
    """What is measured: options of `crosshead.evaluation.evaluate`."""

    level: float | None
    resamples: int
    seed: int
    top_k: int
    bins: int


@dataclass(frozen=True)
class Shown:
    """What is shown of it."""

    confusion: bool
    reliability: bool
    as_json: bool


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead evaluate`."""

    model: str
    source: str | None
    predictions: PredictionOptions
    measuring: Measuring
    shown: Shown
    test_rows: bool
    engine: str
    threads: int | None
    images: OwnImages = field(default_factory=OwnImages)


def run(request: Request) -> int:
    """Measure and show; returns the exit code."""
    check_engine(request.engine)
    if are_predictions(request.model):
        return _run_predictions(request)
    request.predictions.refuse_for_model()
    model = Model.load(request.model)
    if request.source is None:
        raise UsageError(f"{request.model} is a model: name the SOURCE to evaluate it on too")
    return _run_model(request, model, request.source)


def training_rows(model: Model, fingerprint: str, n_rows: int) -> int:
    """How many of the rows with this fingerprint the model is known to have been trained on."""
    if fingerprint == model.fingerprint:
        return n_rows
    return int(model.training["rows"]) if fingerprint == model.training.get("split_from") else 0


def calibration_rows(model: Model, fingerprint: str, n_rows: int) -> int:
    """How many of the rows with this fingerprint the model's temperature is known to have been fitted on."""
    if fingerprint == model.calibration.get("fingerprint"):
        return n_rows
    return int(model.calibration["rows"]) if fingerprint == model.calibration.get("source_fingerprint") else 0


def note_known_rows(model: Model, dataset: Dataset, name: str = "") -> dict[str, int]:
    """Say on stderr which rows the model has seen; their numbers, as the document has them."""
    fingerprint, n_rows = dataset.fingerprint(), dataset.n_rows
    trained_on = training_rows(model, fingerprint, n_rows)
    if trained_on:
        tell("note", f"{name}the model was trained on {trained_on} of these rows; new rows tell more about it")
    known = {"training_rows": trained_on}
    if model.temperature is not None:
        fitted_on = calibration_rows(model, fingerprint, n_rows)
        if fitted_on:
            tell("note", f"{name}the temperature was fitted on {fitted_on} of these rows; new rows tell more about it")
        known["calibration_rows"] = fitted_on
    return known


def loss_values(model: Model, measures: Measures) -> dict[str, float]:
    """The mean loss, and the mean cross-entropy in nats and bits where there are probabilities."""
    values = {"mean_loss": measures.mean_loss}
    if measures.cross_entropy is not None:
        values |= cross_entropy_values(measures.cross_entropy)
    return values


def cross_entropy_values(nats: float) -> dict[str, float]:
    """A cross-entropy in both units."""
    return {"cross_entropy_nats": nats, "cross_entropy_bits": nats / math.log(2)}


def _run_model(request: Request, model: Model, source: str) -> int:
    with Monitor() as monitor:
        monitor.stage(f"reading {source}")
        dataset = load_for_model(
            source,
            model,
            target=request.predictions.target,
            ignore=request.predictions.ignore,
            target_required=True,
            test_rows=request.test_rows,
            images=request.images,
            threads=request.threads,
            monitor=monitor,
        )
        indices = class_indices(dataset, model.classes)
        monitor.stage(f"scoring {dataset.n_rows} rows")
        computing = Computing(request.engine, request.threads)
        found = evaluate_model(model, dataset.features, indices, computing, **asdict(request.measuring))
    known = note_known_rows(model, dataset)
    head = {"model": request.model, "source": source, "loss": model.loss, **known}
    title = loss_title(model.loss, model.loss_parameters)
    _show(request, found, head, title, row_names_of(dataset))
    return DONE


def _run_predictions(request: Request) -> int:
    for option, given in (
        (f"SOURCE {request.source}", request.source is not None),
        ("--test-rows", request.test_rows),
        ("--engine", request.engine != "auto"),
        ("--threads", request.threads is not None),
        *((option, True) for option in request.images.given),
    ):
        if given:
            raise UsageError(
                f"{option} is for a model, and {request.model} holds predictions; --labels says where their labels are"
            )
    request.predictions.check()
    with Monitor() as monitor:
        monitor.stage(f"reading {request.model}")
        labels = load_labels(request.predictions)
        predictions = load_predictions(request.model, request.predictions, labels)
        monitor.stage(f"evaluating {predictions.n_rows} rows")
        found = evaluate_predictions(predictions, loss=request.predictions.loss, **asdict(request.measuring))
    head = {"predictions": request.model, "kind": predictions.kind}
    loss = (request.predictions.loss or "softmax") if predictions.kind == "scores" else None
    if loss is not None:
        head |= {"loss": loss}
    _show(request, found, head, None if loss is None else loss_title(loss), predictions.row_name)
    return DONE


def _show(
    request: Request, found: Evaluation, head: dict[str, Any], title: str | None, row_name: Callable[[int], str]
) -> None:
    report.warn(found, row_name)
    if request.shown.as_json:
        show_json({**head, **found.to_dict()})
        return
    show_pairs(report.pairs(found, title))
    report.show_classes(found)
    if request.shown.confusion:
        report.show_confusion(found)
    if request.shown.reliability:
        if not found.has_probabilities:
            tell("note", "--reliability: there are no probabilities to show it of")
        report.show_reliability(found)


def row_names_of(dataset: Dataset) -> Callable[[int], str]:
    """What a person calls a row (from 0) of a source: its file's name, or its number from 1."""
    names = dataset.row_names
    return lambda row: str(row + 1) if names is None else names[row]
