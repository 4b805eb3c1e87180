"""Reading a source for a model that is already trained."""

from __future__ import annotations

from collections.abc import Sequence

from crosshead.cli.embedding import load_again
from crosshead.cli.errors import UsageError, tell
from crosshead.cli.options.images import OwnImages
from crosshead.cli.progress import Monitor
from crosshead.data import Dataset
from crosshead.models import Model


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
