"""Random edits: of plain bytes, and of what is inside a container, so that damage gets past its checksums.

What is proposed depends on the seed's files and on a generator of random numbers alone, never on the machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from fuzz.edits import CONTAINERS, Edit, Files

CANARY = "fuzz_canary"
"""A module in the working folder that leaves a mark when it is imported."""

SECRET = "../secret.csv"
"""A file outside the working folder that nothing may open."""

WORDS: tuple[Any, ...] = (
    "",
    " ",
    "a",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-0",
    "1e-400",
    "0x10",
    "1_000",
    "99999999999999999999",
    "true",
    "null",
    "2024-01-01",
    "=cmd|' /C calc'!A0",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202eevil",
    "line\nbreak",
    "carriage\rreturn",
    "nul\x00byte",
    "\ufeffmark",
    '"',
    '""',
    "'",
    ",",
    ";",
    "\t",
    "\\",
    "<script>alert(1)</script>",
    "|cell|",
    "[a](javascript:b)",
    "\u00e9\u4e2d\U0001f600",
    "\x85\u2028",
    "%s%n%d",
    "{0.__class__}",
    "../../x",
    SECRET,
    "/etc/passwd",
    "~/x",
    "C:\\x",
    "1:1",
    "2147483647:1",
    "100000000:1",
    "99999999999999999999:1",
    "0:1",
    "-1:1",
    "-",
    "--help",
    f"torch:{CANARY}:touch",
    f"{CANARY}",
    "torch:os:abort",
    "torch:http.server:test",
    "CON",
    "y",
    "target",
    "label",
    "X",
    "file_name",
    "proba_a",
)

NUMBERS: tuple[int, ...] = (
    0,
    1,
    -1,
    2,
    3,
    7,
    8,
    16,
    100,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**53 + 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
    10**400,
    -2,
    -128,
    -(2**31),
    -(2**63),
    -(10**30),
)

FLOATS = ("nan", "inf", "-inf", "1e308", "-1e308", "5e-324", "1e39", "-0.0", "0.5", "1e-310", "3.4028236e38")

DTYPES = (
    "<f8", ">f8", "<f4", ">f4", "<f2", "<f16", "<i1", "|u1", "<i2", "<u2", "<i4", ">i4", "<u4", "<i8", ">i8", "<u8",
    "|b1", "<c8", "<c16", "<M8[ns]", "<m8[s]", "<U1", "<U9", ">U3", "<U0", "|S1", "|S5", "|S0", "|V1", "|V8", "|O",
    "<f9", "x", "<U99999999", "|V2147483647",
)  # fmt: skip

TEXTS = ("\xff\xfe", "\xfe\xff", "\x00", "PK\x03\x04", "\x93NUMPY", "PAR1", "ARROW1", "\xff\xff\xff\xff", "\x1f\x8b")
PICTURES = (".png", ".jpg", ".gif", ".bmp", ".webp", ".tif", ".ppm")
MAGICS = tuple({"hex": text.encode("latin-1").hex()} for text in (*TEXTS, "\0\0\x08\x03", "\x89PNG\r\n"))

COLUMNS: tuple[tuple[str, Any], ...] = (
    ("double", 0.5), ("double", {"$float": "nan"}), ("float", 1e30), ("halffloat", None), ("int8", -1),
    ("int64", 2**53 + 1), ("uint64", 2**63), ("bool", True), ("string", "a"), ("string", "word"), ("binary", "x"),
    ("null", None), ("list", [0.5, 1.0]), ("list", []), ("list", None), ("fixed", [0.5, 1.0, 2.0]),
    ("struct", {"path": "x"}), ("struct", None), ("map", [["a", 1]]), ("decimal", 1), ("decimal", None),
    ("timestamp", 0), ("timestamp", 2**62), ("time", 1), ("duration", 1), ("dictionary", "a"), ("dictionary", None),
    ("large", "a"), ("view", "a"), ("date32", 2**31 - 1), ("date64", 1), ("string", {"$long": "a", "times": 100_000}),
)  # fmt: skip
"""Types and values of a column that takes another's place."""

