"""Changes of files as data: a list of JSON lists, which any machine can apply again.

An edit is ``[operation, file, *arguments]``; it changes one entry of a dictionary from file names to contents. Edits
never fail: where one cannot be applied, as when an earlier edit destroyed what it refers to, nothing changes. So any
subset of a list of edits is a case as well, which is what makes shrinking simple.

``["inside", file, container, edit]`` unpacks a container into a dictionary of its parts, applies an edit to these, and
packs it again with correct lengths and checksums: gzip, zip, json, safetensors, onnx, lines of text.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Edit = list[Any]
LARGE_PICTURE = 1 << 18
Files = dict[str, "bytes | Special"]

MOST_BYTES = 1 << 24
"""No edit makes a file longer than this, so that only compressed input is large."""

BOMB_PIECE = 1 << 22


class Special(str):
    """What lies in a file's place: directory, fifo, zero (a link to /dev/zero), loop (a link to itself)."""


def apply_all(files: Files, edits: list[Edit], seeds: Callable[[str], Files] | None = None) -> Files:
    """The files after all edits; ``seeds`` gives the files of another seed, for splicing."""
    changed = dict(files)
    for edit in edits:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                apply(changed, edit, seeds)
        except Exception:  # edits are random: what cannot be applied changes nothing
            continue
    return changed


def apply(files: Files, edit: Edit, seeds: Callable[[str], Files] | None = None) -> None:
    """Apply one edit in place; raises whatever goes wrong."""
    operation, name, *arguments = edit
    if operation == "special":
        files[name] = Special(arguments[0])
    elif operation == "new":
        files[name] = _bytes(arguments[0])
    elif operation == "remove":
        del files[name]
    elif operation == "rename":
        files[arguments[0]] = files.pop(name)
    elif operation == "twin":
        files[arguments[0]] = files[name]
    elif operation == "splice":
        if seeds is not None:
            files[name] = _spliced(_content(files, name), seeds(arguments[0])[arguments[1]], *arguments[2:])
    elif operation == "inside":
        container, inner = arguments
        unpack, pack = CONTAINERS[container]
        parts: Files = unpack(_content(files, name))
        apply(parts, inner, seeds)
        files[name] = pack(parts, _content(files, name))
    else:
        made = OPERATIONS[operation](_content(files, name), *arguments)
        files[name] = made[: 4 * MOST_BYTES]


def _content(files: Files, name: str) -> bytes:
    content = files[name]
    if not isinstance(content, bytes):
        raise ValueError(f"{name} is no file")
    return content


