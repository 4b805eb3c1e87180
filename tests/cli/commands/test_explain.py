from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crosshead.cli.main
from crosshead.cli import options
from crosshead.cli.commands.explain import FORMS, PROBABILITY_LOSSES, SCORE_LOSSES
from crosshead.explain import LOSS_STEPS, MEASURES
from crosshead.models import Model
from crosshead.scaling import Scaler

MODEL_1 = "--probabilities .3,.3,.4 --target 2 --probabilities .3,.4,.3 --target 1 --probabilities .1,.2,.7 --target 0"
MODEL_2 = "--probabilities .1,.2,.7 --target 2 --probabilities .1,.7,.2 --target 1 --probabilities .3,.4,.3 --target 0"
HINGES = "--scores 3.2,5.1,-1.7 --target 0 --scores 1.3,4.9,2.0 --target 1 --scores 2.2,2.5,-3.1 --target 2"


def document(crosshead, line):
    result = crosshead("explain", *shlex.split(line), "--json")
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def step(found, key):
    return next(step for step in found["steps"] if step["key"] == key)


def test_the_choices_are_those_of_the_library():
    assert set(SCORE_LOSSES) == {*LOSS_STEPS, "cross_entropy"}
    assert set(SCORE_LOSSES) > set(options.LOSSES)
    assert set(PROBABILITY_LOSSES) == {*MEASURES, "nll"}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--probabilities 0.1,0.15,0.05,0.6,0.1 --target 3", "value", 0.5108),
        ("--probabilities 0.15,0.2,0.4,0.1,0.15 --target 3", "value", 2.3026),
        ("--probabilities 0.05,0.15,0.4,0.3,0.1 --target 3 --loss nll", "value", 1.2040),
        ("--probabilities 0.5,0.2,0.3 --target 1,0,0", "value", 0.6931),
        ("--probabilities 0.8,0.1,0.1 --target 1,0,0", "value", 0.2231),
        ("--probabilities 63/64,1/64 --loss entropy --base 2", "value", 0.1161),
        (f"{MODEL_1} --base 10", "sum", 1.7959),
        (f"{MODEL_2} --base 10", "sum", 0.8327),
        (MODEL_1, "sum", 4.1352),
        (MODEL_2, "sum", 1.9173),
        (MODEL_1, "error", 0.3333),
        (MODEL_2, "error", 0.3333),
        (f"{MODEL_1} --loss mse", "mean", 0.8067),
        (f"{MODEL_2} --loss mse", "mean", 0.3400),
        (f"{HINGES} --loss hinge", "mean", 5.2667),
        ("--scores 2.2,2.5,-3.1 --target 2 --loss squared_hinge", "value", 83.25),
        ("--scores 2.2,2.5,-3.1 --target 2 --loss crammer_singer", "value", 6.6),
        ("--weights 1.3 --weights 4.9 --weights 2 --input 1 --target 1", "value", 0),
        ("--weights 2.6 --weights 9.8 --weights 4 --input 1 --target 1", "value", 0),
        ("--scores 0,0,0 --target 1 --loss softmax", "value", 1.0986),
        ("--scores 0,0,0 --target 1", "value", 2),
        ("--scores 0,0 --target 1 --loss binary --base 2", "value", 2),
        ("--probabilities .8 --target 1 --loss bce", "value", 0.2231),
        ("--scores 3,1 --target 0 --margin 3", "value", 1),
        ("--scores=-1,1 --target 0.5,0.5 --loss softmax", "value", 1.1269),
        ("--scores -1,1 --target 0 --loss softmax --label-smoothing 1", "value", 1.1269),
    ],
)
def test_the_teaching_numbers(crosshead, line, name, value):
    assert round(document(crosshead, line)[name], 4) == value


def test_the_values_of_several_samples(crosshead):
    assert document(crosshead, HINGES)["values"] == pytest.approx([2.9, 0, 12.9])
    assert document(crosshead, HINGES)["values"][1] == 0