METADATA: tuple[Any, ...] = (
    "", "{", "[]", "{}", "null", "3", '"a"', "[" * 3_000, {"hex": "ff00"}, '{"info": []}', '{"info": {"features": 3}}',
    '{"fingerprint": 1}', '{"fingerprint": "a", "output": []}', '{"info": {"features": {"label": null}}}',
    '{"info": {"features": {"label": {"names": [1, null], "_type": "ClassLabel"}}}}',
    '{"info": {"features": {"label": {"names": "ab", "_type": "ClassLabel"}}}}',
    '{"info": {"features": {"label": {"names": [["a"], {"b": 1}], "_type": "ClassLabel"}}}}',
)  # fmt: skip
"""What the metadata of a Parquet file may say."""

Propose = Callable[[random.Random, str, bytes], Edit]


def propose(generator: random.Random, files: Files, kinds: list[str], sources: Callable[[str], Files]) -> list[Edit]:
    """One to four edits of a seed's files."""
    count = generator.choice((1, 1, 1, 1, 2, 2, 3, 4))
    known = _attacks(files)
    edits: list[Edit] = list(generator.choice(known)) if known and generator.random() < 0.1 else []
    for _ in range(count):
        name = _file(generator, files)
        content = files[name]
        if not isinstance(content, bytes) or generator.random() < 0.03:
            edits.append(_of_folder(generator, name))
        elif generator.random() < 0.03:
            other = generator.choice(kinds)
            theirs = sorted(sources(other))
            cut, from_ = (generator.choice((0, generator.randrange(1 << 16))) for _ in range(2))
            edits.append(["splice", name, other, generator.choice(theirs), cut, from_])
        else:
            edits.append(of_file(generator, name, content))
    return edits


def _attacks(files: Files) -> list[list[Edit]]:
    """What an attacker would try first where a file names other files or modules; several edits belong together."""
    found: list[list[Edit]] = []
    places = (SECRET, "/etc/passwd", "/dev/zero", "x/../../secret.csv", f"file://{SECRET}", "", ".", "..", "net.onnx")
    document = files.get("model/model.json")
    if isinstance(document, bytes) and b'"backbone"' in document:
        where = ["encoding", "backbone"]
        for module in (f"torch:{CANARY}:touch", "torch:os:abort", f"torch:{CANARY}.py:touch", f"{CANARY}:touch"):
            for kind in ("torch", "onnx", "cnn"):
                path = ["json-set", "model/model.json", [*where, "path"], module]
                found.append([["json-set", "model/model.json", [*where, "kind"], kind], path])
        for place in places:
            found.append([["json-set", "model/model.json", [*where, "path"], place]])
    for name, content in files.items():
        if name.endswith(".onnx") and isinstance(content, bytes) and b"location" in content:
            for place in places:
                path = ["graph", "initializer", 0, "externalData", 0, "value"]
                found.append([["inside", name, "onnx", ["json-set", "json", path, place]]])
        if name.endswith("metadata.csv"):
            found += [[["cell", name, 1, 0, place]] for place in places]
        if name.endswith("metadata.jsonl"):
            found += [[["inside", name, "lines", ["json-set", "1", ["file_name"], place]]] for place in places]
        if name.endswith(".npy") or name.endswith(".npz"):
            pickled = ["npy-header", name, {"descr": "|O"}]
            inside = ["inside", name, "zip", ["npy-header", "X.npy", {"descr": "|O"}]]
            found.append([pickled if name.endswith(".npy") else inside])
    return found


def _file(generator: random.Random, files: Files) -> str:
    """A file to change; the first and any document more often than the rest."""
    names = sorted(files)
    likely = [name for name in names if name.endswith((".json", ".jsonl", "metadata.csv", ".onnx"))]
    if likely and generator.random() < 0.5:
        return generator.choice(likely)
    return generator.choice(names)


