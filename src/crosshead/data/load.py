"""One function for everything that can be read; the kind is told by content first, then by name."""

from __future__ import annotations

import difflib
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosshead.data import arrays, builtin, idx, images, svmlight, tables
from crosshead.data.dataset import Dataset
from crosshead.data.errors import DataError
from crosshead.data.files import UNPACKING_ERRORS

SUPPORTED = (
    ".npz, .npy, .csv, .tsv, .csv.gz, .parquet, .feather, .arrow, .svm, .libsvm, .svmlight, "
    f"IDX (MNIST's files), a folder of images, or one of {', '.join(builtin.NAMES)}"
)
PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth"})
HEAD_BYTES = 1 << 14

_MAGIC = (
    (b"PK\x03\x04", "npz"),
    (b"PK\x05\x06", "npz"),
    (b"\x93NUMPY", "npy"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow-stream"),
)
_BINARY_SUFFIXES = {
    ".npz": "NumPy .npz",
    ".npy": "NumPy .npy",
    ".parquet": "Parquet",
    ".feather": "Feather",
    ".arrow": "Arrow",
}
_SVMLIGHT_SUFFIXES = frozenset({".svm", ".libsvm", ".svmlight"})
_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})

Options = Mapping[str, Any]


def load(
    source: str | Path,
    *,
    target: str | None = None,
    size: tuple[int, int] | int | None = None,
    ignore: Sequence[str] = (),
    encoding: Mapping[str, Any] | None = None,
    target_required: bool | None = None,
) -> Dataset:
    """Read features and labels from whatever `source` is.

    Parameters
    ----------
    source : str or Path
        A file, a folder of images, `features.npy,labels.npy`, or the name of a built-in data set.
        A file or folder of that name comes before the built-in one; write `./digits` to be explicit.
    target : str, optional
        The column (table) or array (npz) that holds the labels. Tables know target, label, class and y.
    size : int or (height, width), optional
        What images are resized to; a single number is both.
    ignore : sequence of str
        Columns of a table that are no features.
    encoding : mapping, optional
        The `encoding` of the training data: the new data is brought into the same features.
    target_required : bool, optional
        Whether a source without labels is an error. By default it is for training (no `encoding`).

    Raises
    ------
    DataError
        One line: what is wrong, where (file, row, column), what to do. Rows are counted from 1.

    Examples
    --------
    >>> data = load("digits")
    >>> data.features.shape, data.target[:3]
    ((1797, 64), array([0, 1, 2]))
    """
    required = encoding is None if target_required is None else target_required
    options: dict[str, Any] = {
        "target": target,
        "size": _as_size(size),
        "ignore": ignore,
        "encoding": encoding,
        "target_required": required,
    }
    kind, path = _recognise(str(source))
    _check_options(kind, str(source), options)
    dataset = _read(kind, path, str(source), options)
    return _finish(dataset, encoding)


def _recognise(source: str) -> tuple[str, Path]:
    path = Path(source)
    if path.is_dir():
        return "images", path
    if path.is_file():
        return kind_of_file(path), path
    if arrays.split_pair(source) is not None:
        return "pair", path
    if source in builtin.NAMES:
        return "builtin", path
    raise DataError(f"{source}: no such file or folder{_similar_name(path)}")


