"""Files of predictions on the command line: which arguments are some, and how they and their labels are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crosshead.cli.errors import UsageError
from crosshead.cli.options.predictions import PredictionOptions
from crosshead.cli.sources import show_notes
from crosshead.data import DataError, Dataset, Predictions, load, read_predictions
from crosshead.data.checks import Place
from crosshead.data.formats.numpy_arrays import split_pair
from crosshead.data.predictions.predictions import target_of

SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".feather", ".arrow", ".npz", ".npy", ".jsonl", ".ndjson", ".json"})


def are_predictions(argument: str) -> bool:
    """Whether an argument names a file (or a pair of arrays), or is called like one, and is no folder, as a model is.

    Examples
    --------
    >>> are_predictions("P.npy,y.npy"), are_predictions("digits-model")
    (True, False)
    """
    path = Path(argument)
    called_so = path.suffix.lower() in SUFFIXES and not path.is_dir()
    return path.is_file() or called_so or split_pair(argument) is not None


def load_predictions(source: str, options: PredictionOptions, labels: Dataset | None = None) -> Predictions:
    """Read a file of predictions, with its own labels or those of a source that was read."""
    found = read_predictions(
        source,
        target=None if labels is not None else options.target,
        row_id=options.row_id,
        ignore=options.ignore,
        scores=options.scores,
        target_required=False,
    )
    if labels is not None:
        return _labelled(found, labels)
    if found.target is None:
        raise UsageError(
            f"{source}: no labels to compare with; say which column holds them with --target COLUMN, "
            "or which source with --labels SOURCE"
        )
    return found


def load_labels(options: PredictionOptions) -> Dataset | None:
    """The source that ``--labels`` names, if any."""
    if options.labels is None:
        return None
    dataset = load(options.labels, target=options.target, target_required=True)
    show_notes(dataset)
    return dataset


def _labelled(predictions: Predictions, labels: Dataset) -> Predictions:
    """The same predictions with another source's labels, where its rows are as many and called the same."""
    assert labels.target is not None
    if labels.n_rows != predictions.n_rows:
        raise DataError(f"{predictions.source}: {predictions.n_rows} rows, but {labels.source} has {labels.n_rows}")
    if labels.row_names is not None and predictions.row_names is not None:
        pairs = zip(predictions.row_names.astype(str).tolist(), labels.row_names, strict=True)
        for row, (mine, theirs) in enumerate(pairs, start=1):
            if mine != theirs:
                raise DataError(f"{predictions.source}: row {row} is {mine!r}, but in {labels.source} it is {theirs!r}")
    target = target_of(labels.target, predictions.classes, Place(labels.source))
    return replace(predictions, target=target)
