"""Read Parquet files as Arrow tables; the size of their text is determined before it is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosshead.data.checks import repeated
from crosshead.data.errors import load_package
from crosshead.data.formats.parquet_sizes import check_sizes
from crosshead.data.limits import check_unpacked


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read the file, or some columns, as an Arrow table with plain text; DataError if it unpacks to far too much.

    A word that occurs in a million rows is stored once, so words are read as positions in dictionaries, and expanded
    once the sum of their lengths is known.
    """
    parquet = load_package("pyarrow.parquet", "crosshead[tables]", "reading Parquet")
    check_sizes(path)
    with parquet.ParquetFile(path) as file:
        words = [name for name in _word_columns(file) if columns is None or name in columns]
    with parquet.ParquetFile(path, read_dictionary=words) as file:
        table = file.read(columns=columns)
    table.validate(full=True)  # invalid positions would crash the process
    check_words(path, table)
    for name in words:
        column = table.column(name)
        table = table.set_column(table.column_names.index(name), name, column.cast(column.type.value_type))
    return table


def check_words(path: Path, table: Any) -> None:
    """Raise DataError if expanding dictionary-encoded words would take too much memory."""
    types = load_package("pyarrow", "crosshead[tables]", "reading tables").types
    positions = [column for column in table.columns if types.is_dictionary(column.type)]
    words = [column for column in positions if _is_words(types, column.type.value_type)]
    check_unpacked(str(path), sum(map(_text_bytes, words)), path.stat().st_size)


def _word_columns(file: Any) -> list[str]:
    """The columns of text or bytes, except in lists or structs."""
    types = load_package("pyarrow", "crosshead[tables]", "reading Parquet").types
    names = [field.name for field in file.schema_arrow if _is_words(types, field.type)]
    twice = set(repeated(names))
    return [name for name in names if name not in twice and "." not in name]


def _is_words(types: Any, arrow_type: Any) -> bool:
    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _text_bytes(column: Any) -> int:
    """The bytes of the words of a dictionary-encoded column, repetitions included."""
    compute = load_package("pyarrow.compute", "crosshead[tables]", "reading Parquet")
    lengths = [compute.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks]
    return sum(compute.sum(chunk).as_py() or 0 for chunk in lengths)
