from __future__ import annotations

import json

import numpy as np
import pytest

from crosshead.evaluation import compare
from crosshead.models import Model
from crosshead.scaling import Scaler

ONE = "first,second,third,label\n.3,.3,.4,third\n.3,.4,.3,second\n.1,.2,.7,first\n"
TWO = "first,second,third,label\n.1,.2,.7,third\n.1,.7,.2,second\n.3,.4,.3,first\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "one.csv").write_text(ONE)
    (tmp_path / "two.csv").write_text(TWO)
    return tmp_path


def test_the_three_samples(crosshead, files):
    result = crosshead("compare", "one.csv", "two.csv", "--target", "label", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    models = document["models"]
    assert [models[name]["error"] for name in ("one.csv", "two.csv")] == pytest.approx([1 / 3, 1 / 3])
    assert [models[name]["brier"] for name in ("one.csv", "two.csv")] == pytest.approx([0.8067, 0.34], abs=5e-5)
    sums = [3 * models[name]["cross_entropy_nats"] for name in ("one.csv", "two.csv")]
    assert sums == pytest.approx([4.135, 1.917], abs=5e-4)
    (pair,) = document["pairs"]
    assert pair["mcnemar"]["exact_p"] == 1.0
    assert (pair["both_right"], pair["both_wrong"]) == (2, 1)
    assert pair["most_different"][0]["name"] == "3"
    assert "judged by their labels alone" in result.err


def test_the_table(crosshead, files):
    shown = crosshead("compare", "one.csv", "two.csv", "-n", "1").out.splitlines()
    assert shown[0] == "3 rows, 95 % intervals of 1000 resamples"
    assert shown[2].split("  ")[0] == "model"
    assert shown[3].split()[:3] == ["one.csv", "33.33", "%"]
    assert "two.csv less one.csv" in shown
    assert [line.split() for line in shown[-2:]] == [
        ["row", "true", "one.csv", "two.csv", "nats", "nats", "difference"],
        ["3", "first", "third", "second", "2.303", "1.204", "-1.099"],
    ]


def test_three_files_have_three_pairs_and_corrected_tests(crosshead, files):
    (files / "three.csv").write_text(ONE)
    document = json.loads(crosshead("compare", "one.csv", "two.csv", "three.csv", "--json").out)
    assert [(pair["first"], pair["second"]) for pair in document["pairs"]] == [
        ("one.csv", "two.csv"),
        ("one.csv", "three.csv"),
        ("two.csv", "three.csv"),
    ]
    assert "corrected for all pairs" in crosshead("compare", "one.csv", "two.csv", "three.csv").out


def test_options_reach_the_comparison(crosshead, files):
    options = ("--level", "0.8", "--resamples", "33", "--seed", "5", "--bins", "3", "-n", "0")
    document = json.loads(crosshead("compare", "one.csv", "two.csv", "--json", *options).out)
    reading = {"delimiter": ",", "skiprows": 1, "usecols": (0, 1, 2)}
    one, two = (np.loadtxt(files / name, **reading) for name in ("one.csv", "two.csv"))
    found = compare({"a": one, "b": two}, [2, 1, 0], level=0.8, resamples=33, seed=5, bins=3)
    assert document["pairs"][0]["most_different"] == []
    for name, difference in found.pairs[0].differences.items():
        shown = document["pairs"][0]["differences"][name]
        assert shown["lower"] == pytest.approx(difference.interval.lower)
        assert shown["p"] == difference.p_value


REFUSED = {
    "fewer rows": (ONE.rsplit(".1", 1)[0], "3 rows in the one, 2 in the other"),
    "another label": (ONE.replace(",second\n", ",first\n"), "row 2 has label second in the one, first in the other"),
    "named rows": (
        "id,first,second,third,label\n1,.3,.3,.4,third\n2,.3,.4,.3,second\n3,.1,.2,.7,first\n",
        "one names its rows",
    ),
    "sum": (ONE.replace(".1,.2,.7", ".1,.2,.8"), "odd.csv: row 3 below the header sums to 1.1"),
    "other classes": (ONE.replace("second,third,label", "second,fourth,label").replace("third\n", "first\n"), "row 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_predictions_of_other_rows_are_refused(crosshead, files, name):
    text, message = REFUSED[name]
    (files / "odd.csv").write_text(text)
    result = crosshead("compare", "one.csv", "odd.csv")
    assert result.code == 2
    assert message in result.line


@pytest.fixture
def models(files):
    generator = np.random.default_rng(0)
    target = np.arange(40) % 3
    np.savez(files / "rows.npz", X=generator.normal(size=(40, 3)) + 2 * np.eye(3)[target], y=target)
    for name, weight in (("plain", np.eye(3)), ("sharp", 5 * np.eye(3))):
        Model(weight, np.zeros(3), np.arange(3), "softmax", scaling=Scaler("none", 3)).save(files / name)
    order = np.array([2, 0, 1])
    turned = Model(np.eye(3)[order], np.zeros(3), np.arange(3)[order], "softmax", scaling=Scaler("none", 3))
    turned.save(files / "turned")
    Model(np.eye(3), np.ones(3), np.arange(3), "hinge", scaling=Scaler("none", 3)).save(files / "hinge")
    return files


def test_models_on_a_source(crosshead, models):
    document = json.loads(crosshead("compare", "plain", "sharp", "turned", "rows.npz", "--json").out)
    for name in ("plain", "sharp"):
        alone = json.loads(crosshead("evaluate", name, "rows.npz", "--json").out)
        assert document["models"][name]["cross_entropy_nats"] == pytest.approx(alone["cross_entropy_nats"])
        assert document["models"][name]["ece"] == pytest.approx(alone["ece"])
    same = next(pair for pair in document["pairs"] if (pair["first"], pair["second"]) == ("plain", "turned"))
    assert same["differences"]["brier"]["estimate"] == pytest.approx(0, abs=1e-12)  # columns in another order
    (sharp, *_) = document["pairs"]
    assert sharp["mcnemar"]["exact_p"] == 1.0  # scaling scores changes no prediction
    assert sharp["differences"]["error"]["estimate"] == 0.0


def test_blocks_do_not_matter(crosshead, models, monkeypatch):
    whole = crosshead("compare", "plain", "sharp", "rows.npz", "--json").out
    monkeypatch.setattr("crosshead.models.evaluation.COMPARED_BYTES", 8 * 6 * 7)
    cut, whole = json.loads(crosshead("compare", "plain", "sharp", "rows.npz", "--json").out), json.loads(whole)
    assert cut["pairs"][0]["most_different"] == whole["pairs"][0]["most_different"]
    assert cut["pairs"][0]["differences"]["ece"]["lower"] == pytest.approx(
        whole["pairs"][0]["differences"]["ece"]["lower"], rel=1e-9
    )


def test_a_model_without_probabilities_is_compared_by_its_errors(crosshead, models):
    result = crosshead("compare", "plain", "hinge", "rows.npz")
    assert result.code == 0
    assert result.out.splitlines()[4].split()[-3:] == ["–", "–", "–"]
    document = json.loads(crosshead("compare", "plain", "hinge", "rows.npz", "--json").out)
    assert list(document["pairs"][0]["differences"]) == ["error"]


def test_rows_of_a_training_are_pointed_out(crosshead, tmp_path):
    crosshead("fit", "iris", "--scale", "standard", "--output", "a")
    crosshead("fit", "iris", "--scale", "standard", "--alpha", "1", "--test", "0.2", "--output", "b")
    result = crosshead("compare", "a", "b", "iris")
    assert "a: the model was trained on 150 of these rows" in result.err
    assert "b: the model was trained on 120 of these rows" in result.err


def test_models_of_other_classes(crosshead, models):
    Model(np.eye(3), np.zeros(3), np.array([0, 1, 7]), "softmax", scaling=Scaler("none", 3)).save(models / "other")
    result = crosshead("compare", "plain", "other", "rows.npz")
    assert result.code == 2
    assert "plain and other do not tell the same classes apart (other knows 7)" in result.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.csv"], "name at least two files of predictions"),
        (["plain", "rows.npz"], "name at least two models and the source"),
        (["one.csv", "one.csv"], "one.csv is named twice"),
        (["one.csv", "plain", "rows.npz"], "one.csv is a file"),
        (["plain", "nowhere", "rows.npz"], "nowhere: no such model folder"),
        (["plain", "sharp", "rows.npz", "--scores"], "--scores is for files of predictions"),
        (["one.csv", "two.csv", "--test-rows"], "--test-rows is for models"),
        (["one.csv", "two.csv", "--threads", "2"], "--threads is for models"),
        (["one.csv", "nowhere.csv"], "nowhere.csv: no such file"),
        (["one.csv", "two.csv", "--level", "2"], "--level 2"),
    ],
)
def test_what_cannot_be_compared(crosshead, models, arguments, message):
    result = crosshead("compare", *arguments)
    assert result.code == 2
    assert message in result.line


def test_models_of_one_name_go_by_their_paths(crosshead, models):
    for folder in ("x", "y"):
        (models / folder).mkdir()
        (models / folder / "p.csv").write_text(ONE)
    document = json.loads(crosshead("compare", "x/p.csv", "y/p.csv", "--json").out)
    assert list(document["models"]) == ["x/p.csv", "y/p.csv"]