def test_flattening(crosshead):
    found = document(crosshead, "--shape 100,4,4 --classes 7")
    assert [line["value"] for line in found["steps"][0]["lines"]] == [1600, 11200, 11207]
    assert found["title"] == "W is 7 × 1600"


def test_softmax_and_its_jacobian(crosshead):
    found = document(crosshead, "--scores 1,2,3 --target 2 --loss softmax --jacobian")
    p = np.array(found["probabilities"])
    assert p.round(4).tolist() == [0.09, 0.2447, 0.6652]
    jacobian = [line["value"] for line in step(found, "jacobian")["lines"]]
    assert np.reshape(jacobian, (3, 3)) == pytest.approx(np.diag(p) - np.outer(p, p))
    assert found["gradient"] == pytest.approx(p - [0, 0, 1])


def test_two_rows_of_weights(crosshead):
    line = "--weights 1,0,0,0 --weights 1/4,1/4,1/4,1/4 --input 1,1,1,1"
    found = document(crosshead, line)
    assert found["scores"] == [1, 1]
    assert [line["value"] for line in step(found, "norms")["lines"]] == [1, 1, 0.25, 1, 1.25, 2]
    found = document(crosshead, f"{line} --target 0 --bias 0.5,0 --alpha 0.1 --l1-ratio 0.5 --classes a,b --shape 2,2")
    assert found["value"] == 0.5
    assert step(found, "penalty")["total"]["value"] == pytest.approx(0.1 * (0.5 * 2 + 0.25 * 1.25))
    assert step(found, "weight_gradient")["lines"][0]["label"] == "W[a, x[0, 0]]"
    assert len(document(crosshead, "--weights 1 --weights 2 --input 1 --input 2 --target 0 --target 1")["samples"]) == 2


def test_weights_of_samples_and_classes(crosshead):
    line = "--scores 0,0 --target 0 --scores 0,5 --target 0 --loss squared_error"
    found = document(crosshead, f"{line} --sample-weight 3 --sample-weight 1")
    assert (found["mean"], found["error"]) == (7.25, 0.25)
    found = document(crosshead, "--scores 0,0 --target cat --classes cat,dog --class-weight cat=2.5")
    assert found["weight"] == 2.5


def test_the_text(crosshead):
    result = crosshead("explain", "--scores", "3.2,5.1,-1.7", "--target", "0", "--loss", "hinge")
    lines = result.out.splitlines()
    assert lines[:5] == [
        "hinge 2.9, true class 0, predicted class 1 (wrong)",
        "",
        "1. Hinge terms and loss    ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)",
        "   class 1  max(0, 5.1 − 3.2 + 1)  =  2.9  within the margin",
        "   class 2  max(0, −1.7 − 3.2 + 1) =    0  margin met",
    ]
    assert "error  2 of 3 wrong" in crosshead("explain", *shlex.split(HINGES)).out


def test_a_page(crosshead, tmp_path):
    result = crosshead("explain", *shlex.split(HINGES), "--output", "page.html")
    assert (result.code, result.out) == (0, "")
    assert "written to page.html" in result.err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "The arithmetic of 3 samples" in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    both = crosshead("explain", "--scores", "1,2", "--target", "0", "--output", "page.html", "--json")
    assert json.loads(both.out)["value"] == 2


@pytest.fixture
def model(tmp_path):
    """Two classes whose scores are the two features, halved."""
    made = Model(
        np.eye(2),
        np.zeros(2),
        np.array(["no", "yes"]),
        "softmax",
        scaling=Scaler("maxabs", 2, None, np.array([2.0])),
        hyperparameters={"alpha": 0.1, "l1_ratio": 0.0},
    )
    made.save(tmp_path / "m")
    np.savez(tmp_path / "e.npz", X=np.array([[0.0, 2.0], [4.0, 0.0]]), y=["yes", "no"], Xt=[[1.0, 1.0]], yt=["no"])
    np.savez(tmp_path / "bare.npz", X=np.array([[0.0, 2.0], [4.0, 0.0]]))
    np.savez(tmp_path / "new.npz", X=np.eye(2), y=["perhaps", "no"])
    return made


