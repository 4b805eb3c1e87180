"""What `crosshead calibrate` does once its options are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.cli.commands.evaluate.run import cross_entropy_values, training_rows
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.folders import check_model_folder
from crosshead.cli.held_out import held_out_again
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, model_loss, scores_of
from crosshead.cli.options.images import OwnImages
from crosshead.cli.output import percent, show_json, show_pairs, show_table, show_text
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.data import Dataset
from crosshead.evaluation import CrossFitted, Evaluation, TemperatureScaler, cross_fit
from crosshead.models import Model


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead calibrate`."""

    model: str
    source: str
    target: str | None
    ignore: tuple[str, ...]
    folds: int
    seed: int
    bins: int
    output: str | None
    test_rows: bool
    engine: str
    threads: int | None
    as_json: bool
    images: OwnImages = field(default_factory=OwnImages)


def run(request: Request) -> int:
    """Fit, judge, save and show; returns the exit code."""
    check_engine(request.engine)
    folder = Path(request.output if request.output is not None else default_folder(request.model))
    check_model_folder(folder)
    model = Model.load(request.model)
    with Monitor() as monitor:
        monitor.stage(f"reading {request.source}")
        whole = load_for_model(
            request.source,
            model,
            target=request.target,
            ignore=request.ignore,
            target_required=True,
            test_rows=request.test_rows,
            images=request.images,
            threads=request.threads,
            monitor=monitor,
        )
        source_fingerprint = whole.fingerprint()
        dataset = unseen_rows(model, whole, source_fingerprint)
        target = class_indices(dataset, model.classes)
        monitor.stage(f"scoring {dataset.n_rows} rows")
        blocks = scores_of(model, dataset.features, Computing(request.engine, request.threads))
        scores = np.concatenate([block.astype(np.float64) for _, block in blocks])
        monitor.stage("fitting the temperature")
        scaler, judged = _fit(request, model, scores, target)
        calibrated = replace(
            model,
            temperature=scaler.temperature_,
            calibration=_summary(request, dataset, source_fingerprint, scaler, judged),
        )
        monitor.stage(f"saving {folder}")
        calibrated.save(folder)
    if request.as_json:
        show_json(_document(request, folder, calibrated, judged))
    else:
        _show(folder, calibrated, judged)
    return DONE


def unseen_rows(model: Model, dataset: Dataset, fingerprint: str) -> Dataset:
    """The rows of a source that the model was not trained on; UsageError where it was trained on them, or on some.

    Where the source is what training and held-out rows were split from, the split is made once more, and believed
    where its training part has the fingerprint of what the model was trained on.
    """
    trained_on = training_rows(model, fingerprint, dataset.n_rows)
    if not trained_on:
        return dataset
    if trained_on < dataset.n_rows:
        held_out = held_out_again(model, dataset)
        if held_out is not None:
            tell(
                "note",
                f"the model was trained on {trained_on} of these rows; the other {held_out.n_rows}, which were held "
                "out, are used",
            )
            return held_out
    raise UsageError(
        f"{dataset.source}: the model was trained on {trained_on} of these {dataset.n_rows} rows, on which it is surer "
        "of itself than on new ones; give rows that it has not seen"
    )


def default_folder(model: str) -> str:
    """The calibrated model's folder where none is named, beside the model.

    Examples
    --------
    >>> default_folder("models/digits-model/")
    'models/digits-model-calibrated'
    """
    path = Path(model)
    name = path.name or path.resolve().name
    return str(path.parent / f"{name}-calibrated")


def _fit(request: Request, model: Model, scores: Any, target: Any) -> tuple[TemperatureScaler, CrossFitted]:
    try:
        scaler = TemperatureScaler().fit(scores, target)
        judged = cross_fit(
            scores,
            target,
            loss=model_loss(model),
            temperature=model.temperature,
            classes=model.classes,
            folds=request.folds,
            bins=request.bins,
            seed=request.seed,
        )
    except ValueError as error:
        raise UsageError(f"{request.source}: {error}") from error
    return scaler, judged


def _summary(
    request: Request, dataset: Dataset, source_fingerprint: str, scaler: TemperatureScaler, judged: CrossFitted
) -> dict[str, Any]:
    return {
        "source": Path(request.source.partition(",")[0]).name,
        "rows": dataset.n_rows,
        "fingerprint": dataset.fingerprint(),
        "source_fingerprint": source_fingerprint,
        "folds": request.folds,
        "seed": request.seed,
        "cross_entropy": judged.after.cross_entropy,
        "ece": judged.after.ece,
    }


def _document(request: Request, folder: Path, model: Model, judged: CrossFitted) -> dict[str, Any]:
    return {
        "model": request.model,
        "source": request.source,
        "output": str(folder),
        "rows": judged.after.rows,
        "temperature": model.temperature,
        "folds": request.folds,
        "fold_temperatures": judged.temperatures,
        "before": _values(judged.before),
        "after": _values(judged.after),
    }


def _values(found: Evaluation) -> dict[str, Any] | None:
    if found.cross_entropy is None:
        return None
    values: dict[str, Any] = dict(cross_entropy_values(found.cross_entropy))
    return values | {
        "brier": found.brier,
        "ece": found.ece,
        "ece_equal_mass": found.ece_equal_mass,
        "mce": found.mce,
    }


def _show(folder: Path, model: Model, judged: CrossFitted) -> None:
    low, high = float(judged.temperatures.min()), float(judged.temperatures.max())
    show_pairs(
        [
            ("temperature", f"{model.temperature:.6g} ({low:.4g} to {high:.4g} on the folds)"),
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


def _cell(value: float | None, text: Any) -> str:
    return "none" if value is None else str(text(value))
