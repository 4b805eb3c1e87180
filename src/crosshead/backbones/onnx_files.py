"""The files of an ONNX network, read once and hashed, before onnxruntime reads them.

A network may have weights in external files, which it names. Their names are read from a few fields of its protocol
buffer, without the package onnx. Source of the field numbers: onnx.proto of ONNX 1.16.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from crosshead.data.errors import DataError, load_package
from crosshead.data.files import leads_outside, open_regular
from crosshead.data.limits import allowance, size_text

LARGEST = (1 << 31) - 1
"""Limit of the bytes of a protocol buffer."""

MEMORY_ADDRESS = "_ORT_MEM_ADDR_"
"""For this external location, onnxruntime interprets the offset as an address in its own memory."""

ORT_FORMAT = b"ORTM"
"""Magic number of onnxruntime's own format, at byte 4."""

_PIECE = 1 << 20
_DEEPEST = 200

_Stamp = tuple[int, int, int, int, int]

# Fields of messages, by number, that may contain a tensor.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_DIMENSIONS = {"tensor": 1, "sparse": 3}  # the field with a tensor's shape

ELEMENTS_PER_BYTE = 4
"""Limit of elements per byte, in the narrowest dtype of ONNX."""


@dataclass(frozen=True, eq=False)
class NetworkFiles:
    """The bytes of a network, its files with external weights by name, and the fingerprint.

    ``fingerprint`` is the SHA-256 of the file or, with external weights, of a JSON list of the names and SHA-256 of all
    files. ``stamps`` detect changes of the files since they were hashed.
    """

    path: Path
    content: bytes
    external: dict[str, Path]
    fingerprint: str
    stamps: dict[Path, _Stamp]

    def proto(self) -> Any:
        """The network as `onnx.ModelProto` with all weights."""
        onnx = load_package("onnx", "crosshead[onnx]", "looking into a network")
        try:
            model = onnx.load_model_from_string(self.content)
            if self.external:
                onnx.load_external_data_for_model(model, str(self.path.parent))
                self.check_unchanged()
        except DataError:
            raise
        except Exception as error:  # protobuf and onnx have errors of their own
            raise DataError(f"{self.path}: not a network that onnx can read ({error}); is the file damaged?") from error
        return model

    def check_unchanged(self) -> None:
        """Raise DataError if a file has changed since it was hashed."""
        for path, stamp in self.stamps.items():
            with regular_file(path) as file:
                if _stamp(file.fileno()) != stamp:
                    raise DataError(f"{path}: changed while it was read; start again")


def read_network(path: Path) -> NetworkFiles:
    """Read a network and hash all of its files.

    Raises
    ------
    DataError
        If a file is missing or not regular, the network is not ONNX, or it names a file outside its folder.
    """
    with regular_file(path) as file:
        stamps = {path: _stamp(file.fileno())}
        content = read_content(file, path)
    elements = external_elements(content, str(path))
    external = {name: _place(path, name) for name in sorted(elements)}
    digest = hashlib.sha256(content).hexdigest()
    if external:
        digests = [["", digest]]
        for name, place in external.items():
            with regular_file(place) as file:
                stamps[place] = _stamp(file.fileno())
                _check_elements(str(path), elements[name], os.fstat(file.fileno()).st_size)
                digests.append([name, _digest(file)])
        digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return NetworkFiles(path, content, external, digest, stamps)


def external_elements(content: bytes, name: str) -> dict[str, int]:
    """The locations of external weights, with the largest declared number of elements of a tensor in each.

    Raises DataError, naming the network, if it is not ONNX, or a tensor declares more elements than it has.

    Examples
    --------
    >>> external_elements(b"", "empty.onnx")
    {}
    """
    if content[4:8] == ORT_FORMAT:
        raise DataError(f"{name}: in onnxruntime's own format; give the network as ONNX")
    found: dict[str, int] = {}
    try:
        for location, elements, held in _tensors(memoryview(content)):
            if location is None:
                _check_elements(name, elements, held)
            else:
                found[location] = max(elements, found.get(location, 0))
    except DataError:
        raise
    except (ValueError, IndexError) as error:
        raise DataError(f"{name}: not a network in ONNX; is the file damaged or cut short?") from error
    return found