def _bytes(value: Any) -> bytes:
    """Bytes of text, ``{"hex": …}`` or ``{"repeat": value, "times": n}``."""
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict) and "repeat" in value:
        piece = _bytes(value["repeat"])
        return piece * min(int(value["times"]), MOST_BYTES // max(len(piece), 1))
    if isinstance(value, list):
        return b"".join(map(_bytes, value))
    return str(value).encode("utf-8", "surrogatepass")


# ---------------------------------------------------------------------------------------------------------- plain bytes


def _set(content: bytes, position: int, value: Any) -> bytes:
    at, new = position % max(len(content), 1), _bytes(value)
    return content[:at] + new + content[at + len(new) :]


def _flip(content: bytes, position: int, bit: int) -> bytes:
    at = position % max(len(content), 1)
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def _insert(content: bytes, position: int, value: Any) -> bytes:
    at = position % (len(content) + 1)
    return content[:at] + _bytes(value) + content[at:]


def _delete(content: bytes, position: int, length: int) -> bytes:
    at = position % max(len(content), 1)
    return content[:at] + content[at + length :]


def _copy(content: bytes, position: int, length: int, to: int, times: int = 1) -> bytes:
    at = position % max(len(content), 1)
    return _insert(content, to, {"hex": (content[at : at + length] * times)[:MOST_BYTES].hex()})


def _truncate(content: bytes, length: int) -> bytes:
    return content[: length % max(len(content), 1)]


def _replace(content: bytes, old: Any, new: Any) -> bytes:
    return content.replace(_bytes(old), _bytes(new), 1)


def _spliced(content: bytes, other: bytes | Special, mine: int, theirs: int) -> bytes:
    if not isinstance(other, bytes):
        return content
    return content[: mine % (len(content) + 1)] + other[theirs % (len(other) + 1) :]


# -------------------------------------------------------------------------------------------------------------- gzip


def _gunzip(content: bytes) -> Files:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        inner = stream.read(MOST_BYTES + 1)
    if len(inner) > MOST_BYTES:
        raise ValueError("too large to edit what is inside")
    return {"inner": inner}


def _gzip(parts: Files, _: bytes) -> bytes:
    return gzip.compress(_content(parts, "inner"), 1, mtime=0)


def _gzip_bomb(content: bytes, piece: Any, megabytes: int) -> bytes:
    """The gzip stream followed by members that unpack to so many megabytes of one piece of text."""
    text = _bytes(piece)
    block = text * (BOMB_PIECE // len(text))
    member = gzip.compress(block, 9, mtime=0)
    return content + member * max(1, (megabytes << 20) // len(block))


# ---------------------------------------------------------------------------------------------------------------- zip


def _unzip(content: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(info.file_size for info in archive.infolist()) > 4 * MOST_BYTES:
            raise ValueError("too large to edit what is inside")
        return {info.filename: archive.read(info) for info in archive.infolist()}


def _zip(parts: Files, before: bytes, method: int | None = None) -> bytes:
    with zipfile.ZipFile(io.BytesIO(before)) as archive:
        found = max((info.compress_type for info in archive.infolist()), default=zipfile.ZIP_STORED)
    method = found if method is None else method
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name in parts:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), _content(parts, name), method)
    return packed.getvalue()


_CENTRAL = {"flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"), "packed": (20, "<I"), "size": (24, "<I")}
_CENTRAL |= {"name_length": (28, "<H"), "extra_length": (30, "<H"), "offset": (42, "<I")}


def _zip_claim(content: bytes, number: int, field: str, value: int) -> bytes:
    """What the central directory says of a member, changed."""
    starts = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    place, layout = _CENTRAL[field]
    new = struct.pack(layout, value % (1 << (8 * struct.calcsize(layout))))
    at = starts[number % len(starts)] + place
    return content[:at] + new + content[at + len(new) :]


def _zip_bomb(content: bytes, member: str, megabytes: int, is_array: bool) -> bytes:
    """A member that unpacks to so many megabytes of zeros, as an .npy array or not."""
    files = _unzip(content)
    n_rows = (megabytes << 20) // 32  # of four numbers of 8 bytes
    header = _npy_bytes({"descr": "<f8", "fortran_order": False, "shape": (n_rows, 4)}) if is_array else b""
    files[member], checksum, n_bytes = _deflated_zeros(header, megabytes)
    packed = bytearray(_zip(files, content, zipfile.ZIP_STORED))
    # It was stored as it is, compressed already; now the directory says so.
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        local = archive.getinfo(member).header_offset
    central = next(
        found.start()
        for found in re.finditer(b"PK\x01\x02", packed)
        if packed[found.start() + 46 :].startswith(member.encode())
    )
    for at in (local + 8, central + 10):
        packed[at : at + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    for at in (local + 14, central + 16):
        packed[at : at + 4] = struct.pack("<I", checksum)
    for at in (local + 22, central + 24):
        packed[at : at + 4] = struct.pack("<I", n_bytes)
    return bytes(packed)


@functools.lru_cache(maxsize=16)
def _deflated_zeros(header: bytes, megabytes: int) -> tuple[bytes, int, int]:
    """A raw deflate stream of a header and zeros, its checksum, and its length unpacked."""
    piece = bytes(1 << 20)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    begun = compressor.compress(header) + compressor.flush(zlib.Z_FULL_FLUSH)
    one = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.crc32(header)
    for _ in range(megabytes):
        checksum = zlib.crc32(piece, checksum)
    # After a full flush nothing refers to what came before, so that one piece may be repeated.
    return begun + one * megabytes + compressor.flush(zlib.Z_FINISH), checksum, len(header) + (megabytes << 20)


# ---------------------------------------------------------------------------------------------------------------- npy


def _npy_bytes(header: dict[str, Any], version: int = 1) -> bytes:
    text = f"{header!r}\n".encode("latin-1", "replace")
    length = struct.pack("<H" if version == 1 else "<I", len(text) % (1 << 16))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def _npy_header(content: bytes, changes: dict[str, Any], version: int = 1) -> bytes:
    """Another header before the same numbers; a list is a tuple there."""
    stream = io.BytesIO(content)
    found = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if found == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape}
    header |= {name: _tuples(value) for name, value in changes.items()}
    return _npy_bytes(header, version) + content[stream.tell() :]


def _tuples(value: Any) -> Any:
    if isinstance(value, dict) and "fields" in value:
        return [(name, kind) for name, kind in value["fields"]]
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _npy_text(content: bytes, text: str) -> bytes:
    """The header's text as it is given, which need not be a dictionary."""
    raw = _bytes(text)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(raw), 65535)) + raw[:65535] + content[128:]


