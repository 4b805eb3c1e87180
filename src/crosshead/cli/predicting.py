"""What `crosshead predict` does once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crosshead.cli.display import show_json
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.image_options import ImageOptions
from crosshead.cli.measures import Computing, has_probabilities, probabilities_of, scores_of
from crosshead.cli.monitor import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.cli.writers import Block, Columns, CsvWriter, JsonWriter, Top, Writer, check_output, file_writer
from crosshead.data.dataset import Array, Dataset
from crosshead.models import Model


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead predict`."""

    model: str
    sources: tuple[str, ...]
    proba: bool
    top: int | None
    output: str | None
    ignore: tuple[str, ...]
    test_rows: bool
    engine: str
    threads: int | None
    as_json: bool
    images: ImageOptions = field(default_factory=ImageOptions)

    @property
    def source(self) -> str:
        """The sources as one name."""
        return " ".join(self.sources)


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
    from crosshead.cli import predicting_images

    if predicting_images.are_images(model, request.sources):
        return predicting_images.run(request, model, output)
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


def columns_for(request: Request, model: Model, name: str, n_rows: int | None) -> Columns:
    """What the columns of the predictions are called."""
    top = min(request.top or 0, len(model.classes))
    value = "proba" if has_probabilities(model) else "score"
    return Columns(name, model.classes, n_rows, request.proba, top, value)


def shown_progress(output: Path | None) -> Monitor:
    """A monitor, which keeps quiet where the rows themselves show how far it is."""
    return Monitor(shown=not (output is None and sys.stdout.isatty()))


@contextmanager
def open_writer(request: Request, output: Path | None, columns: Columns) -> Iterator[Writer]:
    """Where the predictions go: a file, or stdout as CSV or JSON."""
    if output is not None:
        with file_writer(output, columns) as file:
            yield file
        return
    if request.as_json:
        head = {"model": request.model, "source": request.source}
        if columns.n_rows is not None:
            head = {**head, "rows": columns.n_rows}  # type: ignore[dict-item]
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
        yield block_of(model, names, scores, request)


def block_of(model: Model, names: Array, scores: Array, request: Request) -> Block:
    """The predictions that scores (n, C) make."""
    predicted = model.classes[scores.argmax(axis=1)]
    probabilities = probabilities_of(model, scores) if request.proba or _wants_probabilities(model, request) else None
    top = None if request.top is None else _top(model, scores, probabilities, request.top)
    return Block(names, predicted, probabilities if request.proba else None, top)


def _wants_probabilities(model: Model, request: Request) -> bool:
    return request.top is not None and has_probabilities(model)


def _top(model: Model, scores: Array, probabilities: Array | None, k: int) -> Top:
    """The likeliest classes by score: equal ones in the order of the classes, as `argmax` has it."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = scores if probabilities is None else probabilities
    return Top(model.classes[places], np.take_along_axis(values, places, axis=1))


def report(request: Request, n_rows: int) -> None:
    """Say where the predictions are, if they went to a file."""
    if request.output is None:
        return
    if request.as_json:
        show_json(
            {
                "model": request.model,
                "source": request.source,
                "rows": n_rows,
                "output": request.output,
            }
        )
    else:
        tell("note", f"{n_rows} predictions written to {request.output}")
