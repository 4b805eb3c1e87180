from __future__ import annotations

import json
import math

import numpy as np
import pytest

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
    assert document["by_class"] == [
        {"class": "no", "rows": 2, "errors": 0},
        {"class": "yes", "rows": 2, "errors": 1},
    ]


def test_the_table(crosshead, model, tmp_path):
    save(tmp_path, ["no", "no", "no", "no"])
    result = crosshead("evaluate", "m", "e.npz")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[:2] == [["rows", "4"], ["error", "25.00", "%", "(1", "wrong)"]]
    assert lines[-3:] == [
        ["class", "rows", "wrong", "error"],
        ["no", "4", "1", "25.00", "%"],
        ["yes", "0", "0", "–"],
    ]


def test_many_classes_have_no_table(crosshead, tmp_path):
    n = 21
    Model(np.eye(n), np.zeros(n), np.arange(n), "softmax", scaling=Scaler("none", n)).save(tmp_path / "m")
    np.savez(tmp_path / "e.npz", X=np.eye(n), y=np.arange(n))
    assert len(crosshead("evaluate", "m", "e.npz").out.splitlines()) == 3


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
