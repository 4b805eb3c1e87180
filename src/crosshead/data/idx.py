"""IDX, the format of MNIST's own files: a magic number, the sizes, then the values, big-endian."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.data.checks import Place, as_features, as_labels, check_finite, check_lengths
from crosshead.data.dataset import Array, Dataset
from crosshead.data.errors import DataError
from crosshead.data.files import open_unpacked

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
    """Read images with the labels beside them; with MNIST's train images also its t10k ones, for test."""
    training = _read_images_and_labels(path, target_required)
    test_path = images_for_test(path)
    if test_path is None:
        return training
    test = _read_images_and_labels(test_path, target_required)
    if test.n_features != training.n_features:
        raise DataError(f"{test.source}: {test.n_features} features a row, {path} has {training.n_features}")
    return Dataset(training.features, training.target, test=test, encoding=training.encoding, source=training.source)


def _read_images_and_labels(path: Path, target_required: bool) -> Dataset:
    source = str(path)
    values = _read_array(path)
    if values.ndim == 1:
        raise DataError(f"{source}: holds one number a row, so these are labels; give the images file")
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
    """The images (N, …) as they are stored, and the labels beside them, where they lie there."""
    labels_path = _labels_path(path)
    values, labels = _read_array(path), None
    if labels_path is not None:
        labels = as_labels(_read_array(labels_path), labels_path.name, Place(str(labels_path)))
        check_lengths(len(values), labels.size, (path.name, labels_path.name), str(path))
    return values, labels


def images_for_test(path: Path) -> Path | None:
    """MNIST's t10k images beside its train images, where they and their labels are there."""
    if not path.name.startswith("train-"):
        return None
    found = _existing(path.with_name(f"t10k-{path.name.removeprefix('train-')}"))
    return found if found is not None and _labels_path(found) is not None else None


def _labels_name(images_name: str) -> str | None:
    """`train-images-idx3-ubyte` → `train-labels-idx1-ubyte`; some copies have a dot for the second dash."""
    name, changes = re.subn(r"images([-.])idx\d", r"labels\1idx1", images_name)
    return name if changes else None


def _labels_path(images_path: Path) -> Path | None:
    name = _labels_name(images_path.name)
    return None if name is None else _existing(images_path.with_name(name))


def _existing(path: Path) -> Path | None:
    """The file, or the same file gzipped or unpacked."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return next((candidate for candidate in (path, other) if candidate.is_file()), None)


def _read_array(path: Path) -> Array:
    content = _read_bytes(path)
    if not is_idx(content[:4]):
        raise DataError(f"{path}: not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    dtype, n_dimensions = np.dtype(VALUE_TYPES[content[2]]), content[3]
    header = 4 + 4 * n_dimensions
    if len(content) < header:
        raise DataError(f"{path}: truncated: expected at least {header} bytes, found {len(content)}")
    shape = struct.unpack(f">{n_dimensions}I", content[4:header])
    # Python's integers: sizes in a damaged header can multiply past 64 bits.
    expected = header
    size = dtype.itemsize
    for length in shape:
        size *= length
    expected += size
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "damaged"
        raise DataError(f"{path}: {fault}: expected {expected} bytes, found {len(content)}; download it again")
    values: Array = np.frombuffer(content, dtype=dtype, offset=header).reshape(shape)
    return values


def _read_bytes(path: Path) -> bytes:
    """All bytes, unpacked; of a gzip stream that breaks off, as many as there are."""
    pieces: list[bytes] = []
    with open_unpacked(path) as stream:
        try:
            while piece := stream.read1(_CHUNK):  # unlike read, it yields what precedes the break
                pieces.append(piece)
        except EOFError:
            pass  # the byte counts, compared with the header, tell the story better
        except (OSError, zlib.error) as error:
            raise DataError(f"{path}: the compressed file is damaged ({error}); download it again") from error
    return b"".join(pieces)