def test_a_row_of_a_model(crosshead, model):
    result = crosshead("explain", "m", "e.npz", "--row", "2", "--json")
    found = json.loads(result.out)
    assert found["title"] == "e.npz, row 2, by m"
    assert found["scores"] == [2, 0]
    assert found["value"] == pytest.approx(math.log1p(math.exp(-2)))
    assert step(found, "penalty")["total"]["value"] == pytest.approx(0.1)
    two = json.loads(crosshead("explain", "m", "e.npz", "--row", "1", "--row", "2", "--base", "2", "--json").out)
    assert two["values"] == pytest.approx(
        [math.log1p(math.exp(-1)) / math.log(2), math.log1p(math.exp(-2)) / math.log(2)]
    )
    test_row = json.loads(crosshead("explain", "m", "e.npz", "--row", "1", "--test-rows", "--json").out)
    assert (test_row["scores"], test_row["target_class"]) == ([0.5, 0.5], "no")


def test_a_row_without_a_label_or_with_another(crosshead, model):
    found = json.loads(crosshead("explain", "m", "bare.npz", "--row", "1", "--json").out)
    assert (found["value"], found["predicted_class"]) == (None, "yes")
    found = json.loads(crosshead("explain", "m", "bare.npz", "--row", "1", "--label", "no", "--json").out)
    assert found["value"] == pytest.approx(math.log1p(math.exp(1)))
    shown = crosshead("explain", "m", "bare.npz", "--row", "1", "--row", "2")
    assert (shown.code, "All samples" in shown.out) == (0, False)


def test_a_model_that_was_fitted(crosshead):
    assert crosshead("fit", "iris", "--scale", "standard", "--tol", "1e-9", "--output", "m").code == 0
    evaluated = json.loads(crosshead("evaluate", "m", "iris", "--json").out)
    rows = [option for row in range(1, 151) for option in ("--row", row)]
    found = json.loads(crosshead("explain", "m", "iris", *rows, "--json").out)
    assert found["mean"] == pytest.approx(evaluated["mean_loss"], rel=1e-9)
    assert found["error"] == pytest.approx(evaluated["error"])
    objective = json.loads((Path("m") / "model.json").read_text())["training"]["objective"]
    penalty = step(found["samples"][0], "penalty")["total"]["value"]
    assert found["mean"] + penalty == pytest.approx(objective, rel=1e-9)


