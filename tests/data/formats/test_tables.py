"""Tables against files that pandas wrote, and every mistake named with its row and column."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


EXPECTED = np.array(
    [
        [1.5, 1, 1, 0, 0, 1],
        [2.0, 2, 0, 1, 0, 0],
        [2.5, 3, 1, 0, 0, 1],
        [1.0, 4, 1, 0, 1, 0],
    ]
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
    "name",
    ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz", "a.parquet", "a.feather", "a.arrow"],
)
def test_round_trip(tmp_path: Path, frame: pd.DataFrame, name: str) -> None:
    data = load(write(frame, tmp_path / name))
    np.testing.assert_array_equal(data.features, EXPECTED)
    assert data.target.tolist() == ["yes", "no", "no", "yes"]
    assert data.feature_names == ["height", "count", "member", "colour=blue", "colour=grün", "colour=red"]
    assert data.encoding["n_features"] == 6
    assert json.loads(json.dumps(data.encoding)) == data.encoding


def test_content_beats_the_name(tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "a.parquet").rename(tmp_path / "a.csv")
    np.testing.assert_array_equal(load(tmp_path / "a.csv").features, EXPECTED)
    (tmp_path / "plain.csv").write_bytes(gzip.compress(b"a,y\n1,0\n"))
    assert load(tmp_path / "plain.csv").features.tolist() == [[1.0]]


def test_semicolons_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    text = '\ufeff"a";"b";"label"\n1;2;"x;\ny"\n3;4;z\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    data = load(tmp_path / "a.csv")
    assert data.features.tolist() == [[1, 2], [3, 4]]
    assert data.target.tolist() == ["x;\ny", "z"]


def test_a_type_that_changes_late_in_a_long_file(tmp_path: Path) -> None:
    rows = 200_000
    (tmp_path / "a.csv").write_text("a,y\n" + "1,0\n" * rows + "0.5,1\n")
    data = load(tmp_path / "a.csv")
    assert data.features[-1, 0] == 0.5
    assert data.features.shape == (rows + 1, 1)


def test_integer_float_and_boolean_targets(tmp_path: Path) -> None:
    (tmp_path / "int.csv").write_text("a,y\n1,3\n2,4\n")
    (tmp_path / "float.csv").write_text("a,y\n1,3.0\n2,4.0\n")
    (tmp_path / "bool.csv").write_text("a,y\n1,true\n2,false\n")
    assert load(tmp_path / "int.csv").target.tolist() == [3, 4]
    assert load(tmp_path / "float.csv").target.dtype == np.int64
    assert load(tmp_path / "bool.csv").target.tolist() == [True, False]
    (tmp_path / "real.csv").write_text("a,y\n1,3.0\n2,4.5\n")
    with pytest.raises(DataError, match=r"real\.csv: label 'y' is 4\.5 at row 2 below.*regression"):
        load(tmp_path / "real.csv")


def test_one_row_is_enough(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,c\n")
    assert load(tmp_path / "a.csv").features.tolist() == [[1, 2]]


def test_embeddings(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    small = pa.array(np.array([1, 2, 3, 4, 5], dtype=np.float16))
    table = pa.table({"v": fixed, "w": pa.array(vectors.tolist()), "h": small, "y": pa.array([0, 1, 0, 1, 0])})
    for chunk in (1, 2, 5):
        pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=chunk)
        data = load(tmp_path / "a.parquet")
        np.testing.assert_array_equal(data.features, np.hstack([vectors, vectors, [[1], [2], [3], [4], [5]]]))
        assert data.feature_names[:2] == ["v[0]", "v[1]"]
        assert data.feature_names[-1] == "h"
    narrow = table.select(["v", "h", "y"])
    pa.feather.write_feather(narrow.slice(1, 3), tmp_path / "b.feather")
    data = load(tmp_path / "b.feather")
    assert data.features.dtype == np.float32
    np.testing.assert_array_equal(data.features[:, :4], vectors[1:4])


def test_arrow_stream_and_dictionaries(tmp_path: Path) -> None:
    words = pa.array(["b", "a", "b"]).dictionary_encode()
    table = pa.table({"word": words, "class": words})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = load(tmp_path / "a.arrow")
    assert data.features.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert data.target.tolist() == ["b", "a", "b"]


def test_pandas_row_index_is_no_feature(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(tmp_path / "a.csv")
    frame.set_index(np.array([5, 3, 1, 9])).to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        data = load(tmp_path / name)
        np.testing.assert_array_equal(data.features, EXPECTED)
        assert any("row index" in note for note in data.notes)


def test_ignored_columns(tmp_path: Path, frame: pd.DataFrame) -> None:
    data = load(write(frame, tmp_path / "a.csv"), ignore=["colour", "member"])
    assert data.feature_names == ["height", "count"]
    with pytest.raises(DataError, match=r"no column 'color' to ignore; did you mean 'colour'\?"):
        load(tmp_path / "a.csv", ignore=["color"])


# ---------------------------------------------------------------- later data, read as in training


def test_later_data_get_the_same_columns(tmp_path: Path, frame: pd.DataFrame) -> None:
    encoding = json.loads(json.dumps(load(write(frame, tmp_path / "a.csv")).encoding))
    later = frame[["colour", "count", "height", "member"]].iloc[[3, 0]].assign(extra="ignored")
    for name in ("later.csv", "later.parquet"):
        data = load(write(later, tmp_path / name), encoding=encoding)
        np.testing.assert_array_equal(data.features, EXPECTED[[3, 0]])
        assert data.target is None
        assert data.encoding == encoding
        assert data.notes == ()
        with pytest.raises(DataError, match=r"no column 'label', the target in training"):
            load(tmp_path / name, encoding=encoding, target_required=True)


def test_unseen_words_become_zeros_with_one_note(tmp_path: Path, frame: pd.DataFrame) -> None:
    encoding = load(write(frame, tmp_path / "a.csv")).encoding
    frame["colour"] = ["red", "mauve", "pink", "blue"]
    data = load(write(frame, tmp_path / "b.csv"), encoding=encoding)
    np.testing.assert_array_equal(data.features[:, 3:], [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert len(data.notes) == 1
    assert "b.csv: column 'colour' holds words unseen in training in 2 row(s)" in data.notes[0]
    assert "'mauve' at row 2 below the header" in data.notes[0]


def test_words_that_look_like_numbers_stay_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code,label\n1a,x\n2,1\n")
    encoding = load(tmp_path / "a.csv").encoding
    (tmp_path / "b.csv").write_text("code,label\n2,1\n")
    data = load(tmp_path / "b.csv", encoding=encoding)
    assert data.features.tolist() == [[0, 1]]
    assert data.target.tolist() == ["1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,x\n", r"column 'b', a feature in training, is missing"),
        ("a,b,y\n1,2,x\n1,two,x\n", r"'two' at row 2 below the header, column 'b'; in training.*a number"),
        ("a,b,y\n1,2,x\n,2,x\n", r"missing value at row 2 below the header, column 'a'"),
    ],
)
def test_later_data_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,x\n3,4,z\n")
    encoding = load(tmp_path / "a.csv").encoding
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(DataError, match=r"b\.csv: .*" + message):
        load(tmp_path / "b.csv", encoding=encoding)


def test_parquet_types_that_changed_since_training(tmp_path: Path) -> None:
    training = pd.DataFrame({"a": [1.0, 2.0], "w": ["u", "v"], "e": [[1.0, 2.0]] * 2, "y": [0, 1]})
    encoding = load(write(training, tmp_path / "a.parquet")).encoding
    for column, values, message in [
        ("a", ["x", "y"], "column 'a' holds .*string; in training it held numbers"),
        ("w", [0.5, 1.5], "column 'w' holds double; in training it held words"),
        ("e", [[1.0]] * 2, "column 'e' holds lists of 1 numbers; in training 2"),
        ("e", [1.0, 2.0], "column 'e' holds double; in training it held lists of 2"),
    ]:
        write(training.assign(**{column: values}), tmp_path / "b.parquet")
        with pytest.raises(DataError, match=message):
            load(tmp_path / "b.parquet", encoding=encoding)


def test_a_table_for_a_model_trained_on_arrays(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0], "b": [2.0]}).to_csv(tmp_path / "a.csv", index=False)
    assert load(tmp_path / "a.csv", encoding={"kind": "array", "n_features": 2}).features.tolist() == [[1, 2]]
    with pytest.raises(DataError, match="2 features per row, but training had 3"):
        load(tmp_path / "a.csv", encoding={"kind": "array", "n_features": 3})


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(codec="utf-8", categories=("L", "P", "Zs")), min_size=1, max_size=5),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parquet_numbers_and_words_survive(tmp_path: Path, rows: list[tuple[float, str]]) -> None:
    numbers, words = [row[0] for row in rows], [row[1] for row in rows]
    pa.parquet.write_table(
        pa.table({"n": pa.array(numbers), "w": pa.array(words), "y": pa.array(words)}), tmp_path / "h.parquet"
    )
    data = load(tmp_path / "h.parquet")
    assert data.features[:, 0].tolist() == numbers
    assert data.target.tolist() == words
    assert data.features[:, 1:].sum(axis=1).tolist() == [1.0] * len(rows)
    chosen = data.features[:, 1:].argmax(axis=1)
    assert [data.feature_names[1 + column] for column in chosen] == [f"w={word}" for word in words]
