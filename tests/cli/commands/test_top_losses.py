from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from crosshead.models import Model
from crosshead.scaling import Scaler

X = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 1.0]])


@pytest.fixture
def model(tmp_path):
    """Two classes whose scores are the two features themselves."""
    Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax", scaling=Scaler("none", 2)).save(tmp_path / "m")
    np.savez(tmp_path / "e.npz", X=X, y=np.array(["yes", "no", "no", "yes"]))


def test_numbers_worked_out_by_hand(crosshead, model):
    document = json.loads(crosshead("top-losses", "m", "e.npz", "-n", 2, "--json").out)
    losses = [math.log1p(math.exp(-margin)) for margin in (1.0, 2.0, 0.0, -2.0)]
    assert document["rows"] == 4
    assert document["total_loss"] == pytest.approx(sum(losses))
    first, second = document["top_losses"]
    assert (first["row"], first["true"], first["predicted"]) == (4, "yes", "no")
    assert first["loss"] == pytest.approx(losses[3])
    assert first["probability"] == pytest.approx(math.exp(-losses[3]))
    assert first["share"] == pytest.approx(losses[3] / sum(losses))
    assert second["row"] == 3


def test_the_table(crosshead, model):
    result = crosshead("top-losses", "m", "e.npz")
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["rows", "4"]
    assert lines[4] == ["row", "true", "predicted", "probability", "loss", "share"]
    assert [line[0] for line in lines[5:]] == ["4", "3", "1", "2"]


def test_csv(crosshead, model, tmp_path):
    result = crosshead("top-losses", "m", "e.npz", "--output", "top.csv")
    assert (result.code, result.out) == (0, "")
    with (tmp_path / "top.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == ["4", "3", "1", "2"]
    assert float(rows[0]["loss"]) == pytest.approx(math.log1p(math.exp(2)))
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1.0)


def test_images_go_by_their_file_names(crosshead, tmp_path):
    for label, grey in (("dark", 10), ("light", 240)):
        for number in range(5):
            (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
            Image.new("L", (3, 2), grey + number).save(tmp_path / "pictures" / label / f"{number}.png")
    (tmp_path / "pictures" / "dark" / "0.png").rename(tmp_path / "pictures" / "light" / "odd.png")
    crosshead("fit", "pictures", "--scale", "maxabs", "--output", "m", "--alpha", "1e-2")
    document = json.loads(crosshead("top-losses", "m", "pictures", "-n", 1, "--json").out)
    assert document["top_losses"][0]["file"] == "light/odd.png"
    assert document["top_losses"][0]["predicted"] == "dark"


def test_a_loss_without_probabilities(crosshead):
    crosshead("fit", "iris", "--loss", "hinge", "--output", "m", "--alpha", "1e-2", "--scale", "standard")
    document = json.loads(crosshead("top-losses", "m", "iris", "--json", "-n", 3).out)
    assert "probability" not in document["top_losses"][0]
    assert "no probabilities" in crosshead("top-losses", "m", "iris", "--label-errors").line


def test_label_errors_are_found_and_named(crosshead, tmp_path):
    from sklearn.datasets import load_iris

    data, target = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[target]
    names[[3, 60]] = ["virginica", "setosa"]
    np.savez(tmp_path / "noisy.npz", X=data, y=names)
    crosshead("fit", "noisy.npz", "--scale", "standard", "--output", "m", "--alpha", "1e-2")
    document = json.loads(crosshead("top-losses", "m", "noisy.npz", "--label-errors", "--json", "-n", 2).out)
    assert {(entry["row"], entry["label"], entry["suggested"]) for entry in document["label_errors"]} == {
        (4, "virginica", "setosa"),
        (61, "setosa", "versicolor"),
    }
    assert document["doubtful"] >= 2
    assert len(document["thresholds"]) == 3
    other = crosshead("top-losses", "m", "noisy.npz", "--label-errors", "--folds", 3, "--seed", 1)
    assert other.code == 0
    assert "by 3 folds" in other.out


def test_classes_too_rare_for_the_folds(crosshead, model):
    line = crosshead("top-losses", "m", "e.npz", "--label-errors").line
    assert "has 2 rows, too few for 5 folds" in line
    with np.load("e.npz") as arrays:
        X, y = arrays["X"], arrays["y"]
    np.savez("one.npz", X=X[y == y[0]], y=y[y == y[0]])
    line = crosshead("top-losses", "m", "one.npz", "--label-errors").line
    assert f"one.npz: all rows are of class {y[0]}; doubtful labels are found among rows of two classes" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", "3"), "--folds is for --label-errors only"),
        (("--seed", "3"), "--seed is for --label-errors only"),
        (("--output", "top.txt"), "ends in .csv"),
        (("-n", "0"), "'--count' / '-n'"),
        (("--engine", "steam"), "--engine steam"),
    ],
)
def test_mistakes(crosshead, model, arguments, message):
    result = crosshead("top-losses", "m", "e.npz", *arguments)
    assert result.code == 2
    assert message in result.line


def test_labels_that_the_model_does_not_know(crosshead, model, tmp_path):
    np.savez(tmp_path / "other.npz", X=X, y=np.array(["yes", "no", "no", "perhaps"]))
    result = crosshead("top-losses", "m", "other.npz")
    assert result.code == 2
    assert "unseen in training: perhaps" in result.line
