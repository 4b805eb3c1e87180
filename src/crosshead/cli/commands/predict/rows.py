"""Predictions for rows of features, which are read as a whole and scored block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crosshead.cli.commands.predict import PredictOptions
from crosshead.cli.commands.predict.output import block_of, columns_for, open_writer, report, shown_progress
from crosshead.cli.commands.predict.writers import Block
from crosshead.cli.errors import DONE, UsageError
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.data.dataset import Dataset
from crosshead.models import Model, score_blocks


def run(options: PredictOptions, model: Model, output: Path | None) -> int:
    """Predict and write; returns the exit code."""
    _refuse_for_rows(options)
    with Monitor() as monitor:
        monitor.stage(f"reading {options.source}")
        dataset = load_for_model(
            options.source,
            model,
            target=None,
            ignore=options.ignore,
            target_required=False,
            test_rows=options.test_rows,
        )
    _predict(options, output, model, dataset)
    report(options, dataset.n_rows)
    return DONE


def _refuse_for_rows(options: PredictOptions) -> None:
    if len(options.sources) > 1:
        raise UsageError(f"{options.sources[1]}: only a model of images predicts several sources, if all are images")
    for option, given in (
        ("--backbone", options.images.backbone is not None),
        ("--skip-broken", options.images.skip_broken),
        ("--workers", options.images.workers is not None),
    ):
        if given:
            raise UsageError(f"{option} is for images, and {options.source} holds none that the model can take")


def _predict(options: PredictOptions, output: Path | None, model: Model, dataset: Dataset) -> None:
    columns = columns_for(options, model, "row" if dataset.row_names is None else "file", dataset.n_rows)
    with shown_progress(output) as monitor, open_writer(options, output, columns) as writer:
        monitor.stage(f"predicting {dataset.n_rows} rows")
        done = 0
        for block in _blocks(model, dataset, options):
            writer.write(block)
            done += len(block.predicted)
            monitor.detail(f"predicted {done} of {dataset.n_rows} rows")


def _blocks(model: Model, dataset: Dataset, options: PredictOptions) -> Iterator[Block]:
    for first, scores in score_blocks(model, dataset, engine=options.engine, n_threads=options.threads):
        last = first + len(scores)
        if dataset.row_names is None:
            names = np.arange(first + 1, last + 1)
        else:
            names = np.array(dataset.row_names[first:last], dtype=np.str_)
        yield block_of(model, names, scores, options)
