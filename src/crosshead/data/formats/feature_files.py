"""Files of features computed by a backbone: `.npz` or Parquet, with names, labels and the backbone's description.

An archive has `features` (N, D) float32, `names` (N,), optionally `labels` (N,), the same three with the prefix `test_`
if there are test images, and `backbone`, a JSON text. A table has the columns `file`, `label` and `features`, and
`split` if there are test images; the JSON text is in the schema's metadata.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.backbone_record import BACKBONE as BACKBONE
from crosshead.data.backbone_record import EMBEDDING, described_backbone
from crosshead.data.checks import Place, as_labels, as_names, check_finite, check_lengths
from crosshead.data.dataset import Array, Dataset, row_blocks
from crosshead.data.errors import DataError, load_package
from crosshead.data.formats.json_text import parse_json
from crosshead.data.formats.npz_archive import Archive, member, open_archive, pickled
from crosshead.data.formats.numpy_arrays import map_npy
from crosshead.data.formats.tables import read_binary, table_labels
from crosshead.data.table_encoder import cells_of

KIND = EMBEDDING
METADATA_KEY = b"crosshead.backbone"
FIXED_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of all members, so that equal features give equal bytes."""

ALIGNMENT = 64
LOCAL_HEADER, ZIP64_FIELD = 30, 20
"""Bytes before a member's name and content in an archive, without other extra fields."""

PADDING_FIELD = 0xD935
"""The number of the extra field that Android's zipalign introduced for this purpose."""

GROUP_BYTES = 1 << 25
"""Features of one row group of a table."""


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Features (N, D), possibly memory-mapped, with names and optionally labels of the images."""

    features: Array
    names: list[str]
    labels: Array | None


def is_feature_archive(path: Path) -> bool:
    """Whether an `.npz` archive has features of a backbone."""
    with open_archive(path) as archive:
        return {"features", "names", BACKBONE} <= set(archive.files)


def is_feature_table(path: Path) -> bool:
    """Whether a Parquet file has features of a backbone."""
    parquet = load_package("pyarrow.parquet", "crosshead[tables]", "reading Parquet")
    try:
        return METADATA_KEY in (parquet.read_schema(path).metadata or {})
    except Exception:  # the reader of tables reports damaged files
        return False


def read_feature_archive(path: Path) -> Dataset:
    """Read features, memory-mapped, with names and labels."""
    with open_archive(path) as archive:
        said = member(archive, BACKBONE, str(path))
        description = _parsed(said.item() if said.dtype.kind == "U" and said.size == 1 else "", path)
        training = _archive_rows(archive, path, "", description)
        if "test_features" not in archive.files:
            return training
        return replace(training, test=_archive_rows(archive, path, "test_", description))


def read_feature_table(path: Path) -> Dataset:
    """Read features with names and labels."""
    table = read_binary(path, "parquet")
    description = _parsed((table.schema.metadata or {}).get(METADATA_KEY, b""), path)
    try:
        column = table.column("features").combine_chunks()
        features = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
        names = cells_of(table.column("file"), "file", str(path))
    except DataError:
        raise
    except (KeyError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not the features that crosshead embed writes ({error})") from error
    place = Place(str(path))
    labels = None if "label" not in table.column_names else table_labels(table.column("label"), "label", place, None)
    whole = _dataset(FeatureRows(features, names, labels), path, description)
    if "split" not in table.column_names:
        return whole
    is_test = np.array([split == "test" for split in cells_of(table.column("split"), "split", str(path))])
    n_training = int((~is_test).sum())
    if n_training == len(is_test):
        return whole
    if n_training == 0:
        raise DataError(f"{path}: all rows are test rows; give one with rows to train on")
    if is_test[:n_training].any():
        raise DataError(f"{path}: test rows stand among training rows; crosshead embed writes them last: embed again")
    training, test = (_rows(whole, slice(0, n_training)), _rows(whole, slice(n_training, None)))
    return replace(training, test=test)


def write_archive(path: Path, training: FeatureRows, test: FeatureRows | None, description: Mapping[str, Any]) -> None:
    """Write an archive, block by block; equal content gives equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _write_member(archive, BACKBONE, np.array(_text(description)))
        for prefix, part in (("", training), ("test_", test)):
            if part is None:
                continue
            _write_member(archive, f"{prefix}names", np.array(part.names, dtype=np.str_))
            if part.labels is not None:
                _write_member(archive, f"{prefix}labels", part.labels)
            _write_member(archive, f"{prefix}features", part.features)


def write_table(path: Path, training: FeatureRows, test: FeatureRows | None, description: Mapping[str, Any]) -> None:
    """Write a Parquet file, one row group after the other; equal content gives equal bytes."""
    arrow = load_package("pyarrow", "crosshead[tables]", "writing Parquet")
    parquet = load_package("pyarrow.parquet", "crosshead[tables]", "writing Parquet")
    schema = _schema(arrow, training, test, description)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part, split in ((training, "train"), (test, "test")):
            for first, stop in [] if part is None else _groups(part.features):
                assert part is not None  # the loop is empty without it
                block = np.ascontiguousarray(part.features[first:stop])
                lists = arrow.FixedSizeListArray.from_arrays(arrow.array(block.reshape(-1)), block.shape[1])
                columns = {"file": part.names[first:stop], "features": lists}
                if part.labels is not None:
                    columns["label"] = part.labels[first:stop]
                if test is not None:
                    columns["split"] = [split] * (stop - first)
                writer.write_table(arrow.table({name: columns[name] for name in schema.names}, schema=schema))


