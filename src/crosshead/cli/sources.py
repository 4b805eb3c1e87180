"""Sources on the command line: read for a model that is trained, what rows are called, and which it has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crosshead.cli.backbones import load_again
from crosshead.cli.errors import UsageError, tell
from crosshead.cli.options.images import OwnImages
from crosshead.cli.progress import Monitor
from crosshead.data import Dataset
from crosshead.models import Model, seen_rows


def load_for_model(
    source: str,
    model: Model,
    *,
    target: str | None,
    ignore: Sequence[str],
    target_required: bool,
    test_rows: bool,
    images: OwnImages | None = None,
    threads: int | None = None,
    monitor: Monitor | None = None,
) -> Dataset:
    """Read a source into the features that the model was trained on; say what a person should know."""
    dataset = load_again(
        source,
        model.encoding,
        target=target,
        ignore=tuple(ignore),
        target_required=target_required,
        images=images,
        threads=threads,
        monitor=monitor,
        network=model.network,
    )
    if test_rows:
        if dataset.test is None:
            raise UsageError(f"{source}: --test-rows, but the source brings no test rows of its own")
        dataset = dataset.test
    elif dataset.test is not None:
        tell("note", f"{source} brings {dataset.test.n_rows} test rows of its own; --test-rows takes those")
    check_features(dataset, model)
    show_notes(dataset)
    return dataset


def note_seen_rows(model: Model, dataset: Dataset, name: str = "") -> dict[str, int]:
    """Say on stderr which rows the model has seen; their numbers, as the document has them."""
    seen = seen_rows(model, dataset)
    if seen.training:
        tell("note", f"{name}the model was trained on {seen.training} of these rows; new rows tell more about it")
    known = {"training_rows": seen.training}
    if model.temperature is not None:
        if seen.calibration:
            tell(
                "note",
                f"{name}the temperature was fitted on {seen.calibration} of these rows; new rows tell more about it",
            )
        known["calibration_rows"] = seen.calibration
    return known


def row_title(dataset: Dataset) -> str:
    """What the names of rows are: "file", or "row" where they are numbers."""
    return "row" if dataset.row_names is None else "file"


def row_names(dataset: Dataset, rows: Sequence[int]) -> list[Any]:
    """What a person calls rows (from 0): numbers from 1, or file names."""
    return [row + 1 if dataset.row_names is None else dataset.row_names[row] for row in rows]


def numbered_rows(dataset: Dataset) -> Dataset:
    """The dataset with its rows named by their numbers, so that a part of it still says which rows they are."""
    if dataset.row_names is not None:
        return dataset
    return replace(dataset, row_names=[str(row + 1) for row in range(dataset.n_rows)])


def row_name_of(dataset: Dataset) -> Callable[[int], str]:
    """From a row (from 0) to what a person calls it, as text."""
    return lambda row: str(row_names(dataset, [row])[0])


def show_notes(dataset: Dataset) -> None:
    """Print what the reader noticed."""
    for note in dataset.notes:
        tell("note", note)


def check_features(dataset: Dataset, model: Model) -> None:
    """UsageError where number or names of the features are not those of training."""
    n_features = int(model.weight.shape[1])
    if dataset.n_features != n_features:
        raise UsageError(
            f"{dataset.source}: {dataset.n_features} features per row, but the model was trained on {n_features}"
        )
    if dataset.feature_names is None or model.feature_names is None:
        return
    pairs = zip(dataset.feature_names, model.feature_names, strict=True)
    for position, (found, expected) in enumerate(pairs, start=1):
        if found != expected:
            raise UsageError(
                f"{dataset.source}: feature {position} is {found!r}, but in training it was {expected!r}; "
                "give the same features in the same order"
            )
