from __future__ import annotations

import json
import re

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from crosshead.data import DataError, Predictions, read_predictions

P = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
TEXT = "cat,dog,label\n0.25,0.75,dog\n0.5,0.5,cat\n1,0,cat\n"


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def check(found, classes=("cat", "dog"), labels=("dog", "cat", "cat")):
    np.testing.assert_array_equal(np.concatenate([block for _, block in found.blocks()]), P)
    assert found.classes.tolist() == list(classes)
    assert found.labels.tolist() == list(labels)
    assert found.kind == "probabilities"


def test_columns_named_after_classes(tmp_path):
    found = read_predictions(write(tmp_path, "p.csv", TEXT))
    check(found)
    assert found.row_names is None
    assert found.row_name(2) == "3"


@pytest.mark.parametrize("prefix", ["probability_", "proba_", "prob_"])
def test_columns_with_a_prefix_stand_among_others(tmp_path, prefix):
    text = (
        f"id,age,{prefix}cat,truth,{prefix}dog,predicted\nx,3,0.25,dog,0.75,dog\ny,4,0.5,cat,0.5,cat\nz,5,1,cat,0,cat\n"
    )
    found = read_predictions(write(tmp_path, "p.csv", text), target="truth")
    check(found)
    assert found.row_names.tolist() == ["x", "y", "z"]
    assert found.row_name(0) == "x"


def test_row_names_are_chosen(tmp_path):
    path = write(tmp_path, "p.csv", "name,row,a,b,y\nu,1,0.5,0.5,a\n")
    assert read_predictions(path).row_names.tolist() == [1]
    assert read_predictions(path, row_id="name", ignore=("row",)).row_names.tolist() == ["u"]
    with pytest.raises(DataError, match="no column 'nam' of row names; the columns are name, row"):
        read_predictions(path, row_id="nam")


def test_scores(tmp_path):
    path = write(tmp_path, "s.csv", "score_a,score_b,y\n2.5,-1,a\n")
    assert read_predictions(path).kind == "scores"
    path = write(tmp_path, "t.csv", "a,b,y\n2.5,-1,a\n")
    assert read_predictions(path, scores=True).kind == "scores"
    with pytest.raises(DataError, match=r"row 1 below the header, column 'b' is negative, -1"):
        list(read_predictions(path).blocks())


def test_binary_tables(tmp_path):
    table = pyarrow.table({"cat": P[:, 0], "dog": P[:, 1], "label": ["dog", "cat", "cat"]})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "p.feather")
    check(read_predictions(tmp_path / "p.parquet"))
    check(read_predictions(tmp_path / "p.feather"))


def test_labels_that_read_like_the_columns(tmp_path):
    path = write(tmp_path, "p.csv", "0,1,y\n0.25,0.75,1\n0.5,0.5,0\n1,0,0\n")
    check(read_predictions(path), classes=("0", "1"), labels=("1", "0", "0"))


def test_json_lines(tmp_path):
    rows = [{"label": "dog", "cat": 0.25, "dog": 0.75}, {"label": "cat", "cat": 0.5, "dog": 0.5}]
    rows.append({"label": "cat", "cat": 1, "dog": 0})
    check(read_predictions(write(tmp_path, "p.jsonl", "\n".join(json.dumps(row) for row in rows))))
    nested = [{"label": row["label"], "probabilities": {"cat": row["cat"], "dog": row["dog"]}} for row in rows]
    check(read_predictions(write(tmp_path, "n.jsonl", "\n".join(json.dumps(row) for row in nested))))
    check(read_predictions(write(tmp_path, "n.json", json.dumps(nested))))
    lists = [{"label": ["cat", "dog"].index(row["label"]), "scores": [row["cat"], row["dog"]]} for row in rows]
    found = read_predictions(write(tmp_path, "l.jsonl", "\n".join(json.dumps(row) for row in lists)))
    assert (found.kind, found.classes.tolist(), found.labels.tolist()) == ("scores", ["0", "1"], ["1", "0", "0"])


def test_archives(tmp_path):
    np.savez(tmp_path / "p.npz", proba=P, classes=np.array(["cat", "dog"]), y=np.array(["dog", "cat", "cat"]))
    check(read_predictions(tmp_path / "p.npz"))
    np.savez(tmp_path / "s.npz", logits=P, truth=[1, 0, 0], row=[4, 5, 6])
    found = read_predictions(tmp_path / "s.npz", target="truth")
    assert (found.kind, found.row_name(0), found.labels.tolist()) == ("scores", "4", [1, 0, 0])


