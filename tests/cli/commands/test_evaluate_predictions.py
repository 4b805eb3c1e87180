"""`crosshead evaluate` on files of predictions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

MODEL_1 = "first,second,third,label\n.3,.3,.4,third\n.3,.4,.3,second\n.1,.2,.7,first\n"


@pytest.fixture
def three(tmp_path):
    (tmp_path / "one.csv").write_text(MODEL_1)
    return tmp_path


def test_the_three_samples(crosshead, three):
    result = crosshead("evaluate", "one.csv", "--target", "label", "--json")
    document = json.loads(result.out)
    assert (document["rows"], document["errors"]) == (3, 1)
    assert document["brier"] == pytest.approx(0.8067, abs=5e-5)
    assert -document["log_likelihood_nats"] == pytest.approx(4.135, abs=5e-4)
    assert -document["log_likelihood_nats"] / math.log(10) == pytest.approx(1.796, abs=5e-4)
    assert document["predictions"] == "one.csv"
    assert "Brier score            0.806667" in crosshead("evaluate", "one.csv").out


def test_scores_and_their_loss(crosshead, tmp_path):
    (tmp_path / "s.csv").write_text("a,b,c,y\n3.2,5.1,-1.7,a\n1.3,4.9,2.0,b\n2.2,2.5,-3.1,c\n")
    document = json.loads(crosshead("evaluate", "s.csv", "--scores", "--loss", "hinge", "--json").out)
    assert document["mean_loss"] == pytest.approx(5.2667, abs=5e-5)
    assert document["loss"] == "hinge"
    assert "hinge loss" in crosshead("evaluate", "s.csv", "--scores", "--loss", "hinge").out
    softmax = json.loads(crosshead("evaluate", "s.csv", "--scores", "--json").out)
    assert softmax["cross_entropy_nats"] == pytest.approx(softmax["mean_loss"])
    assert "column 'c' is negative" in crosshead("evaluate", "s.csv").line
    assert "say --scores" in crosshead("evaluate", "s.csv", "--loss", "hinge").line


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_what_predict_writes(crosshead, tmp_path, suffix):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    crosshead("predict", "m", "iris", "--proba", "--output", f"p.{suffix}")
    found = json.loads(crosshead("evaluate", f"p.{suffix}", "--labels", "iris", "--json").out)
    direct = json.loads(crosshead("evaluate", "m", "iris", "--json").out)
    for name in ("errors", "cross_entropy_nats", "brier", "ece", "ece_equal_mass"):
        assert found[name] == pytest.approx(direct[name], rel=1e-9)
    refused = crosshead("evaluate", f"p.{suffix}")
    assert refused.code == 2
    assert "or which source with --labels SOURCE" in refused.line


def test_what_predict_prints_as_json(crosshead, tmp_path):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    (tmp_path / "p.json").write_text(crosshead("predict", "m", "iris", "--proba", "--json").out)
    found = json.loads(crosshead("evaluate", "p.json", "--labels", "iris", "--json").out)
    assert found["cross_entropy_nats"] == pytest.approx(
        json.loads(crosshead("evaluate", "m", "iris", "--json").out)["cross_entropy_nats"]
    )


def test_labels_of_another_source(crosshead, three):
    np.savez(three / "more.npz", X=np.ones((4, 1)), y=["first"] * 4)
    assert "3 rows, but more.npz has 4" in crosshead("evaluate", "one.csv", "--labels", "more.npz").line
    np.savez(three / "odd.npz", X=np.ones((3, 1)), y=["first", "fourth", "first"])
    line = crosshead("evaluate", "one.csv", "--labels", "odd.npz").line
    assert "odd.npz: label 'fourth' at row 2 is not one of the classes first, second, third" in line


def test_an_impossible_row_is_named(crosshead, tmp_path):
    (tmp_path / "p.csv").write_text("id,a,b,y\nu,0.5,0.5,a\nv,1,0,b\n")
    result = crosshead("evaluate", "p.csv")
    assert result.code == 0
    assert "infinite: 1 row gives the true class probability 0, first row v" in result.err
    assert "cross-entropy          inf nats" in result.out
    assert json.loads(crosshead("evaluate", "p.csv", "--json").out)["cross_entropy_nats"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n0.5,0.75,a\n", "p.csv: row 1 below the header sums to 1.25, not to 1 within 0.001"),
        ("a,b,y\n0.5,nan,a\n", "row 1 below the header, column 'b'"),
        ("a,b,y\n0.5,0.5,c\n", "label 'c' at row 1 below the header is not one of the classes a, b"),
        ("a,b,c,d,e,y\n.2,.3,.4,.6,.5,d\n", "row 1 below the header sums to 2, not to 1"),
        ("a,b\n0.5,0.5\n", "no labels to compare with; say which column holds them with --target COLUMN"),
    ],
)
def test_bad_predictions(crosshead, tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    result = crosshead("evaluate", "p.csv")
    assert result.code == 2
    assert message in result.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "SOURCE digits is for a model"),
        (["--test-rows"], "--test-rows is for a model"),
        (["--engine", "reference"], "--engine is for a model"),
        (["--threads", "1"], "--threads is for a model"),
        (["--target", "lable"], "no column 'lable'; did you mean 'label'?"),
        (["--ignore", "fourth"], "no column 'fourth' to ignore"),
    ],
)
def test_options_that_mean_nothing_here(crosshead, three, arguments, message):
    result = crosshead("evaluate", "one.csv", *arguments)
    assert result.code == 2
    assert message in result.line


def test_a_file_that_is_not_there(crosshead):
    assert "nowhere.csv: no such file" in crosshead("evaluate", "nowhere.csv").line
