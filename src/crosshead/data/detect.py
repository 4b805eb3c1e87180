"""Detect the kind of a source, by its content first, then by its name."""

from __future__ import annotations

import difflib
import gzip
from collections.abc import Sequence
from pathlib import Path

from crosshead.data import builtin
from crosshead.data.errors import DataError
from crosshead.data.files import UNPACKING_ERRORS
from crosshead.data.formats import idx, numpy_arrays, svmlight
from crosshead.data.images.image_folder import is_image_name

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


def recognise(source: str) -> tuple[str, Path]:
    """Detect the kind of a source and its path; DataError if it does not exist or cannot be read."""
    path = Path(source)
    if source.strip() and path.is_dir():
        return "images", path
    if path.is_file():
        return kind_of_file(path), path
    if numpy_arrays.split_pair(source) is not None:
        return "pair", path
    if source in builtin.NAMES:
        return "builtin", path
    if not source.strip():
        raise DataError("the source has no name; give a file, a folder, or a built-in data set")
    if path.exists():
        raise DataError(f"{source}: neither a file nor a folder but a pipe or device; save its content as a file")
    raise DataError(f"{source}: no such file or folder{_similar_name(path)}")


def kind_of_file(path: Path) -> str:
    """Detect the kind of a file by its first bytes and its name; DataError for unsupported files."""
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
    if is_image_name(path):
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
    """The first bytes of a truncated gzip stream, so that its reader can report what is missing."""
    try:
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read1(256)
    except UNPACKING_ERRORS:
        raise DataError(f"{path}: the compressed file is damaged ({error}); is it truncated?") from error


def _similar_name(path: Path) -> str:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, [*names, *builtin.NAMES], n=1)
    if not close:
        return f"; built in are {', '.join(builtin.NAMES)}"
    return f"; did you mean {close[0] if close[0] in builtin.NAMES else folder / close[0]}?"
