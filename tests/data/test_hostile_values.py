"""Arrays and documents of the wrong kind in the right places: each is refused in one line that names the file."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosshead.data import DataError, load, open_images, read_predictions
from crosshead.data.formats.feature_files import FeatureRows, write_archive, write_table
from crosshead.data.formats.parquet_sizes import check_sizes

N = 8
BACKBONE = {"kind": "onnx", "name": "net.onnx", "output": None, "fingerprint": 64 * "f", "preprocessing": {}}
ODD: dict[str, np.ndarray] = {
    "a number": np.array(3.5),
    "a word": np.array("x"),
    "records": np.zeros(N, dtype=[("a", "i4")]),
    "dates": np.zeros(N, dtype="M8[s]"),
    "complex": np.zeros((N, 3), dtype="c8"),
    "bytes that are no text": np.array([b"\xff"] * N),
    "too deep": np.zeros((N, 1, 1, 1, 1)),
    "no rows": np.zeros((0, 3)),
    "no columns": np.zeros((N, 0)),
    "too few": np.zeros(N - 1),
}
HONEST: dict[str, dict[str, Any]] = {
    "table": {"X": np.eye(N), "y": np.arange(N) % 2},
    "images": {"X": np.ones((N, 2, 2), dtype=np.uint8), "y": np.arange(N) % 2},
    "predictions": {"proba": np.full((N, 2), 0.5), "y": np.arange(N) % 2, "classes": np.arange(2), "row": np.arange(N)},
    "features": {
        "features": np.eye(N, dtype=np.float32),
        "names": np.array(list("abcdefgh")),
        "labels": np.arange(N) % 2,
        "backbone": np.array(json.dumps(BACKBONE)),
    },
}


def read(kind: str, path: Path) -> None:
    if kind == "predictions":
        found = read_predictions(path)
        assert list(found.blocks())
        assert found.fingerprint()
    elif kind == "images":
        assert open_images(path).fingerprint()
    else:
        assert load(path).fingerprint()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, members in HONEST.items() for name in members])
def test_arrays_of_the_wrong_kind(tmp_path: Path, kind: str, name: str, odd: str) -> None:
    np.savez(tmp_path / "a.npz", **HONEST[kind])
    read(kind, tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **(HONEST[kind] | {name: ODD[odd]}))
    if (kind, name, odd) == ("table", "X", "too deep"):
        return  # which become features all the same
    with pytest.raises(DataError, match=r"a\.npz"):
        read(kind, tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["table", "images", "predictions"])
def test_big_endian_and_fortran_order(tmp_path: Path, kind: str) -> None:
    members = {
        name: np.asfortranarray(values.astype(values.dtype.newbyteorder(">"))) for name, values in HONEST[kind].items()
    }
    np.savez(tmp_path / "a.npz", **members)
    read(kind, tmp_path / "a.npz")
    if kind == "table":
        np.testing.assert_array_equal(load(tmp_path / "a.npz").features, np.eye(N))


def test_numbers_that_are_no_letters(tmp_path: Path) -> None:
    """NumPy stores text as code points, and raises a SystemError when an invalid one is read."""
    labels = io.BytesIO()
    np.save(labels, np.array(["a", "b"] * (N // 2)))
    content = labels.getvalue()[:-4] + b"\xff\xff\xff\xff"
    (tmp_path / "y.npy").write_bytes(content)
    np.save(tmp_path / "X.npy", np.eye(N))
    np.savez(tmp_path / "a.npz", X=np.eye(N))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("y.npy", content)
    with pytest.raises(DataError, match=r"array 'y' cannot be read \(number 4294967295 is not a valid code point"):
        load(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"y\.npy: .*number 4294967295 is not a valid code point"):
        load(tmp_path / "X.npy")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[" * 100_000),
        ("a.json", b'[{"a": ' + b"[" * 500 + b"]" * 500 + b"}]"),
        ("a.json", b'{"predictions": 3}'),
        ("a.json", b'{"predictions": [3]}'),
        ("a.json", b'[{"probabilities": [[1], [2]], "y": 1}]'),
        ("a.json", b'[{"probabilities": {"a": "x", "b": null}, "y": 1}]'),
        ("a.json", b'[{"a": 1e999, "b": 1, "y": "a"}]'),
        ("a.json", b'[{"a": ' + b"9" * 400 + b', "b": 1, "y": "a"}]'),
        ("a.json", b'[{"a": 0.5, "b": 0.5, "y": {"c": 1}}]'),
        ("a.json", b'[{"\\ud800": 0.5, "b": 0.5, "y": "b"}]'),
        ("a.json", b'[{"a": 0.5, "b": 0.5, "y": "\\ud800"}]'),
        ("a.json", b'{"classes": 3, "predictions": [{"proba": [0.5, 0.5], "y": 1}]}'),
        ("a.json", b'{"classes": [[], {}], "predictions": [{"proba": [0.5, 0.5], "y": 1}]}'),
        ("a.jsonl", b"[" * 5000 + b"\n{}\n"),
        ("a.jsonl", b"\xff\xfe\n"),
        ("a.jsonl", b'{"a": 1}\n3\n'),
        ("a.csv", b"probability_a,probability_b,y,id\n0.5,0.5,a,\xff\n"),
    ],
)
def test_prediction_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"a\.(json|jsonl|csv)"):
        list(read_predictions(tmp_path / name).blocks())


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "3", "", '{"fingerprint": ' + "[" * 40 + "]" * 40 + "}"])
def test_what_is_said_of_a_backbone(tmp_path: Path, text: str) -> None:
    rows = FeatureRows(np.eye(N, dtype=np.float32), list("abcdefgh"), np.arange(N))
    write_archive(tmp_path / "a.npz", rows, None, BACKBONE)
    write_table(tmp_path / "a.parquet", rows, None, BACKBONE)
    whole = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", **(whole | {"backbone": np.array(text)}))
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.replace_schema_metadata({b"crosshead.backbone": text.encode()}), tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        with pytest.raises(DataError, match=rf"{name}: (the description of its|the description of the|the) backbone"):
            load(tmp_path / name)


def test_a_model_asks_features_for_what_they_do_not_say(tmp_path: Path) -> None:
    rows = FeatureRows(np.eye(N, dtype=np.float32), list("abcdefgh"), np.arange(N))
    write_archive(tmp_path / "a.npz", rows, None, BACKBONE)
    encoding = {"kind": "embedding", "backbone": BACKBONE | {"output": "o"}}
    with pytest.raises(DataError, match="made by another backbone"):
        load(tmp_path / "a.npz", encoding=encoding)


def test_lists_of_numbers_are_no_text(tmp_path: Path) -> None:
    """A model of a table with a column of lists meets a file of text, which has none."""
    pq.write_table(pa.table({"v": [[1.0, 2.0], [3.0, 4.0]], "y": ["a", "b"]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("v,y\n1,a\n2,b\n")
    encoding = load(tmp_path / "a.parquet").encoding
    with pytest.raises(DataError, match="in training it held lists of 2 numbers"):
        load(tmp_path / "a.csv", encoding=encoding)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_sizes_in_a_parquet_footer_are_arrows(tmp_path: Path, version: Any) -> None:
    table = pa.table({"a": np.arange(5000.0), "w": ["word"] * 5000, "b": [True, None] * 2500, "l": [[1, 2]] * 5000})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=2000, data_page_version=version, data_page_size=1000)
    assert check_sizes(path).rows == [2000, 2000, 1000]
    whole = path.read_bytes()
    for cut in (8, 20, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DataError, match="not a readable Parquet file"):
            check_sizes(path)


def test_headers_longer_than_any_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{'a' * 200_000},y\n1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: the first line is not a header of column names"):
        load(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text('a,y\n1,2\n"' + "x" * 3_000_000)
    with pytest.raises(DataError, match=r"a\.csv: a row is longer than a megabyte, or a quote is never closed"):
        load(tmp_path / "a.csv")


def test_test_rows_among_training_rows_are_not_cut_by_their_place(tmp_path: Path) -> None:
    rows = FeatureRows(np.eye(N, dtype=np.float32), list("abcdefgh"), np.arange(N))
    write_table(tmp_path / "a.parquet", rows, rows, BACKBONE)
    table = pq.read_table(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").test is not None
    pq.write_table(table.take(list(range(2 * N - 1, -1, -1))), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="test rows stand among training rows"):
        load(tmp_path / "a.parquet")


def test_a_split_without_test_rows_brings_none(tmp_path: Path) -> None:
    rows = FeatureRows(np.eye(N, dtype=np.float32), list("abcdefgh"), np.arange(N))
    write_table(tmp_path / "a.parquet", rows, rows, BACKBONE)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.slice(0, N), tmp_path / "a.parquet")
    found = load(tmp_path / "a.parquet")
    assert (found.n_rows, found.test) == (N, None)