def _of_folder(generator: random.Random, name: str) -> Edit:
    kind = generator.choice(("special", "special", "remove", "rename", "twin", "new", "gzip"))
    if kind == "special":
        return ["special", name, generator.choice(("directory", "fifo", "zero", "loop"))]
    if kind == "gzip":
        return ["new", name, {"hex": ""}]
    folder, _, own = name.rpartition("/")
    before = f"{folder}/" if folder else ""
    others = ("y.npy", "train", "test.parquet", "a.png", "b.csv", "metadata.csv", "metadata.jsonl", "net.json")
    other = generator.choice(
        (*others, f"{own}.gz", "test/a.png", "preprocessor_config.json", f".{own}", "net.onnx.data")
    )
    if kind == "remove":
        return ["remove", name]
    if kind == "new":
        return ["new", f"{before}{other}", _word(generator)]
    return [kind, name, f"{before}{other}"]


def of_file(generator: random.Random, name: str, content: bytes) -> Edit:
    """An edit of one file, of its bytes or of what its format says."""
    structured = _structured(name, content)
    if structured and generator.random() < 0.65:
        return generator.choice(structured)(generator, name, content)
    return of_bytes(generator, name, content)


def _structured(name: str, content: bytes) -> list[Propose]:
    """What can be changed inside a file of this kind; what is listed twice is chosen twice as often."""
    if content.startswith(b"\x1f\x8b"):
        return [_in_gzip] * 20 + [_gzip_bomb]
    if content.startswith(b"PK"):
        return [_in_zip] * 50 + [_zip_claim] * 6 + [_zip_bomb]
    if content.startswith(b"\x93NUMPY"):
        return [_npy_header, _npy_header, _npy_array, _npy_element, _npy_text]
    if content.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return [_table_column] * 20 + [_table_other] * 10 + [_table_bomb]
    if name.endswith(".jsonl"):
        return [_in_lines]
    if name.endswith(".json"):
        return [_json_set] * 8 + [_json_remove, _json_remove, _json_twice, _json_deep]
    if name.endswith(".safetensors") or name == "header":
        return [_in_safetensors]
    if name.endswith(".onnx"):
        return [_in_onnx]
    if name.endswith((".csv", ".tsv", ".svm", ".md")) or name == "inner":
        return [_cell] * 18 + [_columns, _rows, _distinct]
    if name.lower().endswith(PICTURES):
        return [of_bytes] * 40 + [_picture]
    return []


# --------------------------------------------------------------------------------------------------------------- bytes


def of_bytes(generator: random.Random, name: str, content: bytes) -> Edit:
    """An edit that knows nothing of the format."""
    at = _position(generator, len(content))
    kind = generator.choice(("flip", "flip", "set", "set", "set", "insert", "delete", "copy", "truncate", "word"))
    if kind == "flip":
        return ["flip", name, at, generator.randrange(8)]
    if kind == "set":
        return ["set", name, at, {"hex": _integer(generator).hex()}]
    if kind == "insert":
        piece = generator.choice((*MAGICS, {"hex": _integer(generator).hex()}))
        return ["insert", name, at, {"repeat": piece, "times": generator.choice((1, 1, 2, 100, 10_000))}]
    if kind == "delete":
        return ["delete", name, at, generator.choice((1, 1, 2, 4, 8, 16, 100))]
    if kind == "copy":
        length, times = generator.choice((1, 2, 4, 8, 30, 200)), generator.choice((1, 1, 1, 2, 50))
        return ["copy", name, at, length, _position(generator, len(content)), times]
    if kind == "truncate":
        return ["truncate", name, at]
    return ["insert", name, at, _word(generator)]


def _position(generator: random.Random, length: int) -> int:
    """Anywhere, but half of the time near the beginning or the end, where formats keep what matters."""
    where = generator.random()
    if where < 0.3:
        return generator.randrange(min(max(length, 1), 80))
    if where < 0.5:
        return max(length - 1 - generator.randrange(80), 0)
    return generator.randrange(max(length, 1))


def _integer(generator: random.Random) -> bytes:
    width = generator.choice((1, 1, 1, 2, 4, 8))
    value = generator.choice((*NUMBERS[:-1], generator.getrandbits(64))) % (1 << (8 * width))
    return value.to_bytes(width, generator.choice(("little", "big")))