def test_two_arrays_are_memory_mapped(tmp_path):
    np.save(tmp_path / "P.npy", P)
    np.save(tmp_path / "y.npy", [1, 0, 0])
    found = read_predictions(f"{tmp_path}/P.npy,{tmp_path}/y.npy")
    check(found, classes=(0, 1), labels=(1, 0, 0))
    assert isinstance(found.outputs, np.memmap)
    with pytest.raises(DataError, match="no labels; name both files"):
        read_predictions(tmp_path / "P.npy")
    assert read_predictions(tmp_path / "P.npy", target_required=False).target is None


def test_rounded_probabilities_of_a_text_file_are_allowed(tmp_path):
    path = write(tmp_path, "p.csv", "a,b,c,y\n0.3333,0.3333,0.3333,a\n")
    assert len(list(read_predictions(path).blocks())) == 1


BAD = {
    "nan": ("a,b,y\n0.5,0.5,a\nnan,1,b\n", "NaN, or an empty cell, at row 2 below the header, column 'a'"),
    "negative": ("a,b,y\n0.5,0.5,a\n1.5,-0.5,b\n", "row 2 below the header, column 'b' is negative, -0.5"),
    "sum": ("a,b,y\n0.5,0.5,a\n0.5,0.75,b\n", "row 2 below the header sums to 1.25, not to 1 within 0.001"),
    "named": ("id,a,b,y\nx7,0.5,0.75,a\n", "row 1 below the header (x7) sums to 1.25"),
    "empty": ("a,b,y\n0.5,,a\n", "NaN, or an empty cell, at row 1 below the header, column 'b'"),
    "unseen": ("a,b,y\n0.5,0.5,a\n0.5,0.5,c\n", "label 'c' at row 2 below the header is not one of the classes a, b"),
    "no label": ("a,b,y\n0.5,0.5,\n", "label 'y' is empty at row 1 below the header"),
    "no target": ("a,b\n0.5,0.5\n", "say --target NAME"),
    "one column": ("p,y\n0.5,a\n", "only one column of numbers, 'p'"),
    "predicted only": ("row,predicted,y\n1,a,a\n", "crosshead predict writes them with --proba"),
    "words": ("proba_a,proba_b,y\nx,1,a\n", "column 'proba_a' holds string, as 'x'"),
    "a word": (
        "proba_a,proba_b,y\n0.5,0.5,a\n0.5,half,a\n",
        "column 'proba_b' holds string, as 'half' at row 2 below the header",
    ),
    "twice": ("a,b,a,y\n0.5,0.5,0,a\n", "column 'a' occurs more than once"),
    "header only": ("a,b,y\n", "no rows"),
    "nothing": ("", "the file is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_tables_that_cannot_be_used(tmp_path, name):
    text, message = BAD[name]
    path = write(tmp_path, "p.csv", text)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        list(read_predictions(path).blocks())
    assert "\n" not in str(caught.value)
    assert "p.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{\n", "line 1 is not JSON"),
        ('{"a": 1, "b": 0, "y": "a"}\n{"a": 1, "y": "a"}\n', "entry 2 and the first differ in 'b'"),
        ("[1, 2]\n", "entry 1 is not a JSON object"),
        ('{"probabilities": [1, 0], "y": 0}\n{"probabilities": [1], "y": 0}\n', "entry 2 and the first differ"),
        ('{"a": 1, "b": 0, "y": "a"}\n{"a": "x", "b": 0, "y": "a"}\n', "values of several types"),
        ("[]", "no rows"),
    ],
)
def test_json_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_predictions(write(tmp_path, "p.jsonl", text))


