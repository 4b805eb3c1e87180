"""Read tables: CSV and TSV (also gzipped), Parquet, Feather and Arrow files, one row per sample."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from crosshead.data.checks import Place, as_labels, check_finite, check_names
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError, load_package
from crosshead.data.formats.arrow_sizes import check_buffers
from crosshead.data.formats.csv import first_line, read_csv
from crosshead.data.formats.parquet import check_words, read_parquet
from crosshead.data.label_text import TARGET_NAMES, labels_of_text
from crosshead.data.memmap import MappedFile
from crosshead.data.table_encoder import column_features, encode_columns, learn_columns


def read_table(
    path: Path,
    table_format: str,
    *,
    target: str | None,
    target_required: bool,
    ignore: Sequence[str] = (),
    encoding: Mapping[str, Any] | None = None,
) -> Dataset:
    """Read a table into features and labels.

    `table_format` is ``csv``, ``parquet``, ``arrow`` or ``arrow-stream``. With the `encoding` of an earlier table, the
    same columns become the same features, and other columns are ignored. For a model that was not trained on a table,
    the columns are used in their order.
    """
    learned = encoding if encoding is not None and encoding.get("kind") == "table" else None
    below_header = table_format == "csv"
    table = read_csv(path, learned, target) if below_header else read_binary(path, table_format)
    source = str(path)
    check_table(table, source)
    notes: list[str] = []
    names = usable_names(table.column_names, ignore, notes, source)
    target_name = target_name_of(names, target, learned, target_required, source)
    place = Place(source, below_header)
    if learned is None:
        wanted = [name for name in names if name != target_name and name not in ignore]
        if not wanted:
            raise DataError(f"{source}: 0 features: no column is left beside the target {target_name!r}")
        columns = learn_columns(table, wanted, place, notes)
    else:
        columns = list(learned["columns"])
        _check_columns_present(columns, names, source)
    features = encode_columns(table, columns, place, notes)
    feature_names = column_features(columns)
    check_finite(features, Place(source, below_header, feature_names))
    labels = None
    if target_name is not None:
        labels = table_labels(table.column(target_name), target_name, place, learned, notes)
    return Dataset(
        features,
        labels,
        feature_names=feature_names,
        encoding={
            "kind": "table",
            "target": target_name,
            "target_type": None if labels is None else _label_type(labels),
            "columns": columns,
        },
        source=source,
        notes=tuple(notes),
    )


def check_table(table: Any, source: str) -> None:
    """Raise DataError for a table without columns or rows, or with duplicate column names."""
    check_names(table.column_names, source)
    if table.num_columns == 0:
        raise DataError(f"{source}: the table has no columns")
    if table.num_rows == 0:
        raise DataError(f"{source}: the table has columns but no rows")


def usable_names(names: Sequence[str], ignore: Sequence[str], notes: list[str], source: str) -> list[str]:
    """The names of columns, without a row index written by pandas."""
    for name in ignore:
        if name not in names:
            raise DataError(f"{source}: no column {name!r} to ignore{_similar(name, names)}")
    usable = []
    for position, name in enumerate(names):
        if re.fullmatch(r"__index_level_\d+__", name) or (name == "" and position == 0):
            notes.append(f"{source}: column {name!r} is a row index and was passed over")
        elif name == "":
            raise DataError(f"{source}: column {position + 1} has no name; add one to the header")
        else:
            usable.append(name)
    return usable


def target_name_of(
    names: Sequence[str],
    target: str | None,
    learned: Mapping[str, Any] | None,
    required: bool,
    source: str,
) -> str | None:
    """The column of labels: the given one, that of training, or one with a usual name; None if none is required."""
    if target is not None:
        if target not in names:
            raise DataError(f"{source}: no column {target!r}{_similar(target, names)}")
        return target
    if learned is not None and learned.get("target") is not None:
        known = str(learned["target"])
        if known in names or not required:
            return known if known in names else None
        raise DataError(f"{source}: no column {known!r}, the target in training{_similar(known, names)}")
    candidates = [name for name in names if name.lower() in TARGET_NAMES]
    if len(candidates) == 1:
        return candidates[0]
    if not required and not candidates:
        return None
    found = f"several columns could be it: {_listed(candidates)}" if candidates else "none has a usual name"
    raise DataError(f"{source}: which column is the target? {found}; say --target NAME, one of {_listed(names)}")


def _check_columns_present(columns: Sequence[Mapping[str, Any]], names: Sequence[str], source: str) -> None:
    present = set(names)
    for column in columns:
        name = str(column["name"])
        if name not in present:
            raise DataError(f"{source}: column {name!r}, a feature in training, is missing{_similar(name, names)}")


def _similar(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} the columns are {_listed(names)}"


def _listed(names: Collection[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def table_labels(
    column: Any, name: str, place: Place, learned: Mapping[str, Any] | None, notes: list[str] | None = None
) -> Array:
    """Convert a column of a table to labels; DataError names a row without label."""
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    compute = load_package("pyarrow.compute", "crosshead[tables]", "reading tables")
    types = pyarrow.types
    if column.null_count:
        row = int(compute.indices_nonzero(compute.is_null(column))[0].as_py())
        raise DataError(
            f"{place.source}: column {name!r} has no label at {place.row(row)}; fill it in or remove the row"
        )
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_temporal(column.type) or types.is_nested(column.type) or types.is_binary(column.type):
        raise DataError(
            f"{place.source}: column {name!r} holds {column.type}, which cannot be labels; give integers or strings"
        )
    if types.is_decimal(column.type):
        column = column.cast(pyarrow.float64())
    learned_type = None if learned is None else learned.get("target_type")
    if place.below_header and types.is_string(column.type):
        values = labels_of_text(column, name, place, learned_type, [] if notes is None else notes)
        return as_labels(values, name, place)
    if learned_type == "str" and types.is_integer(column.type):
        column = column.cast(pyarrow.string())
    values = np.array(column.to_numpy())  # a copy: a view would keep the mapped file
    return as_labels(values.astype(np.str_) if values.dtype.kind == "O" else values, name, place)


def _label_type(labels: Array) -> str:
    return {"i": "int", "b": "bool"}.get(labels.dtype.kind, "str")


def read_binary(path: Path, table_format: str) -> Any:
    """Read a Parquet, Feather or Arrow file as an Arrow table; DataError if it is damaged."""
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    if table_format != "parquet":
        check_buffers(path)
    try:
        table = _open_binary(pyarrow, path, table_format)
        # A damaged Arrow file can have invalid offsets; unchecked, they crash the process.
        table.validate(full=True)
        check_words(path, table)
        _ = table.column_names
    except DataError:
        raise
    except Exception as error:  # damaged files can raise almost anything, also a size larger than the memory
        word = "Parquet" if table_format == "parquet" else "Arrow"
        raise DataError(f"{path}: not a readable {word} file ({first_line(error)}); is it truncated?") from error
    return table


def _open_binary(pyarrow: Any, path: Path, table_format: str) -> Any:
    if table_format == "parquet":
        return read_parquet(path)
    with path.open("rb") as file, pyarrow.BufferReader(_mapped(pyarrow, file)) as stream:
        if table_format == "arrow-stream":
            return pyarrow.ipc.open_stream(stream).read_all()
        return pyarrow.ipc.open_file(stream).read_all()


def _mapped(pyarrow: Any, file: IO[bytes]) -> Any:
    """An Arrow buffer of a whole file, memory-mapped; tables read from it keep the mapping."""
    return pyarrow.py_buffer(MappedFile(file, os.fstat(file.fileno()).st_size))