def _npy_array(content: bytes, dtype: str, shape: list[int], values: Any) -> bytes:
    """Another array; values are one, or as many as there are, repeated as needed."""
    made = np.resize(np.array(values), shape).astype(dtype) if np.prod(shape) else np.empty(shape, dtype)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, made, allow_pickle=False)
    return stream.getvalue()


def _npy_element(content: bytes, position: int, value: Any) -> bytes:
    values = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    flat = values.reshape(-1).copy()
    number = float(value) if isinstance(value, str) and values.dtype.kind == "f" else value
    flat[position % flat.size] = np.array([number]).astype(values.dtype)[0]
    stream = io.BytesIO()
    np.lib.format.write_array(stream, flat.reshape(values.shape), allow_pickle=False)
    return stream.getvalue()


# --------------------------------------------------------------------------------------------------------------- json


def json_value(value: Any) -> Any:
    """A value that plain JSON cannot hold or that would be long: deep nesting, long text, not a number."""
    if isinstance(value, dict) and "$deep" in value:
        nested: Any = value.get("leaf", 0)
        for _ in range(min(int(value["$deep"]), 900)):
            nested = [nested]
        return nested
    if isinstance(value, dict) and "$long" in value:
        return str(value["$long"]) * int(value["times"])
    if isinstance(value, dict) and "$float" in value:
        return float(value["$float"])
    return value


def _json_set(content: bytes, path: list[Any], value: Any) -> bytes:
    """Replace what lies at a path of names and indices; an index counts modulo the list's length."""
    document = json.loads(content)
    holder: Any = {"": document}
    for step, following in zip(["", *path], [*path, None], strict=False):
        key = step if isinstance(holder, dict) else int(step) % len(holder)
        if following is None:
            holder[key] = json_value(value)
            break
        holder = holder[key]
    return _dumped(document if path else holder[""])


def _json_remove(content: bytes, path: list[Any]) -> bytes:
    document = json.loads(content)
    holder = document
    for step in path[:-1]:
        holder = holder[step if isinstance(holder, dict) else int(step) % len(holder)]
    del holder[path[-1] if isinstance(holder, dict) else int(path[-1]) % len(holder)]
    return _dumped(document)


def _json_twice(content: bytes, name: str, value: Any) -> bytes:
    """A name that occurs twice in the outermost object."""
    text = content.decode().rstrip()
    return f"{text[: text.rindex('}')]}, {json.dumps(name)}: {json.dumps(json_value(value))}}}".encode()


def _json_deep(content: bytes, depth: int, opening: str) -> bytes:
    """Brackets that no recursive parser survives, before or around the document."""
    closing = {"[": "]", '{"a":': "}"}[opening]
    return (opening * depth).encode() + (content.strip() or b"0") + (closing * depth).encode()


def _dumped(document: Any) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=True).encode()


# -------------------------------------------------------------------------------------------------- other containers


def _split_safetensors(content: bytes) -> Files:
    (length,) = struct.unpack("<Q", content[:8])
    return {"header": content[8 : 8 + length], "data": content[8 + length :]}


def _join_safetensors(parts: Files, _: bytes) -> bytes:
    header = _content(parts, "header")
    return struct.pack("<Q", len(header)) + header + _content(parts, "data")


def _split_onnx(content: bytes) -> Files:
    import onnx
    from google.protobuf import json_format

    return {"json": json_format.MessageToJson(onnx.ModelProto.FromString(content), indent=None).encode()}


def _join_onnx(parts: Files, _: bytes) -> bytes:
    import onnx
    from google.protobuf import json_format

    model = onnx.ModelProto()
    json_format.Parse(_content(parts, "json"), model, ignore_unknown_fields=True)
    return bytes(model.SerializeToString())


def _split_lines(content: bytes) -> Files:
    return {f"{number}": line for number, line in enumerate(content.split(b"\n"))}


def _join_lines(parts: Files, _: bytes) -> bytes:
    return b"\n".join(_content(parts, name) for name in parts)


# --------------------------------------------------------------------------------------------------------------- tables


def _cell(content: bytes, row: int, column: int, value: Any) -> bytes:
    """A cell of a table of text, its header being row 0."""
    lines = content.split(b"\n")
    at = row % max(len([line for line in lines if line]), 1)
    mark = b"\t" if b"\t" in lines[0] else b","
    cells = lines[at].split(mark)
    cells[column % len(cells)] = _bytes(value)
    lines[at] = mark.join(cells)
    return b"\n".join(lines)