def _word(generator: random.Random) -> Any:
    choice = generator.random()
    if choice < 0.04:
        return {"repeat": generator.choice(("a", "9", "[", '"', "\n", ",", "\u00e9")), "times": 3_000}
    if choice < 0.06:
        return {"repeat": generator.choice(("a", "9", '"', "\n", ",")), "times": 3_000_000}
    if choice < 0.1:
        return {"hex": generator.choice(("ff", "c328", "eda080", "f4908080", "80"))}
    if choice < 0.3:
        return str(generator.choice(NUMBERS[:-1]))
    return generator.choice(WORDS)


# ---------------------------------------------------------------------------------------------------------- containers


def _inside(generator: random.Random, name: str, container: str, content: bytes, part: str | None = None) -> Edit:
    """An edit of one part of a container; of the container's bytes where it cannot be unpacked."""
    try:
        parts = CONTAINERS[container][0](content)
    except Exception:  # a seed of another kind under this name
        return of_bytes(generator, name, content)
    chosen = part if part in parts else generator.choice(sorted(parts)) if parts else None
    inner = parts.get(chosen) if chosen is not None else None
    if chosen is None or not isinstance(inner, bytes):
        return of_bytes(generator, name, content)
    if container == "zip" and generator.random() < 0.1:
        other = generator.choice(
            ("X.npy", "y.npy", "Xt.npy", "classes.npy", "x/y.npy", "../x.npy", "indptr.npy", "a.txt")
        )
        edit = generator.choice((["remove", chosen], ["rename", chosen, other], ["twin", chosen, other]))
    elif container == "onnx" or (container == "safetensors" and chosen == "header"):
        edit = generator.choice([_json_set] * 6 + [_json_remove, _json_twice, _json_deep])(generator, chosen, inner)
    elif container == "lines":
        edit = generator.choice([_json_set] * 6 + [_json_remove, _json_twice, _json_deep, of_bytes])(
            generator, chosen, inner
        )
    else:
        edit = of_file(generator, chosen, inner)
    return ["inside", name, container, edit]


def _in_gzip(generator: random.Random, name: str, content: bytes) -> Edit:
    return _inside(generator, name, "gzip", content)


def _in_zip(generator: random.Random, name: str, content: bytes) -> Edit:
    return _inside(generator, name, "zip", content)


def _in_lines(generator: random.Random, name: str, content: bytes) -> Edit:
    return _inside(generator, name, "lines", content)


def _in_safetensors(generator: random.Random, name: str, content: bytes) -> Edit:
    return _inside(generator, name, "safetensors", content, "header")


def _in_onnx(generator: random.Random, name: str, content: bytes) -> Edit:
    return _inside(generator, name, "onnx", content)


def _gzip_bomb(generator: random.Random, name: str, _: bytes) -> Edit:
    piece = generator.choice(
        ({"hex": "00"}, "0\n", "1,2\n", "\n", "1 1:1\n", "a", "1,2,3,4,red,true,2024-01-01,class 1\n")
    )
    return ["gzip-bomb", name, piece, generator.choice((1, 8, 64, 512, 2048))]


def _zip_claim(generator: random.Random, name: str, _: bytes) -> Edit:
    field = generator.choice(("flags", "method", "crc", "packed", "size", "name_length", "extra_length", "offset"))
    return ["zip-claim", name, generator.randrange(8), field, generator.choice(NUMBERS[:-1]) % (1 << 64)]


def _zip_bomb(generator: random.Random, name: str, _: bytes) -> Edit:
    member = generator.choice(("X.npy", "y.npy", "data.npy", "proba.npy", "features.npy", "other.npy", "backbone.npy"))
    return ["zip-bomb", name, member, generator.choice((1, 16, 256, 512)), generator.random() < 0.8]


# ---------------------------------------------------------------------------------------------------------------- npy


def _shape(generator: random.Random) -> list[int]:
    likely = [0, 1, 2, 3, 4, 6, 8, 9, 12, 13, 48, *NUMBERS[:-1]]
    return [generator.choice(likely) for _ in range(generator.choice((0, 1, 1, 2, 2, 2, 3, 4, 40)))]