def kind_of_file(path: Path) -> str:
    """What a file is, by its first bytes and then its name; DataError for what cannot be read."""
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    head = _unpacked_head(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if idx.is_idx(head) and not any(suffix in _TABLE_SUFFIXES for suffix in suffixes):
        return "idx"
    for suffix, name in _BINARY_SUFFIXES.items():
        if suffix in suffixes[-1:]:
            raise DataError(f"{path}: named {suffix} but does not begin like a {name} file; is it damaged?")
    if "-ubyte" in path.name:
        raise DataError(f"{path}: named like an IDX file but does not begin like one; is it damaged?")
    if suffixes and suffixes[-1] in images.SUFFIXES:
        return "images"
    return _kind_of_text(path, head, suffixes)


def _kind_of_text(path: Path, head: bytes, suffixes: Sequence[str]) -> str:
    if not head:
        raise DataError(f"{path}: the file is empty once unpacked")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: text in UTF-16; save it as UTF-8")
    if any(suffix in _TABLE_SUFFIXES for suffix in suffixes):
        if b"\0" in head:
            raise DataError(f"{path}: named as a table of text but holds binary data; is it damaged?")
        return "csv"
    if any(suffix in _SVMLIGHT_SUFFIXES for suffix in suffixes):
        return "svmlight"
    if suffixes and suffixes[-1] in PICKLES:
        raise DataError(f"{path}: pickled files can run code and are never read; save the arrays as .npz")
    lines = head.decode("utf-8", "replace").split("\n")
    complete = lines[:-1] if len(lines) > 1 else lines
    if b"\0" not in head and svmlight.looks_like_svmlight(complete):
        return "svmlight"
    raise DataError(f"{path}: unknown kind of file; what can be read: {SUPPORTED}")


def _unpacked_head(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read(HEAD_BYTES)
    except UNPACKING_ERRORS as error:
        return _partial_head(path, error)


def _partial_head(path: Path, error: Exception) -> bytes:
    """The first bytes of a gzip stream that breaks off early, so that its reader can say what is missing."""
    try:
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read1(256)
    except UNPACKING_ERRORS:
        raise DataError(f"{path}: the compressed file is damaged ({error}); is it truncated?") from error


def _read(kind: str, path: Path, source: str, options: Options) -> Dataset:
    required, encoding = options["target_required"], options["encoding"]
    if kind == "images":
        return images.read_images(path, size=options["size"], target_required=required, encoding=encoding)
    if kind == "builtin":
        return builtin.read_builtin(source)
    if kind == "pair":
        features_path, labels_path = arrays.split_pair(source) or (path, path)
        return arrays.read_pair(features_path, labels_path, target_required=required)
    if kind == "npy":
        return arrays.read_pair(path, arrays.sibling_labels(path), target_required=required)
    if kind == "npz":
        return arrays.read_npz(path, target=options["target"], target_required=required)
    if kind == "idx":
        return idx.read_idx(path, target_required=required)
    if kind == "svmlight":
        return svmlight.read_svmlight(path, encoding=encoding)
    return tables.read_table(
        path,
        kind,
        target=options["target"],
        target_required=required,
        ignore=options["ignore"],
        encoding=encoding,
    )


def _check_options(kind: str, source: str, options: Options) -> None:
    """An option that would change nothing is a misunderstanding; say so before reading."""
    is_table = kind in ("csv", "parquet", "arrow", "arrow-stream")
    if options["size"] is not None and kind != "images":
        raise DataError(f"{source}: --size is for folders of images, and this is none")
    if options["target"] is not None and not (is_table or kind == "npz"):
        raise DataError(f"{source}: --target names a column or array, and this source has none to name")
    if options["ignore"] and not is_table:
        raise DataError(f"{source}: --ignore names columns of a table, and this is none")


def _as_size(size: tuple[int, int] | int | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise DataError(f"--size is {height}×{width}; both must be at least 1")
    return height, width


def _finish(dataset: Dataset, encoding: Mapping[str, Any] | None) -> Dataset:
    """Record the number of features, or hold it against that of training."""
    if encoding is None:
        recorded = {**dataset.encoding, "n_features": dataset.n_features}
    else:
        recorded = dict(encoding)
        expected = recorded.get("n_features")
        if expected is not None and dataset.n_features != expected:
            raise DataError(
                f"{dataset.source}: {dataset.n_features} features a row, but training had {expected}; "
                "give data of the same kind as in training"
            )
    test = None if dataset.test is None else replace(dataset.test, encoding=recorded)
    return replace(dataset, encoding=recorded, test=test)


def _similar_name(path: Path) -> str:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, [*names, *builtin.NAMES], n=1)
    if not close:
        return f"; built in are {', '.join(builtin.NAMES)}"
    return f"; did you mean {close[0] if close[0] in builtin.NAMES else folder / close[0]}?"
