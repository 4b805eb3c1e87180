"""What `crosshead compare` does once its options are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.cli.commands.compare import show as comparison_report
from crosshead.cli.commands.evaluate.run import Measuring, note_known_rows, row_names_of
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, evaluator_of, scores_of
from crosshead.cli.options.images import OwnImages
from crosshead.cli.options.predictions import PredictionOptions
from crosshead.cli.output import show_json
from crosshead.cli.predicted import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.data import Dataset, Predictions
from crosshead.data.checks import class_positions
from crosshead.data.formats.feature_files import KIND
from crosshead.evaluation import Comparer, Comparison, compare
from crosshead.models import Model

BLOCK_BYTES = 1 << 26
"""Features and scores of the rows that all models look at before the next rows."""


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead compare`."""

    arguments: tuple[str, ...]
    predictions: PredictionOptions
    measuring: Measuring
    most: int
    test_rows: bool
    engine: str
    threads: int | None
    as_json: bool
    images: OwnImages = field(default_factory=OwnImages)


def run(request: Request) -> int:
    """Compare and show; returns the exit code."""
    check_engine(request.engine)
    if all(are_predictions(argument) for argument in request.arguments):
        found, row_name = _of_predictions(request)
    else:
        found, row_name = _of_models(request)
    if request.as_json:
        document = found.to_dict()
        for pair in document["pairs"]:
            pair["most_different"] = [{"name": row_name(row["row"]), **row} for row in pair["most_different"]]
        show_json(document)
    else:
        comparison_report.show(found, row_name)
    return DONE


def _of_predictions(request: Request) -> tuple[Comparison, Callable[[int], str]]:
    for option, given in (
        ("--test-rows", request.test_rows),
        ("--engine", request.engine != "auto"),
        ("--threads", request.threads is not None),
        *((option, True) for option in request.images.given),
    ):
        if given:
            raise UsageError(f"{option} is for models with a source, and these are files of predictions")
    names = _names(request.arguments, "files of predictions")
    with Monitor() as monitor:
        labels = load_labels(request.predictions)
        models: dict[str, Predictions] = {}
        for name, argument in zip(names, request.arguments, strict=True):
            monitor.stage(f"reading {argument}")
            models[name] = load_predictions(argument, request.predictions, labels)
        one = models[names[0]]
        monitor.stage(f"comparing on {one.n_rows} rows")
        found = compare(models, most=request.most, **asdict(request.measuring))
    if one.row_names is None and labels is None:
        tell("note", "the files do not name their rows: that they are the same is judged by their labels alone")
    return found, one.row_name


def _of_models(request: Request) -> tuple[Comparison, Callable[[int], str]]:
    request.predictions.refuse_for_model()
    *folders, source = request.arguments
    for folder in folders:
        if are_predictions(folder):
            raise UsageError(f"{folder} is a file: compare files of predictions, or models' folders and last a source")
    names = _names(folders, "models and the source")
    models = {name: Model.load(folder) for name, folder in zip(names, folders, strict=True)}
    computing = Computing(request.engine, request.threads)
    with Monitor() as monitor:
        monitor.stage(f"reading {source}")
        through_network = any(model.encoding.get("kind") == KIND for model in models.values())
        datasets = {name: _dataset(request, source, model, through_network, monitor) for name, model in models.items()}
        one = models[names[0]]
        _check_classes(models)
        target = class_indices(datasets[names[0]], one.classes)
        options = asdict(request.measuring)
        comparer = Comparer(
            {name: evaluator_of(model, target.size, **options) for name, model in models.items()}, request.most
        )
        for evaluator in comparer.evaluators.values():
            evaluator.classes = one.classes
        orders = {name: class_positions(one.classes, model.classes) for name, model in models.items()}
        step = max(1, min(_rows_of_a_block(model) for model in models.values()))
        for first in range(0, target.size, step):
            monitor.detail(f"scored {first} of {target.size} rows")
            rows = slice(first, first + step)
            comparer.add(
                {
                    name: _scores(model, datasets[name].features[rows], computing)[:, orders[name]]
                    for name, model in models.items()
                },
                target[rows],
            )
        found = comparer.result()
    for name, model in models.items():
        note_known_rows(model, datasets[name], f"{name}: ")
    return found, row_names_of(datasets[names[0]])


def _dataset(request: Request, source: str, model: Model, through_network: bool, monitor: Monitor) -> Dataset:
    """The source as this model reads it; what one model encodes, or takes through a network, another may not know."""
    images = request.images
    if through_network and model.encoding.get("kind") != KIND:
        images = OwnImages(skip_broken=images.skip_broken)
    return load_for_model(
        source,
        model,
        target=request.predictions.target,
        ignore=request.predictions.ignore,
        target_required=True,
        test_rows=request.test_rows,
        images=images,
        threads=request.threads,
        monitor=monitor,
    )


def _rows_of_a_block(model: Model) -> int:
    n_classes, n_features = model.weight.shape
    return int(BLOCK_BYTES // (8 * (n_classes + n_features)))


def _scores(model: Model, features: Any, computing: Computing) -> Any:
    return np.concatenate([scores for _, scores in scores_of(model, features, computing)])


def _check_classes(models: dict[str, Model]) -> None:
    (first, one), *others = models.items()
    for name, other in others:
        odd = class_positions(other.classes, one.classes) < 0
        if odd.any() or len(other.classes) != len(one.classes):
            what = f"{name} knows {other.classes[odd][0]}" if odd.any() else f"{first} knows more"
            raise UsageError(f"{first} and {name} do not tell the same classes apart ({what}); compare models that do")


def _names(arguments: Sequence[str], what: str) -> list[str]:
    """What the models are called: the last part of each path where that tells them apart, else the whole."""
    if len(arguments) < 2:
        raise UsageError(f"name at least two {what} to compare; see crosshead compare --help")
    short = [Path(argument).name or argument for argument in arguments]
    if len(set(short)) == len(short):
        return short
    if len(set(arguments)) < len(arguments):
        raise UsageError(f"{next(a for a in arguments if arguments.count(a) > 1)} is named twice")
    return list(arguments)
