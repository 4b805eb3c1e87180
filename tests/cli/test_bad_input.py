"""Whatever a person gives: one line that says what is wrong, exit code 2, and nothing left behind."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

from crosshead.cli.main import main

TABLE = "a,b,target\n"


def write_text(name: str, text: str):
    def write(folder: Path) -> str:
        (folder / name).write_text(text)
        return name

    return write


def write_npz(name: str, **arrays):
    def write(folder: Path) -> str:
        np.savez(folder / name, **arrays)
        return name

    return write


def truncated_npz(folder: Path) -> str:
    np.savez(folder / "whole.npz", X=np.ones((50, 4)), y=np.arange(50) % 2)
    content = (folder / "whole.npz").read_bytes()
    (folder / "whole.npz").unlink()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    return "cut.npz"


def truncated_idx(folder: Path) -> str:
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 10, 4, 4) + bytes(50))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 10) + bytes(10))
    return "train-images-idx3-ubyte"


EYE = np.eye(4)

BAD = {
    "empty file": (write_text("e.csv", ""), "the file is empty"),
    "header only": (write_text("h.csv", TABLE), "no rows"),
    "one row": (write_text("o.csv", TABLE + "1,2,x\n"), "1 row of one class only (x)"),
    "one class": (write_text("c.csv", TABLE + "1,2,x\n3,4,x\n"), "2 rows of one class only (x)"),
    "NaN": (write_text("n.csv", TABLE + "1,2,x\nnan,4,y\n"), "row 2 below the header"),
    "infinity": (write_npz("i.npz", X=np.where(EYE, np.inf, 0.0), y=[0, 1, 0, 1]), "infinite value at row 1"),
    "ragged": (write_text("r.csv", TABLE + "1,2,x\n3,4\n"), "row 2 below the header has 2 columns"),
    "missing": (lambda folder: "nowhere.csv", "no such file"),
    "truncated npz": (truncated_npz, "is it truncated?"),
    "truncated idx": (truncated_idx, "truncated"),
    "float labels": (write_npz("f.npz", X=EYE, y=[0.5, 1.5, 2.0, 1.0]), "labels are floats"),
    "no labels": (write_npz("l.npz", X=EYE), "no array of labels"),
    "pickle": (write_text("p.pkl", "x"), "never read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_source_that_cannot_be_used(crosshead, tmp_path, name):
    write, message = BAD[name]
    source = write(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = crosshead("fit", source, "--output", "model")
    assert result.code == 2
    assert result.line.startswith("crosshead: error: ")
    assert message in result.line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_unknown_column(crosshead, flowers):
    result = crosshead("fit", flowers, "--target", "knd")
    assert result.code == 2
    assert "no column 'knd'; did you mean 'kind'?" in result.line


def test_no_usual_target_column(crosshead, flowers):
    result = crosshead("fit", flowers)
    assert result.code == 2
    assert "--target" in result.line


def test_more_classes_in_test_than_in_training(crosshead, tmp_path):
    np.savez(tmp_path / "t.npz", X=EYE, y=[0, 1, 0, 1], Xt=EYE, yt=[0, 1, 2, 2])
    result = crosshead("fit", "t.npz", "--output", "model")
    assert result.code == 2
    assert "label unseen in training: 2 (2 rows)" in result.line
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]


def test_a_test_source_with_other_features(crosshead, tmp_path):
    np.savez(tmp_path / "a.npz", X=EYE, y=[0, 1, 0, 1])
    np.savez(tmp_path / "b.npz", X=np.eye(3), y=[0, 1, 0])
    result = crosshead("fit", "a.npz", "--test", "b.npz")
    assert result.code == 2
    assert "3 features per row, but training had 4" in result.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alpha", "-1"], "--alpha -1: it must be at least 0"),
        (["--alpha", "little"], "--alpha little: give a number"),
        (["--alpha", "1/0"], "--alpha 1/0: give a number"),
        (["--alpha", "nan"], "--alpha nan: give a number"),
        (["--l1-ratio", "2"], "--l1-ratio 2: it must be between 0 and 1"),
        (["--loss", "logistic"], "--loss logistic: choose one of softmax,"),
        (["--scale", "minmax"], "--scale minmax: choose one of none, standard, maxabs"),
        (["--class-weight", "even"], "--class-weight even: choose one of balanced"),
        (["--engine", "gpu"], "--engine gpu: choose one of"),
        (["--size", "3by3"], "--size 3by3: give width x height"),
        (["--size", "0x3"], "--size 0x3: give width x height"),
        (["--size", "3x3"], "--size is for images"),
        (["--test", "1.5"], "--test 1.5: a fraction of the rows must lie between 0 and 1"),
        (["--test", "nothing.csv"], "nothing.csv: no such file"),
        (["--max-iter", "0"], "--max-iter"),
        (["--max-iter", "ten"], "--max-iter"),
        (["--seed", "-1"], "--seed -1: it must lie between 0 and"),
        (["--threads", "0"], "--threads"),
        (["--target", "x"], "--target names a column"),
        (["--colour", "red"], "--colour"),
        (["more"], "more"),
    ],
)
def test_arguments_that_cannot_be_used(crosshead, tmp_path, arguments, message):
    result = crosshead("fit", "digits", *arguments)
    assert result.code == 2
    assert result.line.startswith("crosshead: error: ")
    assert message in result.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["fit"], ["predict", "m"], ["evaluate"], ["train", "digits"]])
def test_what_is_missing_or_unknown_is_named(crosshead, arguments):
    result = crosshead(*arguments)
    assert result.code == 2
    assert result.line.endswith("--help")


@pytest.fixture
def model(crosshead, tmp_path, blobs):
    np.savez(tmp_path / "train.npz", X=blobs[0], y=blobs[1])
    assert crosshead("fit", "train.npz", "--output", "model").code == 0
    return tmp_path / "model"


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_truncated_safetensors_file(crosshead, model, command):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    result = crosshead(command, "model", "train.npz")
    assert result.code == 2
    assert "altered or cut short" in result.line


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_that_is_none(crosshead, tmp_path, command):
    assert "no such model folder" in crosshead(command, "model", "digits").line
    (tmp_path / "model").mkdir()
    result = crosshead(command, "model", "digits")
    assert result.code == 2
    assert "not a crosshead model" in result.line


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_another_number_of_features(crosshead, model, command):
    result = crosshead(command, "model", "digits")
    assert result.code == 2
    assert "64 features per row, but" in result.line


def test_labels_unseen_in_training(crosshead, model, tmp_path):
    np.savez(tmp_path / "new.npz", X=np.ones((3, 4)), y=[7, 0, 9])
    result = crosshead("evaluate", "model", "new.npz")
    assert result.code == 2
    assert "labels unseen in training: 7 (1 row), 9 (1 row)" in result.line


def test_nothing_to_evaluate_with(crosshead, model, tmp_path):
    np.savez(tmp_path / "bare.npz", X=np.ones((3, 4)))
    result = crosshead("evaluate", "model", "bare.npz")
    assert result.code == 2
    assert "no array of labels" in result.line


def test_an_unexpected_failure_is_one_line_with_a_hint(crosshead, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the flux\ncapacitor")

    monkeypatch.setattr("crosshead.cli.commands.fit.run.load", fail)
    result = crosshead("fit", "digits")
    assert result.code == 1
    assert "unexpected RuntimeError: the flux capacitor; set CROSSHEAD_DEBUG=1" in result.line


def test_a_traceback_for_those_who_ask(crosshead, monkeypatch, capsys):
    monkeypatch.setenv("CROSSHEAD_DEBUG", "1")
    assert main(["fit", "nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_a_failure_of_the_work(crosshead, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "m")

    monkeypatch.setattr("crosshead.models.Model.save", fail)
    result = crosshead("fit", "iris", "--max-iter", "500", "--scale", "standard")
    assert result.code == 1
    assert result.line == "crosshead: error: m: No space left on device; free some space, or write elsewhere"


WRITING = {
    "out.csv": [("predict", "m", "flowers.csv", "--output"), ("top-losses", "m", "flowers.csv", "--output")],
    "out.html": [("report", "m", "flowers.csv", "--output"), ("explain", "m", "flowers.csv", "--output")],
    "out.onnx": [("export", "m")],
    "out.svg": [("path", "flowers.csv", "--target", "kind", "--alphas", "2", "--picture")],
}


def test_outputs_that_cannot_be_replaced_are_refused_before_the_work(crosshead, flowers, tmp_path, monkeypatch):
    """A pipe would be replaced by a file that its reader never sees, a write-protected file lost."""
    assert crosshead("fit", "flowers.csv", "--target", "kind", "--output", "m").code == 0
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and os.stat(path).st_mode & 0o200 != 0)
    monkeypatch.setattr("crosshead.models.Model.load", None)
    monkeypatch.setattr("crosshead.cli.commands.path.run.load", None)
    for name, lines in WRITING.items():
        for words in lines:
            path = tmp_path / name
            os.mkfifo(path)
            result = crosshead(*words, name)
            assert (result.code, stat.S_ISFIFO(path.stat().st_mode)) == (2, True)
            assert f"{name}: a pipe or a device is in the way; name a file" in result.line
            path.unlink()
            path.symlink_to("/dev/null")
            assert "a pipe or a device is in the way" in crosshead(*words, name).line
            path.unlink()
            path.write_text("mine")
            path.chmod(0o444)
            result = crosshead(*words, name)
            assert (result.code, path.read_text()) == (2, "mine")
            assert f"{name}: the file is write-protected" in result.line
            path.unlink()
    (tmp_path / "folder").mkdir(mode=0o500)
    assert "the folder" in crosshead("predict", "m", "flowers.csv", "--output", "folder/out.csv").line
    (tmp_path / "m").chmod(0o500)
    assert "m: the folder is write-protected" in crosshead("fit", "flowers.csv", "--output", "m").line
