"""What is asked of `crosshead predict`, and how predictions are written: of rows and of images alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crosshead.cli.errors import tell
from crosshead.cli.measures import has_probabilities, probabilities_of
from crosshead.cli.options.images import StreamedImages
from crosshead.cli.output import csv_stream, json_stream, show_json, stdout_is_terminal
from crosshead.cli.progress import Monitor
from crosshead.cli.writers import Block, Columns, CsvWriter, JsonWriter, Top, Writer, file_writer
from crosshead.data.dataset import Array
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
    images: StreamedImages = field(default_factory=StreamedImages)
    spreadsheet_safe: bool = True

    @property
    def source(self) -> str:
        """The sources as one name."""
        return " ".join(self.sources)


def columns_for(request: Request, model: Model, name: str, n_rows: int | None) -> Columns:
    """What the columns of the predictions are called."""
    top = min(request.top or 0, len(model.classes))
    value = "proba" if has_probabilities(model) else "score"
    return Columns(name, model.classes, n_rows, request.proba, top, value)


def shown_progress(output: Path | None) -> Monitor:
    """A monitor, which keeps quiet where the rows themselves show how far it is."""
    return Monitor(shown=not (output is None and stdout_is_terminal()))


@contextmanager
def open_writer(request: Request, output: Path | None, columns: Columns) -> Iterator[Writer]:
    """Where the predictions go: a file, or stdout as CSV or JSON."""
    if output is not None:
        with file_writer(output, columns, spreadsheet_safe=request.spreadsheet_safe) as file:
            yield file
        return
    if request.as_json:
        head = {"model": request.model, "source": request.source}
        if columns.n_rows is not None:
            head = {**head, "rows": columns.n_rows}  # type: ignore[dict-item]
        writer: Writer = JsonWriter(json_stream(), columns, head)
    else:
        writer = CsvWriter(csv_stream(), columns, spreadsheet_safe=request.spreadsheet_safe)
    yield writer
    writer.finish()


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
