"""Labels in CSV are what was written: two that differ never become one, and one never becomes two in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosshead.data import DataError, load


def write(folder: Path, labels: list[str], name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text("x,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    return path


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "2", "-1"], [1, 2, -1]),
        (["1.0", "2", " 2.0 "], [1, 2, 2]),
        (["9007199254740993", "9007199254740992"], [9007199254740993, 9007199254740992]),
        (["true", "False", "TRUE"], [True, False, True]),
        (["01", "1", "02"], ["01", "1", "02"]),
        (["true", "1", "0"], ["true", "1", "0"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
        (["inf", "x"], ["inf", "x"]),
        (["12:30", "13:30"], ["12:30", "13:30"]),
        (["é", "e\u0301"], ["é", "e\u0301"]),
    ],
)
def test_labels_keep_what_was_written(tmp_path: Path, labels: list[str], expected: list[object]) -> None:
    found = load(write(tmp_path, labels)).target
    assert found is not None
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "  ", "b"], "label 'label' is empty at row 2 below the header"),
        (["a", "b", " a"], r"labels 'a' and ' a' \(row 3 below the header\) .* differ only in blanks"),
        (["1", "2", "nan"], "column 'label' has no label at row 3 below the header"),
        (["NA", "NA"], "column 'label' has no label at row 1 below the header"),
        (["0.5", "1"], "label 'label' is 0.5 at row 1 below the header: labels are floats"),
        (["2020-01-31", "2020-02-01 12:00"], "column 'label' holds dates"),
    ],
)
def test_labels_that_are_none_or_two_are_refused(tmp_path: Path, labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.csv: .*{message}"):
        load(write(tmp_path, labels))


def test_a_class_named_like_a_missing_value_is_pointed_out(tmp_path: Path) -> None:
    data = load(write(tmp_path, ["EU", "NA", "NA"]))  # North America, Namibia, sodium
    assert data.target is not None
    assert data.target.tolist() == ["EU", "NA", "NA"]
    assert "'NA' at row 2 below the header, column 'label', is taken for a class of that name" in data.notes[0]


def test_padded_numbers_are_the_numbers_of_training(tmp_path: Path) -> None:
    training = load(write(tmp_path, ["1", "2"]))
    again = load(write(tmp_path, ["01", "02"], "b.csv"), encoding=training.encoding)
    np.testing.assert_array_equal(again.target, training.target)


def test_labels_that_are_not_utf8_name_their_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("x,label\n1,é\n2,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv: column 'label' is not UTF-8; save the file as UTF-8"):
        load(tmp_path / "a.csv")


def test_line_breaks_of_any_kind(tmp_path: Path) -> None:
    for line_break in ("\n", "\r\n", "\r"):
        (tmp_path / "a.csv").write_bytes(line_break.join(["x,label", "1,a", "2,b", ""]).encode())
        data = load(tmp_path / "a.csv")
        assert data.target is not None
        assert (data.features.tolist(), data.target.tolist()) == ([[1.0], [2.0]], ["a", "b"])


def test_an_empty_line_of_a_single_column_is_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,a\n2,b\n")
    encoding = load(tmp_path / "a.csv").encoding
    (tmp_path / "new.csv").write_text("x\n1\n\n3\n")
    with pytest.raises(DataError, match=r"empty or missing value at row 2 below the header, column 'x'"):
        load(tmp_path / "new.csv", encoding=encoding)
