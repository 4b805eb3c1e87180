"""IDX, the format of MNIST's own files: a magic number, the sizes, then the values, big-endian."""

from __future__ import annotations

import math
import re
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.checks import Place, as_features, as_labels, check_finite, check_lengths
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError
from crosshead.data.files import is_gzipped, open_unpacked
from crosshead.data.limits import allowance

VALUE_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20


def is_idx(head: bytes) -> bool:
    """Whether a file that begins with `head` is an IDX file.

    Examples
    --------
    >>> is_idx(bytes([0, 0, 8, 3]))
    True
    """
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in VALUE_TYPES and 1 <= head[3] <= 8


def read_idx(path: Path, *, target_required: bool) -> Dataset:
    """Read images and the labels beside them; with MNIST's train images also its t10k images, as test rows."""
    training = _read_images_and_labels(path, target_required)
    test_path = images_for_test(path)
    if test_path is None:
        return training
    test = _read_images_and_labels(test_path, target_required)
    if test.n_features != training.n_features:
        raise DataError(f"{test.source}: {test.n_features} features per row, {path} has {training.n_features}")
    return Dataset(training.features, training.target, test=test, encoding=training.encoding, source=training.source)


def _read_images_and_labels(path: Path, target_required: bool) -> Dataset:
    source = str(path)
    values = _read_array(path)
    if values.ndim == 1:
        raise DataError(f"{source}: holds one number per row, so these are labels; give the images file")
    features, shape = as_features(values, path.name, source)
    check_finite(features, Place(source))
    labels_path = _labels_path(path)
    if labels_path is None:
        if target_required:
            expected = _labels_name(path.name) or "…-labels-idx1-ubyte"
            raise DataError(f"{source}: no labels; put the file {expected!r} beside it")
        target = None
    else:
        target = as_labels(_read_array(labels_path), labels_path.name, Place(str(labels_path)))
        check_lengths(features.shape[0], target.size, (path.name, labels_path.name), source)
    encoding: dict[str, Any] = {"kind": "array"} if shape is None else {"kind": "array", "shape": shape}
    return Dataset(features, target, encoding=encoding, source=source)


def image_arrays(path: Path) -> tuple[Array, Array | None]:
    """The images (N, …) as stored, and the labels beside them, if any."""
    labels_path = _labels_path(path)
    values, labels = _read_array(path), None
    if labels_path is not None:
        labels = as_labels(_read_array(labels_path), labels_path.name, Place(str(labels_path)))
        check_lengths(len(values), labels.size, (path.name, labels_path.name), str(path))
    return values, labels


def images_for_test(path: Path) -> Path | None:
    """MNIST's t10k images beside its train images, if they and their labels exist."""
    if not path.name.startswith("train-"):
        return None
    found = _existing(path.with_name(f"t10k-{path.name.removeprefix('train-')}"))
    return found if found is not None and _labels_path(found) is not None else None


def _labels_name(images_name: str) -> str | None:
    """`train-images-idx3-ubyte` → `train-labels-idx1-ubyte`; some copies have a dot instead of the second dash."""
    name, changes = re.subn(r"images([-.])idx\d", r"labels\1idx1", images_name)
    return name if changes else None


def _labels_path(images_path: Path) -> Path | None:
    name = _labels_name(images_path.name)
    return None if name is None else _existing(images_path.with_name(name))


def _existing(path: Path) -> Path | None:
    """The file, or its gzipped or unpacked version."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return next((candidate for candidate in (path, other) if candidate.is_file()), None)


def _read_array(path: Path) -> Array:
    """Read the values; nothing is allocated before the header's size is known to be available."""
    try:
        with open_unpacked(path) as stream:
            dtype, shape, header = _read_header(path, stream)
            # Python integers: sizes in a damaged header can multiply past 64 bits.
            size = math.prod(shape) * dtype.itemsize
            expected = header + size
            if not is_gzipped(path):
                _check_size(path, expected, path.stat().st_size)
            elif size > allowance(path.stat().st_size):
                found = header + sum(len(piece) for piece in iter(lambda: _piece(stream, _CHUNK), b""))
                _check_size(path, expected, found)
            content = np.empty(size, dtype=np.uint8)
            found = _fill(stream, content.data)
            extra = len(_piece(stream, _CHUNK)) if found == size else 0
            _check_size(path, expected, header + found + extra)
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); download it again") from error
    values: Array = content.view(dtype).reshape(shape)
    return values


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The dtype and shape of the values, and the length of the header."""
    magic = _piece(stream, 4)
    if not is_idx(magic):
        raise DataError(f"{path}: not an IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    n_dimensions = magic[3]
    sizes = _piece(stream, 4 * n_dimensions)
    header = 4 + 4 * n_dimensions
    if len(sizes) < header - 4:
        raise DataError(f"{path}: truncated: expected at least {header} bytes, found {4 + len(sizes)}")
    return np.dtype(VALUE_TYPES[magic[2]]), struct.unpack(f">{n_dimensions}I", sizes), header


def _check_size(path: Path, expected: int, found: int) -> None:
    if found != expected:
        fault = "truncated" if found < expected else "damaged"
        raise DataError(f"{path}: {fault}: expected {expected} bytes, found {found}; download it again")


def _fill(stream: BufferedIOBase, view: memoryview) -> int:
    """Read into a buffer until the stream ends; return the number of bytes."""
    found = 0
    while found < len(view) and (piece := _piece(stream, min(_CHUNK, len(view) - found))):
        view[found : found + len(piece)] = piece
        found += len(piece)
    return found


def _piece(stream: BufferedIOBase, size: int) -> bytes:
    """The next unpacked bytes; of a truncated gzip stream as many as there are."""
    pieces: list[bytes] = []
    try:
        while size and (piece := stream.read1(size)):  # unlike read, it returns the data before an error
            pieces.append(piece)
            size -= len(piece)
    except EOFError:
        pass  # comparing sizes with the header gives the better message
    return b"".join(pieces)