def _columns(content: bytes, count: int, value: Any) -> bytes:
    """So many more columns, named c0 and so on, before the others."""
    lines = content.split(b"\n")
    names = b"".join(b"c%d," % number for number in range(count))
    filled = _bytes(value).join([b""] + [b","] * count) if count else b""
    return b"\n".join(
        [names + lines[0], *((filled + line)[: MOST_BYTES // max(len(lines), 1)] for line in lines[1:] if line)]
    )


def _rows(content: bytes, row: int, times: int) -> bytes:
    lines = [line for line in content.split(b"\n") if line]
    extra = lines[row % len(lines)] + b"\n"
    return b"\n".join(lines) + b"\n" + extra * min(times, MOST_BYTES // max(len(extra), 1))


def _distinct(content: bytes, column: int, count: int) -> bytes:
    """So many more rows, each with another word in one column."""
    lines = [line for line in content.split(b"\n") if line]
    mark = b"\t" if b"\t" in lines[0] else b","
    cells = lines[-1].split(mark)
    for number in range(count):
        cells[column % len(cells)] = b"w%d" % number
        lines.append(mark.join(cells))
    return b"\n".join(lines) + b"\n"


def _picture(content: bytes, form: str, mode: str, width: int, height: int) -> bytes:
    """A picture of one colour: few bytes, however many pixels."""
    return _plain_picture(form, mode, width, height)


@functools.lru_cache(maxsize=8)
def _plain_picture(form: str, mode: str, width: int, height: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    options = {"TIFF": {"compression": "tiff_lzw"}, "PNG": {"compress_level": 1}}.get(form, {})
    Image.new(mode, (width, height)).save(stream, form, **options)
    return stream.getvalue()


def _table_column(content: bytes, name: str, kind: str, value: Any) -> bytes:
    """A column of a Parquet or Arrow file, of another type and all of one value; null is a value."""
    import pyarrow

    table, write = _read_table(content)
    types = {
        "list": pyarrow.list_(pyarrow.float32()),
        "fixed": pyarrow.list_(pyarrow.float32(), 3),
        "struct": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
        "map": pyarrow.map_(pyarrow.string(), pyarrow.int8()),
        "decimal": pyarrow.decimal128(38, 3),
        "timestamp": pyarrow.timestamp("ns", "UTC"),
        "time": pyarrow.time64("ns"),
        "duration": pyarrow.duration("ns"),
        "dictionary": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        "null": pyarrow.null(),
        "large": pyarrow.large_string(),
        "view": pyarrow.string_view(),
    }
    made = pyarrow.array([json_value(value)] * len(table), types.get(kind) or pyarrow.type_for_alias(kind))
    index = table.column_names.index(name) if name in table.column_names else table.num_columns
    changed = table.append_column(name, made) if index == table.num_columns else table.set_column(index, name, made)
    return write(changed)


def _table_drop(content: bytes, number: int, name: str | None) -> bytes:
    """A column less, or under another name."""
    table, write = _read_table(content)
    index = number % table.num_columns
    if name is None:
        return write(table.remove_column(index))
    names = list(table.column_names)
    names[index] = name
    return write(table.rename_columns(names))


def _table_metadata(content: bytes, key: str, value: Any) -> bytes:
    table, write = _read_table(content)
    return write(table.replace_schema_metadata({**(table.schema.metadata or {}), _bytes(key): _bytes(value)}))


def _table_rows(content: bytes, count: int) -> bytes:
    table, write = _read_table(content)
    return write(table.slice(0, count))


def _table_bomb(content: bytes, million: int) -> bytes:
    """So many million rows that are all the same, which take next to no room in the file."""
    return _many_rows(content, million)


@functools.lru_cache(maxsize=8)
def _many_rows(content: bytes, million: int) -> bytes:
    import pyarrow

    table, write = _read_table(content)
    chosen = [name for name in table.column_names if name in ("a", "b", "target", "image", "label", "file", "features")]
    chosen = chosen or table.column_names[:3]
    first = table.select(chosen).slice(0, 1).combine_chunks()
    piece = pyarrow.table(
        {name: pyarrow.repeat(first[name][0], 1_000_000) for name in chosen if _is_plain(first, name)}
    )
    return write(pyarrow.concat_tables([piece] * million).replace_schema_metadata(table.schema.metadata))


def _is_plain(table: Any, name: str) -> bool:
    import pyarrow

    return not pyarrow.types.is_nested(table.schema.field(name).type)


def _read_table(content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    import pyarrow
    from pyarrow import ipc, parquet

    def finished(make: Callable[[Any], Any], table: Any) -> bytes:
        sink = io.BytesIO()
        with make(sink) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def checked(table: Any) -> Any:
        table.validate(full=True)  # an earlier edit may have left offsets that point anywhere
        return table

    if content[:4] == b"PAR1":
        source = checked(parquet.ParquetFile(pyarrow.BufferReader(content)).read())
        return source, lambda table: finished(lambda sink: parquet.ParquetWriter(sink, table.schema), table)
    if content[:6] == b"ARROW1":
        source = checked(ipc.open_file(pyarrow.BufferReader(content)).read_all())
        return source, lambda table: finished(lambda sink: ipc.new_file(sink, table.schema), table)
    source = checked(ipc.open_stream(pyarrow.BufferReader(content)).read_all())
    return source, lambda table: finished(lambda sink: ipc.new_stream(sink, table.schema), table)


CONTAINERS: dict[str, tuple[Callable[[bytes], Files], Callable[[Files, bytes], bytes]]] = {
    "gzip": (_gunzip, _gzip),
    "zip": (_unzip, _zip),
    "safetensors": (_split_safetensors, _join_safetensors),
    "onnx": (_split_onnx, _join_onnx),
    "lines": (_split_lines, _join_lines),
}

OPERATIONS: dict[str, Callable[..., bytes]] = {
    "set": _set,
    "flip": _flip,
    "insert": _insert,
    "delete": _delete,
    "copy": _copy,
    "truncate": _truncate,
    "replace": _replace,
    "gzip-bomb": _gzip_bomb,
    "zip-claim": _zip_claim,
    "zip-bomb": _zip_bomb,
    "npy-header": _npy_header,
    "npy-text": _npy_text,
    "npy-array": _npy_array,
    "npy-element": _npy_element,
    "json-set": _json_set,
    "json-remove": _json_remove,
    "json-twice": _json_twice,
    "json-deep": _json_deep,
    "cell": _cell,
    "columns": _columns,
    "rows": _rows,
    "distinct": _distinct,
    "picture": _picture,
    "table-bomb": _table_bomb,
    "table-column": _table_column,
    "table-drop": _table_drop,
    "table-metadata": _table_metadata,
    "table-rows": _table_rows,
}


# ------------------------------------------------------------------------------------------------- model folders, disk

_DIGESTS = {"model.safetensors": "weights_sha256", "network.safetensors": "network_sha256"}


def sign(files: Files, folder: str) -> None:
    """Put right the checksums of a model folder, which are no secret: whoever sends a model can do so too."""
    import hashlib

    from crosshead.models.json_document import document_digest

    document = files.get(f"{folder}/model.json")
    if not isinstance(document, bytes):
        return
    try:
        for name, entry in _DIGESTS.items():
            content = files.get(f"{folder}/{name}")
            if isinstance(content, bytes):
                digest = hashlib.sha256(content).hexdigest().encode()
                document = _sign_entry(document, entry.encode(), digest)
        parsed = json.loads(document)
        if isinstance(parsed, dict):
            document = _sign_entry(document, b"document_sha256", document_digest(parsed).encode())
    except (ValueError, RecursionError, OverflowError):
        return
    files[f"{folder}/model.json"] = document


def _sign_entry(document: bytes, entry: bytes, digest: bytes) -> bytes:
    return re.sub(rb'("%s":\s*)"[^"]*"' % entry, rb'\1"%s"' % digest, document)


def write(files: Files, folder: Path) -> None:
    """Lay the files down below a folder; what the system refuses (a name with a NUL) is left out."""
    import os

    for name, content in files.items():
        path = folder / name
        if ".." in path.parts or not path.is_relative_to(folder):
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content == "directory":
                path.mkdir()
            elif content == "fifo":
                os.mkfifo(path)
            elif content == "zero":
                path.symlink_to("/dev/zero")
            elif content == "loop":
                path.symlink_to(path.name)
        except (OSError, ValueError):
            continue


def size(files: Files) -> int:
    """Bytes of all files together; a large picture counts as its pixels, as far as its packed size may explain them.

    Pictures of one colour are honest, however few their bytes, and what is promised of them is that ratio.
    """
    return sum(_honest(content) for content in files.values() if isinstance(content, bytes))


def _honest(content: bytes) -> int:
    from crosshead.data.limits import BYTES_PER_PIXEL, RATIO

    if len(content) < LARGE_PICTURE:
        return len(content)
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
    except Exception:  # no picture, or a damaged one
        return len(content)
    return max(len(content), min(RATIO * len(content), BYTES_PER_PIXEL * width * height))