def _check_elements(name: str, elements: int, held: int) -> None:
    if elements > ELEMENTS_PER_BYTE * held:
        raise DataError(
            f"{name}: a tensor of {elements} numbers is declared in {size_text(held)}; is the file damaged?"
        )


def _tensors(content: memoryview) -> Iterator[tuple[str | None, int, int]]:
    """Yield the external location (or None), the declared number of elements and the bytes of each tensor.

    Sparse tensors become dense, so their bytes are the memory that the file explains.
    """
    waiting = [("model", content, 0)]
    while waiting:
        message, view, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        inside, location, elements = _FIELDS[message], None, 1
        for number, value in _fields(view):
            if number == _DIMENSIONS.get(message):
                elements *= prod(_integers(value))
            elif number in inside:
                if not isinstance(value, memoryview):
                    raise ValueError(f"field {number} of {message} holds no message")
                if inside[number] == "entry":
                    key, text = _entry(value)
                    location = text if key == "location" else location
                else:
                    waiting.append((inside[number], value, depth + 1))
        if message == "tensor":
            yield location, elements, len(view)
        elif message == "sparse":
            yield None, elements, allowance(len(view))


def _integers(value: memoryview | int | None) -> Iterator[int]:
    """The numbers of one occurrence of a repeated field: one, or several packed."""
    if isinstance(value, int):
        yield value
    elif value is not None:
        place = 0
        while place < len(value):
            number, place = _varint(value, place)
            yield number


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview | int | None]]:
    """Yield the fields of a message by number: bytes if they have a length, integers, or None for others."""
    place = 0
    while place < len(view):
        tag, place = _varint(view, place)
        number, wire = tag >> 3, tag & 7
        value: memoryview | int | None = None
        if wire == 0:
            value, place = _varint(view, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        elif wire == 2:
            length, place = _varint(view, place)
            value = view[place : place + length]
            place += length
        else:  # groups, which ONNX does not use
            raise ValueError(f"wire type {wire}")
        if place > len(view) or number == 0:
            raise ValueError("cut short")
        yield number, value


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise ValueError("a number of more than ten bytes")


def _entry(view: memoryview) -> tuple[str, str]:
    """Key and value of a pair of texts; the last of repeated fields counts, as in any protocol buffer."""
    found = {1: "", 2: ""}
    for number, value in _fields(view):
        if number in found:
            if not isinstance(value, memoryview):
                raise ValueError("no text")
            found[number] = str(value, "utf-8")
    return found[1], found[2]


def _place(network: Path, name: str) -> Path:
    """The path of a file with external weights; DataError if it is outside the network's folder.

    Folders of links into a store, such as Hugging Face's cache, are allowed: a link may lead to the folder of the
    network's own file.
    """
    shown = f"{network}: keeps weights in {name!r}"
    if MEMORY_ADDRESS in name:
        raise DataError(f"{shown}, an address in memory and no file; do not use this network")
    if not name or not name.isprintable() or "\\" in name:
        raise DataError(f"{shown}, which is not a file name")
    if leads_outside(name):
        raise DataError(f"{shown}, outside its folder; a network's files must be in its own folder or below it")
    place = network.parent / name
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shown}, which is not there; put that file beside the network") from error
    homes = (network.parent.resolve(), network.resolve().parent)
    if not any(real.is_relative_to(home) for home in homes):
        raise DataError(f"{shown}, a link that leads outside its folder; put the file itself there")
    return place


def regular_file(path: Path) -> IO[bytes]:
    """Open a regular file for reading; DataError for anything else, without waiting for a pipe."""
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; --backbone names a network, such as net.onnx") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); a network must be a regular file") from error
    except ValueError as error:  # a zero byte
        raise DataError(f"{str(path)!r}: not a file's name") from error


def read_content(file: IO[bytes], path: Path) -> bytes:
    """Read a whole file of at most the size of a network; DataError for a larger one, before allocation."""
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:
        raise DataError(f"{path}: larger than 2 GiB, which no network's file is; ONNX keeps more weights in others")
    return file.read(size)  # the memory is allocated before the file turns out to be shorter


def _stamp(descriptor: int) -> _Stamp:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
