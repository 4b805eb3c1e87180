"""What `crosshead predict` does once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosshead.cli.display import show_json
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.measures import Computing, has_probabilities, probabilities_of, scores_of
from crosshead.cli.monitor import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.cli.writers import Block, Columns, CsvWriter, JsonWriter, Writer, check_output, file_writer
from crosshead.data.dataset import Dataset
from crosshead.models import Model


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead predict`."""

    model: str
    source: str
    proba: bool
    output: str | None
    ignore: tuple[str, ...]
    test_rows: bool
    engine: str
    threads: int | None
    as_json: bool


def run(request: Request) -> int:
    """Predict and write; returns the exit code."""
    output = None if request.output is None else check_output(request.output)
    check_engine(request.engine)
    model = Model.load(request.model)
    if request.proba and not has_probabilities(model):
        raise UsageError(
            f"--proba: the model was trained with {model.loss}, which has no probabilities; "
            "train with --loss softmax or binary, or give it a temperature with crosshead calibrate"
        )
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
    _report(request, dataset)
    return DONE


def _predict(request: Request, output: Path | None, model: Model, dataset: Dataset) -> None:
    columns = Columns("row" if dataset.row_names is None else "file", model.classes, dataset.n_rows, request.proba)
    seen = output is None and sys.stdout.isatty()  # the rows themselves show how far it is
    with Monitor(shown=not seen) as monitor, _writer(request, output, columns) as writer:
        monitor.stage(f"predicting {dataset.n_rows} rows")
        done = 0
        for block in _blocks(model, dataset, request):
            writer.write(block)
            done += len(block.predicted)
            monitor.detail(f"predicted {done} of {dataset.n_rows} rows")


@contextmanager
def _writer(request: Request, output: Path | None, columns: Columns) -> Iterator[Writer]:
    if output is not None:
        with file_writer(output, columns) as file:
            yield file
        return
    if request.as_json:
        head = {"model": request.model, "source": request.source, "rows": columns.n_rows}
        writer: Writer = JsonWriter(sys.stdout, columns, head)
    else:
        writer = CsvWriter(sys.stdout, columns)
    yield writer
    writer.finish()


def _blocks(model: Model, dataset: Dataset, request: Request) -> Iterator[Block]:
    for first, scores in scores_of(model, dataset.features, Computing(request.engine, request.threads)):
        last = first + len(scores)
        if dataset.row_names is None:
            names = np.arange(first + 1, last + 1)
        else:
            names = np.array(dataset.row_names[first:last], dtype=np.str_)
        probabilities = probabilities_of(model, scores) if request.proba else None
        yield Block(names, model.classes[scores.argmax(axis=1)], probabilities)


def _report(request: Request, dataset: Dataset) -> None:
    if request.output is None:
        return
    if request.as_json:
        show_json(
            {
                "model": request.model,
                "source": request.source,
                "rows": dataset.n_rows,
                "output": request.output,
            }
        )
    else:
        tell("note", f"{dataset.n_rows} predictions written to {request.output}")
