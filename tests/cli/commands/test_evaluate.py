from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crosshead.evaluation import evaluate
from crosshead.losses import get_loss
from crosshead.models import Model
from crosshead.scaling import Scaler

X = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 1.0]])


@pytest.fixture
def model(tmp_path):
    """Two classes whose scores are the two features themselves."""
    made = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax", scaling=Scaler("none", 2))
    made.save(tmp_path / "m")
    return made


def save(folder, target, name="e.npz"):
    np.savez(folder / name, X=X, y=target)


def test_numbers_worked_out_by_hand(crosshead, model, tmp_path):
    save(tmp_path, ["yes", "no", "no", "yes"])
    document = json.loads(crosshead("evaluate", "m", "e.npz", "--json").out)
    margins = [1.0, 2.0, 0.0, -2.0]  # the true class's score less the other's; a tie goes to the first class
    nats = sum(math.log1p(math.exp(-margin)) for margin in margins) / 4
    assert document["cross_entropy_nats"] == pytest.approx(nats, rel=1e-12)
    assert document["cross_entropy_bits"] == pytest.approx(nats / math.log(2), rel=1e-12)
    assert (document["rows"], document["errors"], document["error"]) == (4, 1, 0.25)
    counts = [{name: entry[name] for name in ("class", "rows", "errors")} for entry in document["by_class"]]
    assert counts == [{"class": "no", "rows": 2, "errors": 0}, {"class": "yes", "rows": 2, "errors": 1}]
    assert document["by_class"][0]["precision"] == pytest.approx(2 / 3)
    assert document["confusion"] == [[2, 0], [1, 1]]
    assert document["log_likelihood_nats"] == pytest.approx(-4 * nats, rel=1e-12)
    p = [1 / (1 + math.exp(-margin)) for margin in margins]
    assert document["brier"] == pytest.approx(sum(2 * (1 - one) ** 2 for one in p) / 4, rel=1e-12)


def test_the_table(crosshead, model, tmp_path):
    save(tmp_path, ["no", "no", "no", "no"])
    result = crosshead("evaluate", "m", "e.npz")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[:2] == [["rows", "4"], ["error", "25.00", "%", "(1", "wrong)"]]
    assert lines[-3:] == [
        ["class", "rows", "wrong", "error", "precision", "recall", "F1"],
        ["no", "4", "1", "25.00", "%", "100.00", "%", "75.00", "%", "85.71", "%"],
        ["yes", "0", "0", "–", "0.00", "%", "–", "0.00", "%"],
    ]


def test_many_classes_have_no_table(crosshead, tmp_path):
    n = 21
    Model(np.eye(n), np.zeros(n), np.arange(n), "softmax", scaling=Scaler("none", n)).save(tmp_path / "m")
    np.savez(tmp_path / "e.npz", X=np.eye(n), y=np.arange(n))
    names = [line.split("  ")[0] for line in crosshead("evaluate", "m", "e.npz").out.splitlines()]
    assert names == [
        "rows",
        "error",
        "top-5 error",
        "cross-entropy",
        "log-likelihood",
        "Brier score",
        "calibration error",
        "in bins of equal mass",
        "by chance alone",
    ]


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "crammer_singer", "squared_error", "binary"])
def test_the_mean_of_every_loss(crosshead, tmp_path, loss):
    Model(np.eye(2), np.zeros(2), np.array([0, 1]), loss, scaling=Scaler("none", 2)).save(tmp_path / "m")
    save(tmp_path, [1, 0, 0, 1])
    document = json.loads(crosshead("evaluate", "m", "e.npz", "--json").out)
    values = get_loss(loss).value(X, np.array([1, 0, 0, 1]))
    assert document["mean_loss"] == pytest.approx(values.mean(), rel=1e-12)
    shown = crosshead("evaluate", "m", "e.npz").out
    assert ("nats" in shown) is (loss == "binary")


def test_integers_and_words_that_read_the_same(crosshead, tmp_path):
    Model(np.eye(2), np.zeros(2), np.array([3, 12]), "softmax", scaling=Scaler("none", 2)).save(tmp_path / "m")
    save(tmp_path, ["12", "3", "3", "12"])
    assert json.loads(crosshead("evaluate", "m", "e.npz", "--json").out)["errors"] == 1
    save(tmp_path, ["012", "3", "3", "12"])
    assert "label unseen in training: 012" in crosshead("evaluate", "m", "e.npz").line


def test_rows_of_the_training_are_pointed_out(crosshead):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    result = crosshead("evaluate", "m", "iris")
    assert "trained on 150 of these rows" in result.err
    crosshead("fit", "iris", "--scale", "standard", "--test", "0.2", "--output", "m")
    assert "trained on 120 of these rows" in crosshead("evaluate", "m", "iris").err
    assert json.loads(crosshead("evaluate", "m", "iris", "--json").out)["training_rows"] == 120


def test_the_numbers_are_those_of_fit(crosshead, tmp_path, blobs):
    features, target = blobs
    np.savez(
        tmp_path / "b.npz",
        X=features[:40].astype(np.float32),
        y=target[:40],
        Xt=features[40:].astype(np.float32),
        yt=target[40:],
    )
    fitted = json.loads(crosshead("fit", "b.npz", "--scale", "standard", "--json", "--output", "m").out)
    found = json.loads(crosshead("evaluate", "m", "b.npz", "--test-rows", "--json").out)
    assert {name: found[name] for name in fitted["test"]} == fitted["test"]