def _npy_header(generator: random.Random, name: str, _: bytes) -> Edit:
    changes: dict[str, Any] = {}
    for field in generator.sample(("descr", "fortran_order", "shape", "extra"), generator.choice((1, 1, 2))):
        if field == "descr":
            fields = {"fields": [["a", "<f8"], [generator.choice(("b", "a", "")), generator.choice(DTYPES)]]}
            changes[field] = generator.choice((*DTYPES, *DTYPES, fields, [], 3, None, "<f8,<i4", {"a": 1}))
        elif field == "shape":
            changes[field] = generator.choice((_shape(generator), _shape(generator), None, "x", [1.5, 2], [True, 4]))
        else:
            changes[field] = generator.choice((True, False, 1, None, "x"))
    return ["npy-header", name, changes, generator.choice((1, 1, 1, 2, 3, 9))]


def _npy_array(generator: random.Random, name: str, _: bytes) -> Edit:
    shape = [generator.choice((0, 1, 2, 3, 4, 6, 12, 13)) for _ in range(generator.choice((0, 1, 1, 2, 2, 3)))]
    dtype = generator.choice(
        ("<f8", "<f4", "<i8", "<i4", "|b1", "<U5", "|S3", "<c16", "<M8[s]", "<u8", "<f2", "|u1", "<f16")
    )
    value = generator.choice(([0, 1, 2], [7], [-1], [0.5], ["csr"], ["json"], ['{"fingerprint": 1}'], [2**31], [1e30]))
    return ["npy-array", name, dtype, shape, value]


def _npy_element(generator: random.Random, name: str, _: bytes) -> Edit:
    value = (
        generator.choice((*NUMBERS[:26], *NUMBERS[-4:-1], *FLOATS)) if generator.random() < 0.9 else _text(generator)
    )
    return ["npy-element", name, generator.randrange(64), value]