def _groups(features: Array) -> Iterator[tuple[int, int]]:
    n_rows, n_features = features.shape
    step = max(1, GROUP_BYTES // (4 * n_features))
    for first in range(0, n_rows, step):
        yield first, min(first + step, n_rows)


def _schema(arrow: Any, training: FeatureRows, test: FeatureRows | None, description: Mapping[str, Any]) -> Any:
    fields = [("file", arrow.string())]
    if training.labels is not None:
        kinds = {"i": arrow.int64(), "b": arrow.bool_()}
        fields.append(("label", kinds.get(training.labels.dtype.kind, arrow.string())))
    if test is not None:
        fields.append(("split", arrow.string()))
    fields.append(("features", arrow.list_(arrow.float32(), training.features.shape[1])))
    return arrow.schema(fields, metadata={METADATA_KEY: _text(description).encode()})


def _write_member(archive: zipfile.ZipFile, name: str, values: Array) -> None:
    info = zipfile.ZipInfo(f"{name}.npy", FIXED_DATE)
    assert archive.fp is not None  # the archive is open
    info.extra = _padding(archive.fp.tell() + LOCAL_HEADER + len(info.filename) + ZIP64_FIELD)
    with archive.open(info, "w", force_zip64=True) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(stream, header)
        if values.ndim < 2:
            stream.write(values.tobytes())
            return
        for first, stop in row_blocks(values):
            stream.write(np.ascontiguousarray(values[first:stop]).tobytes())


def _padding(start: int) -> bytes:
    """An unused extra field of the archive, after which the data at ``start`` is aligned.

    NumPy's own header keeps the alignment, so that the features can be mapped and used without a copy.
    """
    length = -start % ALIGNMENT
    length += ALIGNMENT if 0 < length < 4 else 0
    return struct.pack("<HH", PADDING_FIELD, length - 4) + bytes(length - 4) if length else b""


def _archive_rows(archive: Archive, path: Path, prefix: str, description: Mapping[str, Any]) -> Dataset:
    source, place = str(path), Place(str(path))
    features = _mapped(archive, f"{prefix}features", path)
    _check_features(features, source)
    names = [str(name) for name in as_names(member(archive, f"{prefix}names", source), f"{prefix}names", place)]
    check_lengths(len(features), len(names), (f"{prefix}features", f"{prefix}names"), source)
    labels = None
    if f"{prefix}labels" in archive.files:
        labels = as_labels(member(archive, f"{prefix}labels", source), f"{prefix}labels", place)
        check_lengths(len(features), labels.size, (f"{prefix}features", f"{prefix}labels"), source)
    return _dataset(FeatureRows(features, names, labels), path, description)


def _mapped(archive: Archive, name: str, path: Path) -> Array:
    """A member as a memory map if the archive is uncompressed, else as an array."""
    info = archive.zip.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return member(archive, name, str(path))
    if archive.header(name).dtype.hasobject:
        raise pickled(f"{path}: array {name!r}")
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", stream.read(4))
        stream.seek(name_length + extra_length, 1)
        try:
            features = map_npy(stream)
        except Exception as error:  # a damaged header can raise almost anything
            raise DataError(f"{path}: array {name!r} cannot be read ({error}); is it truncated?") from error
    # Numbers in archives of other writers may not be aligned.
    return features if features.flags.aligned else member(archive, name, str(path))


def _dataset(rows: FeatureRows, path: Path, description: Mapping[str, Any]) -> Dataset:
    _check_features(rows.features, str(path))
    check_finite(rows.features, Place(str(path)))
    encoding = {"kind": KIND, BACKBONE: dict(description)}
    return Dataset(rows.features, rows.labels, row_names=rows.names, encoding=encoding, source=str(path))


def _check_features(features: Array, source: str) -> None:
    if features.ndim != 2 or 0 in features.shape or features.dtype != np.float32:
        raise DataError(f"{source}: features of shape {features.shape} and dtype {features.dtype}, not float32 (N, D)")


def _rows(dataset: Dataset, rows: slice) -> Dataset:
    return replace(
        dataset,
        features=dataset.features[rows],
        target=None if dataset.target is None else dataset.target[rows],
        row_names=None if dataset.row_names is None else dataset.row_names[rows],
    )


def _text(description: Mapping[str, Any]) -> str:
    return json.dumps(dict(description), sort_keys=True)


def _parsed(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        description = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: the description of its backbone is not JSON ({error})") from error
    try:
        return described_backbone(description)
    except ValueError as error:
        raise DataError(f"{path}: {error}; embed the images again") from error