def test_other_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_predictions(tmp_path / "nowhere.csv")
    np.savez(tmp_path / "a.npz", X=P)
    with pytest.raises(DataError, match="which array holds the predictions"):
        read_predictions(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", proba=P)
    with pytest.raises(DataError, match="no array of labels"):
        read_predictions(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", proba=P[:, 0], y=[1, 0, 0])
    with pytest.raises(DataError, match="'proba' is float64 of shape"):
        read_predictions(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", proba=P, y=[1, 0])
    with pytest.raises(DataError, match="proba has 3 rows but y has 2 labels"):
        read_predictions(tmp_path / "d.npz")
    write(tmp_path, "x.svm", "1 1:0.5 2:0.5\n")
    with pytest.raises(DataError, match="not a file of predictions"):
        read_predictions(tmp_path / "x.svm")


def test_nan_in_an_array_is_named():
    found = Predictions(np.array([[0.5, 0.5], [0.5, np.nan]]), np.array(["a", "b"]))
    with pytest.raises(DataError, match="row 2, column 'b' is NaN"):
        list(found.blocks())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": P[0]}, "give (rows, classes)"),
        ({"outputs": P.astype(str)}, "not numbers"),
        ({"classes": np.array(["a", "a"])}, "as many distinct classes"),
        ({"target": np.array([0, 1])}, "labels of shape (2,)"),
        ({"target": np.array([0, 1, 2])}, "class index 2 at row 3"),
        ({"row_names": np.array(["u"])}, "row names of shape (1,)"),
    ],
)
def test_predictions_that_contradict_themselves(changes, message):
    fields = {"outputs": P, "classes": np.array(["a", "b"]), "target": np.array([0, 1, 1])}
    with pytest.raises(DataError, match=re.escape(message)):
        Predictions(**(fields | changes))


def test_the_fingerprint_is_of_rows_and_labels_alone():
    def make(**changes):
        fields = {"outputs": P, "classes": np.array(["0", "1"]), "target": np.array([0, 1, 1])}
        return Predictions(**(fields | changes)).fingerprint()

    assert make() == make(outputs=P[::-1]) == make(classes=np.array([1, 0]), target=np.array([1, 0, 0]))
    assert make() != make(target=np.array([0, 1, 0]))
    assert make() != make(row_names=np.array(["u", "v", "w"]))
    assert make(row_names=np.array([1, 2, 3])) == make(row_names=np.array(["1", "2", "3"]))


def test_no_labels():
    with pytest.raises(DataError, match="no labels to compare with"):
        _ = Predictions(P, np.array([0, 1])).labels


def test_scores_must_be_finite():
    found = Predictions(np.array([[0.0, np.inf]]), np.array([0, 1]), kind="scores")
    with pytest.raises(DataError, match="row 1, column '1' is inf, not a finite score"):
        list(found.blocks())


MARKED = "file,predicted,proba_=a,proba_'=a,proba_-1,label\n'=1.png,'=a,0.5,0.25,0.25,{}\nb.png,-1,0,0,1,-1\n"


@pytest.mark.parametrize(("cell", "label"), [("'=a", "=a"), ("=a", "=a"), ("''=a", "'=a"), ("-1", "-1")])
def test_labels_that_were_marked_for_spreadsheets_are_classes_again(tmp_path, cell, label):
    found = read_predictions(write(tmp_path, "p.csv", MARKED.format(cell)))
    assert found.labels.tolist() == [label, "-1"]
    assert found.row_names.tolist() == ["=1.png", "b.png"]


def test_an_apostrophe_of_the_class_itself_stays(tmp_path):
    found = read_predictions(write(tmp_path, "p.csv", "proba_'=a,proba_'tis,label\n0.5,0.5,'=a\n0.25,0.75,'tis\n"))
    assert found.labels.tolist() == ["'=a", "'tis"]


def test_only_csv_has_marks(tmp_path):
    table = pyarrow.table({"file": ["'=1.png"], "proba_=a": [0.5], "proba_b": [0.5], "label": ["'=a"]})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(DataError, match='label "\'=a" at row 1 is not one of the classes =a, b'):
        read_predictions(tmp_path / "p.parquet")
    assert read_predictions(tmp_path / "p.parquet", target_required=False, ignore=("label",)).row_name(0) == "'=1.png"


@pytest.mark.parametrize("column", ["probability_cat", "id"])
def test_dates_beyond_those_of_python(tmp_path, column):
    """Arrow's date32 reaches five million years further than Python's."""
    far = pyarrow.array([0, 1, 2**31 - 1], pyarrow.int32()).cast(pyarrow.date32())
    columns = {"id": [1, 2, 3], "probability_cat": P[:, 0], "probability_dog": P[:, 1], "label": ["dog", "cat", "cat"]}
    pyarrow.parquet.write_table(pyarrow.table({**columns, column: far}), tmp_path / "p.parquet")
    message = r"'probability_cat' holds date32\[day\], as .* at row 1; give numbers"
    message = message if column != "id" else r"'id' holds date32\[day\] out of range"
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "p.parquet")
