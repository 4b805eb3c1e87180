"""Every mistake in a table is named with its file, row and column."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from crosshead.data import DataError, load


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "height": [1.5, 2.0, 2.5, 1.0],
            "count": [1, 2, 3, 4],
            "member": [True, False, True, True],
            "colour": ["red", "blue", "red", "grün"],
            "label": ["yes", "no", "no", "yes"],
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix in (".feather", ".arrow"):
        frame.to_feather(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,x\n2\n", r"row 2 below the header has 1 columns, the header has 2"),
        ("a,y\n1,x\n2,x,3\n", r"row 2 below the header has 3 columns, the header has 2"),
        (
            "a,b\n1,x\n",
            r"which column is the target\? none has .*; say --target NAME, one of 'a', 'b'",
        ),
        ("a,y,label\n1,x,z\n", r"several columns could be it: 'y', 'label'; say --target"),
        ("a,a,y\n1,2,x\n", r"column 'a' occurs more than once"),
        ("a,y\n", r"columns but no rows"),
        (
            "a" + "," * 140_000 + "\n1\n",
            r"the header has 140001 columns, more than the 131072 of a table; save so many",
        ),
        ("y\nx\n", r"0 features"),
        ("1,2\n3,4\n", r"the first line holds numbers, not column names"),
        ("a,,y\n1,2,3\n", r"column 2 has no name"),
        ("a,b,y\n1,2,x\n3,,x\n", r"missing value at row 2 below the header, column 'b'"),
        ("a,b,y\n1,2,x\n3,NaN,x\n", r"missing value at row 2 below the header, column 'b'"),
        ("a,b,y\n1,2,x\n3,inf,x\n", r"infinite value at row 2 below the header, column 'b'"),
        ("a,b,y\n1,u,x\n3,,x\n", r"empty cell at row 2 below the header, column 'b'"),
        ("a,b,y\n1,,x\n3,,x\n", r"column 'b' is empty in every row; leave it out with --ignore b"),
        ("a,y\n1,x\n2,\n", r"label 'y' is empty at row 2 below the header"),
        ("a,y\n1,0\n2,\n", r"label 'y' is empty at row 2 below the header"),
        ("a,y\n1,0\n2,NA\n", r"column 'y' has no label at row 2 below the header"),
        ("a,when,y\n1,2020-01-31,x\n", r"column 'when' holds values of type date32"),
        ("a,y\n1,2020-01-31\n", r"column 'y' holds dates, which cannot be labels"),
    ],
)
def test_csv_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=r"bad\.csv: .*" + message) as caught:
        load(tmp_path / "bad.csv")
    assert "\n" not in str(caught.value)


def test_unknown_target_names_the_closest(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = write(frame, tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"no column 'color'; did you mean 'colour'\? the columns are"):
        load(path, target="color")
    assert load(path, target="colour").feature_names == ["height", "count", "member", "label=no", "label=yes"]


def test_identifiers_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [f"user{n}" for n in range(1001)], "a": 1, "y": [0] * 1001})
    with pytest.raises(DataError, match=r"a\.csv: column 'id' has 1001 different words.*--ignore id"):
        load(write(frame, tmp_path / "a.csv"))
    data = load(write(frame.iloc[:1000], tmp_path / "b.csv"))
    assert data.features.shape == (1000, 1001)
    assert "column 'id' has another value in every row" in data.notes[0]


def test_a_question_mark_among_numbers_is_not_a_category(tmp_path: Path) -> None:
    rows = [f"{n}.5,0" for n in range(40)]
    rows[32] = "?,0"
    (tmp_path / "a.csv").write_text("power,y\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"column 'power' holds numbers, but '\?' at row 33 below the header"):
        load(tmp_path / "a.csv")


def test_parquet_refusals(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "a.parquet"
    for column, values, message in [
        ("height", [1.0, np.nan, 2.0, 3.0], r".*missing value at row 2, column 'height'"),
        ("height", [1.0, 2.0, np.inf, 3.0], r"an infinite value at row 3, column 'height'"),
        ("colour", ["a", "b", None, "c"], r".*missing value at row 3, column 'colour'"),
        ("label", ["a", "b", None, "c"], r"column 'label' has no label at row 3"),
        ("height", [[1.0], [2.0], [3.0, 4.0], [5.0]], r"the list at row 3, column 'height' has 2 numbers"),
        (
            "height",
            [["a"], ["b"], ["c"], ["d"]],
            r"column 'height' holds lists of .*string; give lists of numbers",
        ),
        ("height", [{"u": 1}] * 4, r"column 'height' holds values of type struct"),
        ("height", [b"\xff", b"a", b"b", b"c"], r"column 'height' holds bytes"),
    ]:
        write(frame.assign(**{column: values}), path)
        with pytest.raises(DataError, match=r"a\.parquet: " + message):
            load(path)
    floats = pa.table({"v": pa.array([1.0, float("nan")]), "y": pa.array([0, 1])})
    pa.parquet.write_table(floats, path)
    with pytest.raises(DataError, match=r"a\.parquet: NaN at row 2, column 'v'"):
        load(path)
    holes = pa.array([[1.0, 2.0], [3.0, None]])
    pa.parquet.write_table(pa.table({"v": holes, "y": pa.array([0, 1])}), path)
    with pytest.raises(DataError, match=r"a number is missing in the list at row 2, column 'v'"):
        load(path)
    content = write(frame, path).read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file .*truncated"):
        load(path)
    path.write_bytes(b"hello" * 10)
    with pytest.raises(DataError, match=r"a\.parquet: named \.parquet but does not begin like a Parquet"):
        load(path)


def test_truncated_gzip_and_wrong_text_encodings(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 10**9, 30_000)
    packed = gzip.compress(("a,y\n" + "\n".join(f"{n},0" for n in noise)).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"a\.csv\.gz: .*[Tt]runcated"):
        load(tmp_path / "a.csv.gz")
    (tmp_path / "latin.csv").write_bytes("a,name,y\n1,Jörg,0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"column 'name' holds bytes that are not UTF-8"):
        load(tmp_path / "latin.csv")
    (tmp_path / "header.csv").write_bytes("größe,y\n1,0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"header\.csv: the header is not UTF-8"):
        load(tmp_path / "header.csv")
    (tmp_path / "wide.csv").write_bytes("a,y\n1,0\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"wide\.csv: text in UTF-16"):
        load(tmp_path / "wide.csv")


@pytest.mark.parametrize(
    "cells", [("0,5", "1,5"), ("1,000", "2,500"), ("10 %", "20 %"), ("$5", "$7.50"), ("1'000", "3")]
)
def test_numbers_that_are_read_as_words_are_pointed_out(tmp_path: Path, cells: tuple[str, str]) -> None:
    (tmp_path / "a.csv").write_text("a;y\n" + "".join(f"{cell};{row % 2}\n" for row, cell in enumerate(cells * 2)))
    notes = load(tmp_path / "a.csv").notes
    assert len(notes) == 1
    assert f"column 'a' is taken for 2 words, but looks like numbers, such as {min(cells)!r}" in notes[0]


def test_many_columns_take_no_time_for_each_pair(tmp_path):
    """Twenty thousand names: comparing each with each took minutes."""
    names = [f"c{number}" for number in range(20_000)]
    path = tmp_path / "wide.csv"
    path.write_text(f"{','.join(names)},label\n" + (",".join(["1"] * 20_000) + ",a\n") * 2)
    began = time.process_time()
    assert load(path).features.shape == (2, 20_000)
    assert time.process_time() - began < 10
    path.write_text(f"{','.join(names)},c7,label\n" + (",".join(["1"] * 20_001) + ",a\n") * 2)
    with pytest.raises(DataError, match=r"wide\.csv: column 'c7' occurs more than once"):
        load(path)


def test_text_that_is_not_utf8_where_numbers_were_learned(tmp_path):
    """The columns are read once more, as text, to find a cell: that one fails in another way."""
    (tmp_path / "a.csv").write_text("x,z,label\n1,2,a\n3,4,b\n")
    encoding = load(tmp_path / "a.csv").encoding
    (tmp_path / "b.csv").write_bytes(b"x,z,label\n1,2,a\n\x1f\x8b,4,b\n")
    with pytest.raises(DataError, match=r"b\.csv: column 'x' is not UTF-8"):
        load(tmp_path / "b.csv", encoding=encoding)
