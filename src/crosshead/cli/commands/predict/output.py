"""How predictions are written, those of rows and of images alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from crosshead.cli.commands.predict import PredictOptions
from crosshead.cli.commands.predict.writers import Block, Columns, CsvWriter, JsonWriter, Top, Writer, file_writer
from crosshead.cli.errors import tell
from crosshead.cli.output import csv_stream, json_stream, show_json, stdout_is_terminal
from crosshead.cli.progress import Monitor
from crosshead.data.dataset import Array
from crosshead.models import Model, has_probabilities, probabilities_of


def columns_for(options: PredictOptions, model: Model, name: str, n_rows: int | None) -> Columns:
    """What the columns of the predictions are called."""
    top = min(options.top or 0, len(model.classes))
    value = "proba" if has_probabilities(model) else "score"
    return Columns(name, model.classes, n_rows, options.proba, top, value)


def shown_progress(output: Path | None) -> Monitor:
    """A monitor, which keeps quiet where the rows themselves show how far it is."""
    return Monitor(shown=not (output is None and stdout_is_terminal()))


@contextmanager
def open_writer(options: PredictOptions, output: Path | None, columns: Columns) -> Iterator[Writer]:
    """Where the predictions go: a file, or stdout as CSV or JSON."""
    if output is not None:
        with file_writer(output, columns, spreadsheet_safe=options.spreadsheet_safe) as file:
            yield file
        return
    if options.as_json:
        head = {"model": options.model, "source": options.source}
        if columns.n_rows is not None:
            head = {**head, "rows": columns.n_rows}  # type: ignore[dict-item]
        writer: Writer = JsonWriter(json_stream(), columns, head)
    else:
        writer = CsvWriter(csv_stream(), columns, spreadsheet_safe=options.spreadsheet_safe)
    yield writer
    writer.finish()


def block_of(model: Model, names: Array, scores: Array, options: PredictOptions) -> Block:
    """The predictions that scores (n, C) make."""
    predicted = model.classes[scores.argmax(axis=1)]
    probabilities = probabilities_of(model, scores) if options.proba or _wants_probabilities(model, options) else None
    top = None if options.top is None else _top(model, scores, probabilities, options.top)
    return Block(names, predicted, probabilities if options.proba else None, top)


def _wants_probabilities(model: Model, options: PredictOptions) -> bool:
    return options.top is not None and has_probabilities(model)


def _top(model: Model, scores: Array, probabilities: Array | None, k: int) -> Top:
    """The likeliest classes by score: equal ones in the order of the classes, as `argmax` has it."""
    places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = scores if probabilities is None else probabilities
    return Top(model.classes[places], np.take_along_axis(values, places, axis=1))


def report(options: PredictOptions, n_rows: int) -> None:
    """Say where the predictions are, if they went to a file."""
    if options.output is None:
        return
    if options.as_json:
        show_json(
            {
                "model": options.model,
                "source": options.source,
                "rows": n_rows,
                "output": options.output,
            }
        )
    else:
        tell("note", f"{n_rows} predictions written to {options.output}")
