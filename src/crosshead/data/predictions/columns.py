"""Find the columns of a table of predictions: outputs, labels, names of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.data.checks import Place
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError, load_package
from crosshead.data.formats.tables import check_table, table_labels, target_name_of, usable_names
from crosshead.data.predictions.predictions import TEXT_TOLERANCE, Kind, Predictions, target_of
from crosshead.data.table_encoder import cells_of, is_number_type
from crosshead.escaping import from_csv

PREFIXES: dict[str, Kind] = {
    "probability_": "probabilities",
    "proba_": "probabilities",
    "prob_": "probabilities",
    "score_": "scores",
    "logit_": "scores",
}
"""Prefixes of columns with outputs; the rest of the name is the class."""

ROW_NAMES = ("row", "file", "id", "row_id")
PREDICTED_NAMES = ("predicted", "prediction", "pred")


@dataclass(frozen=True)
class Wanted:
    """The caller's options: columns of labels and row names, columns to ignore, whether outputs are scores."""

    target: str | None = None
    row_id: str | None = None
    ignore: Sequence[str] = ()
    scores: bool = False
    target_required: bool = True


def predictions_of_table(table: Any, source: str, wanted: Wanted, *, below_header: bool) -> Predictions:
    """Read predictions from an Arrow table: one column per class, a column of labels, and optionally row names."""
    place = Place(source, below_header)
    check_table(table, source)
    names = usable_names(table.column_names, wanted.ignore, [], source)
    names = [name for name in names if name not in wanted.ignore]
    row_id = _row_id(names, wanted, source)
    outputs, classes, kind = _output_columns(table, names, row_id, wanted, place)
    left = [name for name in names if name not in outputs]
    target_name = target_name_of(left, wanted.target, None, wanted.target_required, source)
    class_names = np.array(classes)
    target = None
    if target_name is not None:
        labels = table_labels(table.column(target_name), target_name, place, None)
        target = target_of(_own_labels(labels, class_names) if below_header else labels, class_names, place)
    matrix = np.stack([_numbers(table.column(name), name, place) for name in outputs], axis=1)
    return Predictions(
        matrix,
        class_names,
        target,
        kind=kind,
        row_names=None if row_id is None else _row_names(table.column(row_id), row_id, place),
        tolerance=TEXT_TOLERANCE if below_header else None,
        source=source,
        below_header=below_header,
    )


def _row_id(names: Sequence[str], wanted: Wanted, source: str) -> str | None:
    if wanted.row_id is not None:
        if wanted.row_id not in names:
            raise DataError(f"{source}: no column {wanted.row_id!r} of row names; the columns are {', '.join(names)}")
        return wanted.row_id
    found = [name for name in names if name.lower() in ROW_NAMES and name != wanted.target]
    return found[0] if len(found) == 1 else None


def _output_columns(
    table: Any, names: Sequence[str], row_id: str | None, wanted: Wanted, place: Place
) -> tuple[list[str], list[str], Kind]:
    """The columns of outputs, their classes, and their kind."""
    for prefix, kind in PREFIXES.items():
        found = [name for name in names if name.startswith(prefix) and len(name) > len(prefix)]
        if len(found) > 1:
            return found, [name.removeprefix(prefix) for name in found], "scores" if wanted.scores else kind
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    target = target_name_of(names, wanted.target, None, False, place.source)
    taken = {row_id, target, *PREDICTED_NAMES}
    kinds = {name: table.schema.field(name).type for name in names if name not in taken}
    # A column that is empty in every row has no type; reading its numbers raises the error.
    found = [name for name, kind in kinds.items() if is_number_type(types, kind) or types.is_null(kind)]
    if len(found) < 2:
        advice = "give one column a class, named after it or probability_<class>"
        if any(name in PREDICTED_NAMES for name in names):
            advice += "; crosshead predict writes them with --proba"
        what = f"only one column of numbers, {found[0]!r}" if found else "no columns of probabilities or scores"
        raise DataError(f"{place.source}: {what}; {advice}")
    return found, list(found), "scores" if wanted.scores else "probabilities"


def _no_number(column: Any) -> tuple[int, str]:
    """The row and text of the first cell that is not a number, or row 0 if all are."""
    for row, cell in enumerate(column):
        try:
            float(cell.as_py())
        except (TypeError, ValueError, ArithmeticError):
            return row, _shown(cell)
    return 0, _shown(column[0])


def _shown(cell: Any) -> str:
    """Format a cell; dates may be out of Python's range."""
    try:
        return repr(cell.as_py())
    except (ValueError, ArithmeticError):
        return "a value out of range"


def _numbers(column: Any, name: str, place: Place) -> Array:
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    if column.null_count:
        missing = np.flatnonzero(column.is_null().to_numpy())
        raise DataError(f"{place.source}: NaN, or an empty cell, at {place.row(int(missing[0]))}, column {name!r}")
    if not is_number_type(types, column.type):
        row, example = _no_number(column)
        raise DataError(
            f"{place.source}: column {name!r} holds {column.type}, as {example} at {place.row(row)}; give numbers"
        )
    values = column.to_numpy()
    return np.asarray(values if values.dtype in (np.float32, np.float64) else values.astype(np.float64))


def _row_names(column: Any, name: str, place: Place) -> Array:
    """Row names as text or numbers; in CSV without the apostrophes of `for_csv`."""
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    if types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type):
        return np.asarray(column.to_numpy())
    values = cells_of(column, name, place.source)
    if any(isinstance(value, bytes) for value in values):
        raise DataError(f"{place.source}: column {name!r} of row names is not UTF-8 text; save the file as UTF-8")
    return (
        np.array([from_csv(str(each)) for each in values]) if place.below_header else np.array(list(map(str, values)))
    )


def _own_labels(labels: Array, classes: Array) -> Array:
    """Labels in CSV, without the apostrophe of `for_csv` if the rest is one of the classes."""
    if labels.dtype.kind != "U":
        return labels
    own = [from_csv(label) for label in labels.tolist()]
    known = set(map(str, classes.tolist()))
    return np.array([new if new in known else old for new, old in zip(own, labels.tolist(), strict=True)])
