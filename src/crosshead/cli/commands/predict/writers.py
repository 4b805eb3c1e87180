"""Where predictions go, block by block: CSV, Parquet, .npz or JSON."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TextIO

import numpy as np

from crosshead.atomic_files import atomic_write
from crosshead.cli.output import CsvRows, TextTarget, json_text
from crosshead.data.dataset import Array
from crosshead.data.errors import load_package
from crosshead.escaping import for_utf8

SUFFIXES = (".csv", ".parquet", ".npz")


@dataclass(frozen=True)
class Top:
    """The K likeliest classes of each row (n, K), best first, with their probabilities or scores (n, K)."""

    classes: Array
    values: Array


@dataclass(frozen=True)
class Block:
    """Predictions of some consecutive rows: their numbers (from 1) or file names, classes, probabilities."""

    names: Array
    predicted: Array
    probabilities: Array | None
    top: Top | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of all blocks are called, and how many rows there will be, where that is known.

    ``top`` is K, and ``top_value`` what the likeliest classes come with: "proba" or "score".
    """

    name: str
    classes: Array
    n_rows: int | None
    probabilities: bool
    top: int = 0
    top_value: str = "proba"

    @property
    def probability_names(self) -> list[str]:
        """One name a class, where there are probabilities."""
        return [f"proba_{label}" for label in self.classes.tolist()] if self.probabilities else []

    @property
    def top_names(self) -> list[str]:
        """Two names a place: the class in it, and its probability or score."""
        places = range(1, self.top + 1)
        return [name for place in places for name in (f"top_{place}", f"top_{place}_{self.top_value}")]

    def top_columns(self, top: Top) -> dict[str, Array]:
        """The columns that `top_names` names."""
        pairs = zip(top.classes.T, top.values.T, strict=True)
        return dict(zip(self.top_names, [np.ascontiguousarray(one) for pair in pairs for one in pair], strict=True))


class Writer(Protocol):
    """Takes blocks in order; `finish` comes once, after the last."""

    def write(self, block: Block) -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102


class CsvWriter:
    """One line a row, below a header; see `CsvRows`."""

    def __init__(self, stream: TextTarget, columns: Columns, *, spreadsheet_safe: bool = True) -> None:
        self._columns = columns
        header = [columns.name, "predicted", *columns.top_names, *columns.probability_names]
        self._rows = CsvRows(stream, header, spreadsheet_safe=spreadsheet_safe)

    def write(self, block: Block) -> None:
        """Write some rows."""
        top = [] if block.top is None else self._columns.top_columns(block.top).values()
        self._rows.write([block.names, block.predicted, *top], block.probabilities)

    def finish(self) -> None:
        """Say how many cells are not what the text was."""
        self._rows.finish()


class JsonWriter:
    """One JSON document whose list of predictions is written as it comes, and then what is known only at its end."""

    def __init__(self, stream: TextIO, columns: Columns, head: dict[str, Any]) -> None:
        self._stream, self._columns = stream, columns
        opening = json_text({**head, "classes": columns.classes.tolist()})
        self._stream.write(opening.removesuffix("}") + ', "predictions": [')
        self._separator = "\n"
        self.tail: dict[str, Any] = {}

    def write(self, block: Block) -> None:
        """Write some rows."""
        for position, (name, label) in enumerate(zip(block.names.tolist(), block.predicted.tolist(), strict=True)):
            entry = {self._columns.name: name, "predicted": label}
            if block.top is not None:
                pairs = zip(block.top.classes[position].tolist(), block.top.values[position].tolist(), strict=True)
                value_name = {"proba": "probability"}.get(self._columns.top_value, self._columns.top_value)
                entry["top"] = [{"class": label, value_name: value} for label, value in pairs]
            if block.probabilities is not None:
                entry["probabilities"] = block.probabilities[position].tolist()
            self._stream.write(self._separator + json_text(entry))
            self._separator = ",\n"

    def finish(self) -> None:
        """Close the list and the document."""
        tail = json_text(self.tail)[1:-1]
        self._stream.write("\n]" + (f", {tail}" if tail else "") + "}\n")


