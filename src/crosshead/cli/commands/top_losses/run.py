"""What `crosshead top-losses` does once its options are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.cli.commands.top_losses import TopLossesOptions
from crosshead.cli.csv_rows import CsvRows
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, model_loss, scores_of
from crosshead.cli.output import loss_title, percent, show_json, show_pairs, show_table, show_text
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.cli.writers import check_output, text_file
from crosshead.data.dataset import Array, Dataset
from crosshead.evaluation.doubtful_labels import DoubtfulLabels, doubtful_labels
from crosshead.evaluation.top_losses import TopLosses, top_losses
from crosshead.models import Model


@dataclass(frozen=True)
class Listing:
    """A list of samples: what it says above the list, its columns by name, and further entries of its document."""

    key: str
    pairs: list[tuple[str, str]]
    columns: dict[str, list[Any]]
    facts: dict[str, Any]


def run(options: TopLossesOptions) -> int:
    """Find, show or write; returns the exit code."""
    output = None if options.output is None else check_output(options.output, (".csv",))
    check_engine(options.engine)
    model = Model.load(options.model)
    if options.label_errors and not model_loss(model).has_probabilities:
        raise UsageError(
            f"--label-errors: the model was trained with {model.loss}, which has no probabilities; "
            "train with --loss softmax or binary"
        )
    with Monitor() as monitor:
        monitor.stage(f"reading {options.source}")
        dataset = load_for_model(
            options.source,
            model,
            target=options.target,
            ignore=options.ignore,
            target_required=True,
            test_rows=options.test_rows,
            images=options.images,
            threads=options.threads,
            monitor=monitor,
        )
        indices = class_indices(dataset, model.classes)
        if options.label_errors:
            listing = _doubtful(options, model, dataset, indices, monitor)
        else:
            monitor.stage(f"scoring {dataset.n_rows} rows")
            blocks = scores_of(model, dataset.features, Computing(options.engine, options.threads))
            listing = _costly(model, dataset, _costliest(model, blocks, indices, options.count))
    _show(options, listing, output)
    return DONE


def row_title(dataset: Dataset) -> str:
    """What a sample goes by."""
    return "row" if dataset.row_names is None else "file"


def row_names(dataset: Dataset, rows: Sequence[int]) -> list[Any]:
    """Row numbers from 1, or file names."""
    return [row + 1 if dataset.row_names is None else dataset.row_names[row] for row in rows]


def _costliest(model: Model, blocks: Iterable[tuple[int, Array]], indices: Array, count: int) -> TopLosses:
    """By the model's loss; with a temperature by the cross-entropy of its probabilities, softmax(z/T)."""
    if model.temperature is None:
        return top_losses(blocks, indices, count, loss=model_loss(model))
    temperature = model.temperature
    return top_losses(((first, scores / temperature) for first, scores in blocks), indices, count)


def _costly(model: Model, dataset: Dataset, found: TopLosses) -> Listing:
    loss, parameters = (model.loss, model.loss_parameters) if model.temperature is None else ("softmax", {})
    columns: dict[str, list[Any]] = {
        row_title(dataset): row_names(dataset, found.rows.tolist()),
        "true": model.classes[found.target].tolist(),
        "predicted": model.classes[found.predicted].tolist(),
    }
    if found.probability is not None:
        columns["probability"] = found.probability.tolist()
    columns |= {"loss": found.loss.tolist(), "share": found.share.tolist()}
    unit = "" if found.probability is None else " (nats)"
    pairs = [
        ("rows", str(found.n_rows)),
        (f"total {loss_title(loss, parameters)}", f"{found.total_loss:.6g}{unit}"),
        ("shown", f"{len(found)} rows, {percent(float(found.share.sum()))} of the total"),
    ]
    facts = {"rows": found.n_rows, "loss": loss, "total_loss": found.total_loss}
    return Listing("top_losses", pairs, columns, facts)


