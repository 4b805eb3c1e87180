"""Predictions for rows of features, which are read as a whole and scored block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crosshead.cli.commands.predict.output import Request, block_of, columns_for, open_writer, report, shown_progress
from crosshead.cli.errors import DONE, UsageError
from crosshead.cli.measures import Computing, scores_of
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.cli.writers import Block
from crosshead.data.dataset import Dataset
from crosshead.models import Model


def run(request: Request, model: Model, output: Path | None) -> int:
    """Predict and write; returns the exit code."""
    _refuse_for_rows(request)
    with Monitor() as monitor:
        monitor.stage(f"reading {request.source}")
        dataset = load_for_model(
            request.source,
            model,
            target=None,
            ignore=request.ignore,
            target_required=False,
            test_rows=request.test_rows,
        )
    _predict(request, output, model, dataset)
    report(request, dataset.n_rows)
    return DONE


def _refuse_for_rows(request: Request) -> None:
    if len(request.sources) > 1:
        raise UsageError(f"{request.sources[1]}: only a model of images predicts several sources, if all are images")
    for option, given in (
        ("--backbone", request.images.backbone is not None),
        ("--skip-broken", request.images.skip_broken),
        ("--workers", request.images.workers is not None),
    ):
        if given:
            raise UsageError(f"{option} is for images, and {request.source} holds none that the model can take")


def _predict(request: Request, output: Path | None, model: Model, dataset: Dataset) -> None:
    columns = columns_for(request, model, "row" if dataset.row_names is None else "file", dataset.n_rows)
    with shown_progress(output) as monitor, open_writer(request, output, columns) as writer:
        monitor.stage(f"predicting {dataset.n_rows} rows")
        done = 0
        for block in _blocks(model, dataset, request):
            writer.write(block)
            done += len(block.predicted)
            monitor.detail(f"predicted {done} of {dataset.n_rows} rows")


def _blocks(model: Model, dataset: Dataset, request: Request) -> Iterator[Block]:
    for first, scores in scores_of(model, dataset.features, Computing(request.engine, request.threads)):
        last = first + len(scores)
        if dataset.row_names is None:
            names = np.arange(first + 1, last + 1)
        else:
            names = np.array(dataset.row_names[first:last], dtype=np.str_)
        yield block_of(model, names, scores, request)