def test_an_image_by_its_name(crosshead, tmp_path):
    for place, name in enumerate(("dark", "light")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.full((3, 4), 200 * place + number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    assert crosshead("fit", "pictures", "--scale", "maxabs", "--output", "m").code == 0
    found = json.loads(crosshead("explain", "m", "pictures", "--row", "light/1.png", "--json").out)
    assert found["title"] == "pictures, light/1.png, by m"
    assert step(found, "flatten")["lines"][0]["value"] == 12
    assert "x[" in step(found, "contributions")["lines"][0]["label"]
    assert "--row light/7.png" in crosshead("explain", "m", "pictures", "--row", "light/7.png").line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "nothing to explain"),
        ("--scores 1,2", "1 sample(s) but 0 --target"),
        ("--scores 1,2 --target 2", "--scores 1,2: target 2 is outside 0..1"),
        ("--scores 1,2 --target cat", "no class 'cat'; the classes are class 0, class 1"),
        ("--scores 1,2 --target 0.5,0.5", "class indices, not rows of probabilities"),
        ("--scores 1,nan --target 0", "number 2 is 'nan'; give finite numbers"),
        ("--scores 1,,2 --target 0", "number 2 is ''"),
        ("--scores 1,2 --target 0 --loss perceptron", "--loss perceptron: choose one of softmax,"),
        ("--scores 1,2 --target 0 --loss softmax --margin 2", "no parameter 'margin'"),
        ("--scores 1,2 --target 0 --margin 0", "margin must be positive"),
        ("--scores 1,2 --target 0 --base 2", "hinge is not one"),
        ("--scores 1,2 --target 0 --loss softmax --base 1", "--base 1: it must be above 1"),
        ("--scores 1,2 --target 0 --jacobian", "does not use"),
        ("--scores 1,2 --target 0 --row 3", "--row does not go with --scores"),
        ("--scores 1,2 --target 0 --probabilities 1,0", "--scores and --probabilities do not go together"),
        ("--scores 1,2 --target 0 --classes a,b,c", "3 class names for 2 scores"),
        ("--scores 1,2 --target 0 --class-weight 2", "--class-weight 2: give a class and a number"),
        ("--scores 1,2 --target 0 --sample-weight=-1", "--sample-weight -1: it must be at least 0"),
        ("--scores 1,2 --target 0 --output page.pdf", "ends in .html"),
        ("--scores 1,2 --target 0 --output nowhere/page.html", "there is no folder"),
        ("--probabilities 0.2,0.3,0.4,0.6,0.5 --target 3", "must sum to 1, but these sum to 2.0"),
        ("--probabilities 1.5,-0.5 --target 0", "must not be negative"),
        ("--probabilities 0.5,0.5 --target 0 --loss hinge", "--loss hinge: choose one of cross_entropy,"),
        ("--probabilities 0.5,0.5 --target 0 --loss entropy", "entropy takes no target"),
        ("--probabilities 0.5,0.5 --target 0 --margin 2", "--margin does not go with --probabilities"),
        ("--weights 1,2 --target 0", "give the features with --input"),
        ("--weights 1,2 --weights 1 --input 1,1", "the rows have 1 and 2 numbers"),
        ("--weights 1,2 --weights 2,1 --input 1", "1 features, but the weights are for 2"),
        ("--weights 1,2 --weights 2,1 --input 1,1 --l1-ratio 1", "as in --alpha 0.1"),
        ("--weights 1,2 --weights 2,1 --input 1,1 --shape 3", "that is 3 features"),
        ("--shape 100,4,4", "as in --classes 7"),
        ("--shape 100,0.5 --classes 7", "whole numbers of at least 1"),
        ("--shape 100,4 --classes 0", "at least 1"),
        ("m", "give the data too"),
        ("m e.npz", "say which row"),
        ("m e.npz --row 3", "--row 3: e.npz has rows 1 to 2"),
        ("m e.npz --row 0", "--row 0: e.npz has rows 1 to 2"),
        ("m e.npz --row last", "e.npz has no such row; give a number"),
        ("m e.npz --row 1 --label perhaps", "no class 'perhaps'; the classes are no, yes"),
        ("m new.npz --row 1", "no class 'perhaps'; the classes are no, yes"),
        ("m e.npz --row 1 --loss hinge", "--loss does not go with MODEL"),
        ("m digits --row 1", "64 features per row"),
        ("nowhere e.npz --row 1", "no such model folder"),
    ],
)
def test_what_cannot_be_explained(crosshead, model, line, message):
    result = crosshead("explain", *shlex.split(line))
    assert result.code == 2
    refusal = next(line for line in result.err.splitlines() if "error" in line)
    assert refusal.startswith("crosshead: error: ")
    assert message in refusal
    assert "Traceback" not in result.err
    assert result.out == ""


def test_every_option_belongs_somewhere():
    from dataclasses import fields

    from crosshead.cli.commands.explain import ExplainOptions

    names = {field.name for field in fields(ExplainOptions)} - {"form", "output", "as_json"}
    assert names == set(FORMS) | {name for allowed in FORMS.values() for name in allowed}


def test_help_loads_nothing_heavy(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(crosshead.cli.main.__file__).parents[2]))
    for command in ("explain", "check"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "crosshead", command, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not loaded & {"numpy", "scipy", "sklearn", "matplotlib", "pyarrow"}


def test_scores_whose_squares_are_no_numbers(crosshead):
    result = crosshead("explain", "--scores", "1e308,-1e308", "--target", "1")
    assert result.code == 2
    assert "scores reach 1.0e+308, and their squares overflow float64" in result.line