def _doubtful(options: TopLossesOptions, model: Model, dataset: Dataset, indices: Array, monitor: Monitor) -> Listing:
    found, thresholds = _find_doubtful(options, model, dataset, indices, monitor)
    shown = slice(0, options.count)
    columns: dict[str, list[Any]] = {
        row_title(dataset): row_names(dataset, found.rows[shown].tolist()),
        "label": model.classes[found.given[shown]].tolist(),
        "suggested": model.classes[found.suggested[shown]].tolist(),
        "probability": found.given_probability[shown].tolist(),
        "of suggested": found.suggested_probability[shown].tolist(),
    }
    share = percent(len(found) / dataset.n_rows)
    listed = len(columns["label"])
    pairs = [
        ("rows", str(dataset.n_rows)),
        ("doubtful", f"{len(found)} labels, {share}, by {options.folds} folds"),
        ("shown", f"{listed}, the most doubtful first"),
    ]
    facts = {"rows": dataset.n_rows, "doubtful": len(found), "folds": options.folds, "seed": options.seed}
    return Listing("label_errors", pairs, columns, facts | {"thresholds": thresholds})


def _find_doubtful(
    options: TopLossesOptions, model: Model, dataset: Dataset, indices: Array, monitor: Monitor
) -> tuple[DoubtfulLabels, list[float]]:
    """Doubtful labels as indices of the model's classes; a class without rows here takes no part."""
    from sklearn.model_selection import StratifiedKFold

    from crosshead.linear import ConvergenceWarning, out_of_fold_probabilities

    settings = {
        name: model.hyperparameters[name]
        for name in ("alpha", "l1_ratio", "fit_intercept", "class_weight", "tol", "max_iter", "max_time")
        if name in model.hyperparameters
    }
    present, own = np.unique(indices, return_inverse=True)
    whole = len(present) == len(model.classes)
    smallest = int(np.bincount(own).min())
    if len(present) < 2:
        raise UsageError(
            f"{options.source}: all rows are of class {model.classes[present[0]]}; doubtful labels are found among "
            "rows of two classes or more"
        )
    if smallest < options.folds:
        rare = model.classes[present[np.bincount(own).argmin()]]
        raise UsageError(
            f"{options.source}: class {rare} has {smallest} rows, too few for {options.folds} folds; "
            "give more rows of it, or fewer --folds"
        )
    features = model.scaling.apply(dataset.features)
    monitor.stage(f"{options.folds} folds")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fold that is nearly optimal ranks as well
        probabilities, _ = out_of_fold_probabilities(
            features if features.dtype in (np.float32, np.float64) else features.astype(np.float64),
            own,
            cv=StratifiedKFold(options.folds, shuffle=True, random_state=options.seed),
            loss=model_loss(model),
            engine=options.engine,
            n_threads=options.threads,
            callback=monitor,
            random_state=options.seed,
            start=(model.weight.astype(np.float64), model.bias.astype(np.float64)) if whole else None,
            **settings,
        )
    found = doubtful_labels(probabilities, own)
    named = DoubtfulLabels(
        found.rows,
        present[found.given],
        present[found.suggested],
        found.given_probability,
        found.suggested_probability,
        found.thresholds,
        found.joint,
    )
    thresholds = np.full(len(model.classes), np.nan)
    thresholds[present] = found.thresholds
    return named, thresholds.tolist()


def _show(options: TopLossesOptions, listing: Listing, output: Path | None) -> None:
    if output is not None:
        with text_file(output) as stream:
            rows = CsvRows(stream, list(listing.columns), spreadsheet_safe=options.spreadsheet_safe)
            rows.write(list(listing.columns.values()))
            rows.finish()
    if options.as_json:
        names = [name.replace(" ", "_") for name in listing.columns]
        entries = [dict(zip(names, row, strict=True)) for row in zip(*listing.columns.values(), strict=True)]
        head = {"model": options.model, "source": options.source, "output": options.output}
        show_json({**head, **listing.facts, listing.key: entries})
        return
    if output is not None:
        tell("note", f"{len(next(iter(listing.columns.values())))} rows written to {options.output}")
        return
    show_pairs(listing.pairs)
    show_text()
    texts = [[_text(name, value) for value in values] for name, values in listing.columns.items()]
    show_table(list(listing.columns), [list(row) for row in zip(*texts, strict=True)])


def _text(column: str, value: Any) -> str:
    if column == "share":
        return percent(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
