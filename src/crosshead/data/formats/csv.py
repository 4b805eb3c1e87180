"""Read CSV and TSV text, gzipped or not, into an Arrow table."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosshead.data.checks import Place, check_names
from crosshead.data.errors import DataError, load_package
from crosshead.data.files import UNPACKING_ERRORS, is_gzipped, open_unpacked
from crosshead.data.label_text import likely_target

DELIMITERS = (",", ";", "\t")
BLOCK_BYTES, BLOCK_BYTES_A_COLUMN = 1 << 20, 1 << 10
"""Bytes of text that Arrow parses at a time: a piece of a column takes some 600 bytes plus its cells."""
MAX_BLOCK_BYTES, MAX_COLUMNS = 1 << 26, 1 << 17

_LINE_BREAK = re.compile(r"\r\n?|\n")


def read_csv(path: Path, learned: Mapping[str, Any] | None, target: str | None) -> Any:
    """Read the whole table; `learned` is the encoding of an earlier one, whose column types are used.

    The column of labels remains text: `labels_of_text` determines its type.
    """
    pyarrow = load_package("pyarrow", "crosshead[tables]", "reading tables")
    arrow_csv = load_package("pyarrow.csv", "crosshead[tables]", "reading CSV")
    header, delimiter = _csv_header(path)
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{path}: the header has {len(header)} columns, more than the {MAX_COLUMNS} of a table; save so many "
            "numbers as .npy or .npz"
        )
    block = min(max(BLOCK_BYTES, BLOCK_BYTES_A_COLUMN * len(header)), MAX_BLOCK_BYTES)
    types = _learned_types(pyarrow, learned)
    labels = likely_target(header, target, learned)
    types |= {} if labels is None else {labels: pyarrow.string()}
    present = set(header)
    types = {name: arrow_type for name, arrow_type in types.items() if name in present}

    def read(column_types: Mapping[str, Any], use_threads: bool = True) -> tuple[Any, str]:
        """The table, or None and the reason."""
        try:
            with _opened(pyarrow, path) as stream:
                table = arrow_csv.read_csv(
                    stream,
                    read_options=arrow_csv.ReadOptions(use_threads=use_threads, block_size=block),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=delimiter,
                        newlines_in_values=True,
                        ignore_empty_lines=len(header) > 1,  # with one column, an empty line is an empty cell
                    ),
                    convert_options=arrow_csv.ConvertOptions(column_types=column_types),
                )
        except DataError:
            raise
        except (pyarrow.ArrowException, ValueError, *UNPACKING_ERRORS) as error:
            return None, first_line(error)
        return table, ""

    table, reason = read(types)
    if table is None and "conversion error" in reason and "invalid UTF8" not in reason:
        as_text, reason = read({name: pyarrow.string() for name in header})
        if as_text is not None:
            check_names(as_text.column_names, str(path))
            raise _other_type(pyarrow, as_text, types, str(path))
    if table is None and "invalid UTF8" in reason:
        raise _not_utf8(path, reason, header)
    if table is None:
        table, reason = read(types, use_threads=False)  # only a single thread reports the row
    if table is None:
        raise _csv_error(path, reason, delimiter)
    return table


def _opened(pyarrow: Any, path: Path) -> Any:
    """The text as one of Arrow's own files: with a Python file its threads may hang on damaged text."""
    if not is_gzipped(path):
        return pyarrow.OSFile(str(path))
    with open_unpacked(path) as unpacked:
        return pyarrow.BufferReader(unpacked.read())


def _not_utf8(path: Path, reason: str, header: list[str]) -> DataError:
    found = re.search(r"column #(\d+)", reason)
    where = f"column {header[int(found[1])]!r} is" if found is not None else "it holds text that is"
    return DataError(f"{path}: {where} not UTF-8; save the file as UTF-8")


def _csv_error(path: Path, reason: str, delimiter: str) -> DataError:
    if "straddl" in reason:  # a row that does not end within a block
        return DataError(f"{path}: a row is longer than a megabyte, or a quote is never closed; check its quotes")
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", reason)
    if ragged is None:
        return DataError(f"{path}: not a readable table ({reason}); is it truncated?")
    row, expected, found = (int(number) for number in ragged.groups())
    name = {"\t": "tabs", ";": "semicolons"}.get(delimiter, "commas")
    return DataError(
        f"{path}: row {row - 1} below the header has {found} columns, the header has {expected}; "
        f"check its {name} and quotes"
    )


def _learned_types(pyarrow: Any, learned: Mapping[str, Any] | None) -> dict[str, Any]:
    """Column types as in training: words must remain words even if all of them look like numbers."""
    if learned is None:
        return {}
    arrow_types = {"category": pyarrow.string(), "number": pyarrow.float64(), "boolean": pyarrow.bool_()}
    held = [column for column in learned["columns"] if column["kind"] in arrow_types]  # text has no lists
    return {str(column["name"]): arrow_types[column["kind"]] for column in held}


def _other_type(pyarrow: Any, as_text: Any, types: Mapping[str, Any], source: str) -> DataError:
    """The error for a cell of the wrong type; the fast reader reports only the column."""
    for name, arrow_type in types.items():
        if arrow_type == pyarrow.string():
            continue
        for row, cell in enumerate(as_text.column(name).to_pylist()):
            try:
                pyarrow.scalar(cell).cast(arrow_type)
            except pyarrow.ArrowException:
                where = Place(source, below_header=True).row(row)
                kind = "a number" if arrow_type == pyarrow.float64() else "true or false"
                return DataError(f"{source}: {cell!r} at {where}, column {name!r}; in training this column was {kind}")
    return DataError(f"{source}: the columns cannot be read with the types they had in training")


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Read the column names and the delimiter from the first line."""
    try:
        with open_unpacked(path) as stream:
            line = _LINE_BREAK.split(stream.readline(1 << 20).decode("utf-8-sig"), maxsplit=1)[0]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the header is not UTF-8 text; save the file as UTF-8") from error
    except UNPACKING_ERRORS as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); is it truncated?") from error
    delimiter = "\t" if ".tsv" in path.suffixes else max(DELIMITERS, key=lambda mark: len(line.split(mark)))
    try:
        header = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(
            f"{path}: the first line is not a header of column names ({error}); check its quotes"
        ) from error
    if header and all(_is_number(name) for name in header):
        raise DataError(
            f"{path}: the first line holds numbers, not column names; add a header line such as "
            f"{delimiter.join(f'x{number + 1}' for number in range(min(len(header), 3)))}"
        )
    return header, delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def first_line(error: Exception) -> str:
    """The first line of an error of another library; the rest is for its developers."""
    return str(error).split("\n")[0]