def test_another_target_column(crosshead, flowers, tmp_path):
    crosshead("fit", flowers, "--target", "kind", "--output", "m")
    (tmp_path / "n.csv").write_text("height,width,truth\n5,0,rose\n0,5,rose\n")
    result = crosshead("evaluate", "m", "n.csv", "--target", "truth", "--json")
    assert json.loads(result.out)["error"] == 0.5
    assert "the target in training" in crosshead("evaluate", "m", "n.csv").line


def test_binary_has_a_loss_and_a_cross_entropy_of_its_class_probabilities(crosshead, tmp_path):
    Model(np.eye(2), np.zeros(2), np.array([0, 1]), "binary", scaling=Scaler("none", 2)).save(tmp_path / "m")
    save(tmp_path, [1, 0, 0, 1])
    document = json.loads(crosshead("evaluate", "m", "e.npz", "--json").out)
    p = get_loss("binary").predict_proba(X)[np.arange(4), [1, 0, 0, 1]]
    assert document["cross_entropy_nats"] == pytest.approx(-np.log(p).mean(), rel=1e-12)
    assert document["mean_loss"] == pytest.approx(get_loss("binary").value(X, np.array([1, 0, 0, 1])).mean())
    shown = crosshead("evaluate", "m", "e.npz").out
    assert "binary cross-entropy" in shown
    assert "\ncross-entropy" in shown


def test_intervals(crosshead, model, tmp_path):
    save(tmp_path, ["yes", "no", "no", "yes"])
    options = ("--intervals", "--level", "0.9", "--resamples", "50", "--seed", "3")
    document = json.loads(crosshead("evaluate", "m", "e.npz", "--json", *options).out)
    expected = evaluate(X, [1, 0, 0, 1], loss="softmax", level=0.9, resamples=50, seed=3).intervals
    assert set(document["intervals"]) == set(expected)
    for name, interval in expected.items():
        found = document["intervals"][name]
        assert (found["lower"], found["upper"], found["level"]) == (interval.lower, interval.upper, 0.9)
    shown = crosshead("evaluate", "m", "e.npz", *options).out
    assert "25.00 % (1 wrong), 90 % interval 0.00 % to" in shown
    assert "intervals" not in json.loads(crosshead("evaluate", "m", "e.npz", "--json").out)


def test_top_k_and_bins(crosshead, tmp_path):
    n = 7
    Model(np.eye(n), np.zeros(n), np.arange(n), "softmax", scaling=Scaler("none", n)).save(tmp_path / "m")
    np.savez(tmp_path / "e.npz", X=-np.eye(n), y=np.arange(n))  # the true class comes last
    assert "top-3 error            100.00 %" in crosshead("evaluate", "m", "e.npz", "--top-k", "3").out
    assert "top-" not in crosshead("evaluate", "m", "e.npz", "--top-k", "7").out
    document = json.loads(crosshead("evaluate", "m", "e.npz", "--bins", "4", "--json").out)
    assert document["top_k"] == {"k": 5, "error": 1.0}
    assert len(document["reliability"]) == 4


def test_confusion_and_reliability_are_shown_when_asked_for(crosshead, model, tmp_path):
    save(tmp_path, ["yes", "no", "no", "yes"])
    shown = [line.split() for line in crosshead("evaluate", "m", "e.npz", "--confusion").out.splitlines()]
    assert shown[-3:] == [["true", "\\", "predicted", "no", "yes"], ["no", "2", "0"], ["yes", "1", "1"]]
    shown = crosshead("evaluate", "m", "e.npz", "--reliability", "--bins", "2").out.splitlines()
    assert shown[-3].split() == ["confidence", "rows", "mean", "right"]
    assert shown[-2].startswith("0.0000 to 0.5000     1  50.00 %  100.00 %")


def test_the_most_frequent_confusions_of_many_classes(crosshead, tmp_path):
    n = 21
    Model(np.eye(n), np.zeros(n), np.arange(n), "hinge", scaling=Scaler("none", n)).save(tmp_path / "m")
    target = np.arange(n)
    target[:3] = 20
    np.savez(tmp_path / "e.npz", X=np.eye(n)[[0, 0, 0, *range(3, n)]], y=target)
    result = crosshead("evaluate", "m", "e.npz", "--confusion", "--reliability")
    assert [line.split() for line in result.out.splitlines()[-2:]] == [["true", "predicted", "rows"], ["20", "0", "3"]]
    assert "there are no probabilities to show it of" in result.err


def test_options_of_files_are_refused_for_a_model(crosshead, model, tmp_path):
    save(tmp_path, ["yes", "no", "no", "yes"])
    for option in (["--scores"], ["--labels", "digits"], ["--row-id", "id"], ["--loss", "hinge"]):
        assert f"{option[0]} is for files of predictions" in crosshead("evaluate", "m", "e.npz", *option).line
    assert "m is a model: name the SOURCE" in crosshead("evaluate", "m").line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "95"], "--level 95: it must lie between 0 and 1"),
        (["--level", "most"], "--level most: give a number"),
        (["--seed", "-1"], "--seed -1: it must lie between 0 and"),
        (["--bins", "0"], "--bins"),
        (["--top-k", "0"], "--top-k"),
        (["--resamples", "3"], "--resamples"),
        (["--loss", "logit"], "--loss logit: choose one of"),
    ],
)
def test_options_that_cannot_be_used(crosshead, options, message):
    result = crosshead("evaluate", "m", "digits", *options)
    assert result.code == 2
    assert message in result.line
