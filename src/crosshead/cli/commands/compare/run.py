"""What `crosshead compare` does once its options are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from crosshead import evaluation, models
from crosshead.cli.commands.compare import CompareOptions
from crosshead.cli.commands.compare.show import show
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.options.images import OwnImages
from crosshead.cli.predictions import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model, note_seen_rows, row_name_of
from crosshead.data import Dataset, Predictions
from crosshead.data.formats.feature_files import KIND
from crosshead.evaluation import Comparison
from crosshead.models import Model


def run(options: CompareOptions) -> int:
    """Compare and show; returns the exit code."""
    check_engine(options.engine)
    if all(map(are_predictions, options.models)):
        found, row_name = _of_predictions(options)
    else:
        found, row_name = _of_models(options)
    show(found, row_name, as_json=options.as_json)
    return DONE


def _of_predictions(options: CompareOptions) -> tuple[Comparison, Callable[[int], str]]:
    for option, given in (
        ("--test-rows", options.test_rows),
        ("--engine", options.engine != "auto"),
        ("--threads", options.threads is not None),
        *((option, True) for option in options.images.given),
    ):
        if given:
            raise UsageError(f"{option} is for models with a source, and these are files of predictions")
    names = _names(options.models, "files of predictions")
    with Monitor() as monitor:
        labels = load_labels(options.predictions)
        found: dict[str, Predictions] = {}
        for name, argument in zip(names, options.models, strict=True):
            monitor.stage(f"reading {argument}")
            found[name] = load_predictions(argument, options.predictions, labels)
        one = found[names[0]]
        monitor.stage(f"comparing on {one.n_rows} rows")
        comparison = evaluation.compare(found, most=options.most, **options.measuring)
    if one.row_names is None and labels is None:
        tell("note", "the files do not name their rows: that they are the same is judged by their labels alone")
    return comparison, one.row_name


def _of_models(options: CompareOptions) -> tuple[Comparison, Callable[[int], str]]:
    options.predictions.refuse_for_model()
    *folders, source = options.models
    for folder in folders:
        if are_predictions(folder):
            raise UsageError(f"{folder} is a file: compare files of predictions, or models' folders and last a source")
    names = _names(folders, "models and the source")
    loaded = {name: Model.load(folder) for name, folder in zip(names, folders, strict=True)}
    with Monitor() as monitor:
        monitor.stage(f"reading {source}")
        through_network = any(model.encoding.get("kind") == KIND for model in loaded.values())
        datasets = {name: _dataset(options, source, model, through_network, monitor) for name, model in loaded.items()}
        found = models.compare(
            loaded,
            datasets,
            most=options.most,
            engine=options.engine,
            n_threads=options.threads,
            callback=lambda done, total: monitor.detail(f"scored {done} of {total} rows"),
            **options.measuring,
        )
    for name, model in loaded.items():
        note_seen_rows(model, datasets[name], f"{name}: ")
    return found, row_name_of(datasets[names[0]])


def _dataset(options: CompareOptions, source: str, model: Model, through_network: bool, monitor: Monitor) -> Dataset:
    """The source as this model reads it; what one model encodes, or takes through a network, another may not know."""
    images = options.images
    if through_network and model.encoding.get("kind") != KIND:
        images = OwnImages(skip_broken=images.skip_broken)
    return load_for_model(
        source,
        model,
        target=options.target,
        ignore=options.ignore,
        target_required=True,
        test_rows=options.test_rows,
        images=images,
        threads=options.threads,
        monitor=monitor,
    )


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