class ParquetWriter:
    """One row group a block."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns, self._path = columns, path
        self._file: Any = None
        self._arrow = load_package("pyarrow", "crosshead[tables]", "writing Parquet")
        self._parquet = load_package("pyarrow.parquet", "crosshead[tables]", "writing Parquet")

    def write(self, block: Block) -> None:
        """Write some rows."""
        arrays = {self._columns.name: block.names, "predicted": block.predicted}
        if block.top is not None:
            arrays |= self._columns.top_columns(block.top)
        if block.probabilities is not None:
            names = self._columns.probability_names
            arrays |= dict(zip(names, np.ascontiguousarray(block.probabilities.T), strict=True))
        table = self._arrow.table(
            {for_utf8(name): self._arrow.array(_valid(values)) for name, values in arrays.items()}
        )
        if self._file is None:
            self._file = self._parquet.ParquetWriter(self._path, table.schema)
        self._file.write_table(table)

    def finish(self) -> None:
        """Write the file's footer."""
        if self._file is not None:
            self._file.close()


def _valid(values: Array) -> Array | list[str]:
    return list(map(for_utf8, values.tolist())) if values.dtype.kind == "U" else values


class NpzWriter:
    """Arrays `predicted`, `classes`, `row` or `file`, and `proba` (N, C), which is written as it comes.

    The likeliest classes are `top` and `top_proba` or `top_score`, (N, K). Where the number of rows is not known
    before, probabilities wait in a temporary file, since an array's header comes before its rows.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns, self._folder = columns, path.parent
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._proba: IO[bytes] | None = None
        self._names: list[Array] = []
        self._predicted: list[Array] = []
        self._top: list[Top] = []
        self._waiting: IO[bytes] | None = None
        self._dtype: np.dtype[Any] = np.dtype(np.float64)

    def write(self, block: Block) -> None:
        """Write some rows."""
        self._names.append(block.names)
        self._predicted.append(block.predicted)
        if block.probabilities is not None:
            self._stream_for(block.probabilities.dtype).write(np.ascontiguousarray(block.probabilities).tobytes())
        if block.top is not None:
            self._top.append(block.top)

    def _stream_for(self, dtype: np.dtype[Any]) -> IO[bytes]:
        """Where probabilities go."""
        self._dtype = dtype
        if self._columns.n_rows is None:
            self._waiting = self._waiting or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            return self._waiting
        self._proba = self._proba or self._open_proba(dtype, self._columns.n_rows)
        return self._proba

    def _open_proba(self, dtype: np.dtype[Any], n_rows: int) -> IO[bytes]:
        member = self._archive.open("proba.npy", "w", force_zip64=True)
        shape = (n_rows, len(self._columns.classes))
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        return member

    def finish(self) -> None:
        """Write the small arrays and the archive's directory."""
        if self._waiting is not None:
            self._proba = self._open_proba(self._dtype, sum(map(len, self._predicted)))
            self._waiting.seek(0)
            shutil.copyfileobj(self._waiting, self._proba)
            self._waiting.close()
        if self._proba is not None:
            self._proba.close()
        top = {}
        if self._top:
            top = {
                "top": np.concatenate([one.classes for one in self._top]),
                f"top_{self._columns.top_value}": np.concatenate([one.values for one in self._top]),
            }
        arrays = {
            self._columns.name: np.concatenate(self._names),
            "predicted": np.concatenate(self._predicted),
            "classes": self._columns.classes,
            **top,
        }
        for name, values in arrays.items():
            with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
        self._archive.close()

    def abandon(self) -> None:
        """Close a file that will not be finished, without a message: what ended it is reported elsewhere."""
        for part in (self._proba, self._waiting, self._archive):
            if part is not None:
                with suppress(OSError, ValueError):
                    part.close()


@contextmanager
def file_writer(path: Path, columns: Columns, *, spreadsheet_safe: bool = True) -> Iterator[Writer]:
    """A writer for the file's kind. The file appears, or replaces the old one, once it is complete.

    ``spreadsheet_safe`` is for CSV, see `CsvRows`.
    """
    suffix = path.suffix.lower()
    with atomic_write(path) as temporary, _open_writer(temporary, suffix, columns, spreadsheet_safe) as writer:
        yield writer


@contextmanager
def _open_writer(temporary: Path, suffix: str, columns: Columns, spreadsheet_safe: bool) -> Iterator[Writer]:
    if suffix == ".csv":
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = CsvWriter(stream, columns, spreadsheet_safe=spreadsheet_safe)
            yield rows
            rows.finish()
    elif suffix == ".parquet":
        table = ParquetWriter(temporary, columns)
        yield table
        table.finish()
    else:
        archive = NpzWriter(temporary, columns)
        try:
            yield archive
            archive.finish()
        finally:
            archive.abandon()