def _npy_text(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["npy-text", name, generator.choice((
        "{}", "[]", "", "(" * 500, "{'descr': '<f8', 'fortran_order': False, 'shape': (12, 4), }" + " " * 60_000,
        f"__import__('{CANARY}')", "{'descr': '<f8', 'fortran_order': False, 'shape': (12, 4)", "{1: 2}", "9" * 10_000,
        "{'descr': '|O', 'fortran_order': False, 'shape': (12, 4)}", "{" + "'a':{" * 300, "-" * 60_000, "\x00" * 20,
        "{'descr': [('a', [('b', '|O')])], 'fortran_order': False, 'shape': ()}", "not " * 10_000 + "1",
    ))]  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- json


def _text(generator: random.Random) -> str:
    return str(generator.choice(WORDS))


def _json_leaf(generator: random.Random) -> Any:
    return generator.choice((
        None, True, False, [], {}, [[]], {"a": 1}, [None], ["a", "b"], [1, 2, 3], 0.5, -0.0, 1e300,
        generator.choice(NUMBERS), generator.choice(NUMBERS[:12]), _text(generator), _text(generator),
        {"$float": "nan"}, {"$float": "inf"}, {"$deep": generator.choice((2, 50, 500))}, {"$deep": 3, "leaf": "a"},
        {"$long": "a", "times": 100_000}, "\ud800", "a\udce9b", [1, "a"], [True, 1], {"": None}, [0.5] * 4, [1e308] * 4,
    ))  # fmt: skip


def _paths(value: Any, most: int = 400) -> list[list[Any]]:
    """The paths of everything in a document, but no more than some."""
    found: list[list[Any]] = [[]]
    for path in found:
        inner = value
        for step in path:
            inner = inner[step]
        steps = inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        found.extend([*path, step] for step in steps)
        if len(found) > most:
            break
    return found[1:]


def _json_path(generator: random.Random, content: bytes) -> list[Any] | None:
    try:
        paths = _paths(json.loads(content))
    except ValueError:
        return None
    return generator.choice(paths) if paths else None


def _alike(generator: random.Random, content: bytes, path: list[Any]) -> Any:
    """Another value of the same type, which a schema accepts where it refuses all others."""
    value = json.loads(content)
    for step in path:
        value = value[step]
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return str(generator.choice(NUMBERS[:-1]))  # protocol buffers have their long integers as text
    if isinstance(value, str):
        return _text(generator)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return generator.choice(NUMBERS)
    if isinstance(value, float):
        return {"$float": generator.choice(FLOATS)}
    if isinstance(value, list):
        return generator.choice(([], value * 2, value[:1], value[::-1], [value]))
    return _json_leaf(generator)


def _json_set(generator: random.Random, name: str, content: bytes) -> Edit:
    path = _json_path(generator, content)
    if path is None:
        return of_bytes(generator, name, content)
    if generator.random() < 0.4:
        return ["json-set", name, path, _alike(generator, content, path)]
    if generator.random() < 0.1:
        path = [
            *path[:-1],
            generator.choice(("crop", "temperature", "network_sha256", "extra", "path", "kind", "shape")),
        ]
    if generator.random() < 0.01:
        path = []
    return ["json-set", name, path, _json_leaf(generator)]


def _json_remove(generator: random.Random, name: str, content: bytes) -> Edit:
    path = _json_path(generator, content)
    return of_bytes(generator, name, content) if path is None else ["json-remove", name, path]


def _json_twice(generator: random.Random, name: str, content: bytes) -> Edit:
    path = _json_path(generator, content)
    if path is None or not isinstance(path[0], str):
        return of_bytes(generator, name, content)
    return ["json-twice", name, path[0], _json_leaf(generator)]


def _json_deep(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["json-deep", name, generator.choice((10, 900, 5_000, 200_000)), generator.choice(("[", '{"a":'))]


# -------------------------------------------------------------------------------------------------------------- tables


def _cell(generator: random.Random, name: str, _: bytes) -> Edit:
    row = generator.choice((0, generator.randrange(13)))
    return ["cell", name, row, generator.randrange(8), _word(generator)]


def _columns(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["columns", name, generator.choice((1, 3, 300, 20_000)), generator.choice(("1", "", "a", "0.5"))]


def _rows(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["rows", name, generator.randrange(13), generator.choice((1, 100, 20_000))]


def _distinct(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["distinct", name, generator.randrange(8), generator.choice((10, 300, 1_000, 3_000))]


def _picture(generator: random.Random, name: str, _: bytes) -> Edit:
    width, height = generator.choice(
        ((1, 1), (1, 30_000), (3_000, 3_000), (9_400, 9_400), (13_000, 13_000), (65_000, 1_300))
    )
    form, mode = generator.choice(
        (("PNG", "RGB"), ("PNG", "L"), ("PNG", "I;16"), ("GIF", "P"), ("TIFF", "RGBA"), ("JPEG", "L"))
    )
    return ["picture", name, form, mode, width, height]


def _table_bomb(generator: random.Random, name: str, _: bytes) -> Edit:
    return ["table-bomb", name, generator.choice((1, 10, 40))]


def _column_name(generator: random.Random) -> str:
    known = ("a", "word", "target", "image", "label", "features", "file", "split", "row", "probability_cat", "proba_x")
    return generator.choice((*known, _text(generator)))


def _table_column(generator: random.Random, name: str, _: bytes) -> Edit:
    kind, value = generator.choice(COLUMNS)
    value = _text(generator) if value == "word" else value
    return ["table-column", name, _column_name(generator), kind, value]


def _table_other(generator: random.Random, name: str, _: bytes) -> Edit:
    kind = generator.choice(("drop", "name", "metadata", "metadata", "rows"))
    if kind == "rows":
        return ["table-rows", name, generator.choice((0, 1, 2))]
    if kind != "metadata":
        return ["table-drop", name, generator.randrange(8), None if kind == "drop" else _column_name(generator)]
    key = generator.choice(("crosshead.backbone", "huggingface", "pandas", "ARROW:schema"))
    return ["table-metadata", name, key, generator.choice(METADATA)]
