"""`--loss-parameter`: margins and label smoothing, against what follows from the losses' formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_iris

from crosshead.losses.functions import softmax
from crosshead.models import Model

TIGHT = ("--tol", "1e-9", "--alpha", "1/1000")


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "crammer_singer"])
def test_a_margin_is_a_change_of_scale(crosshead, loss):
    # W = mV turns loss_m(W) + α/2 ‖W‖² into mᵏ (loss_1(V) + α m²⁻ᵏ/2 ‖V‖²), k the power of the violation.
    margin, power = 4.0, 2 if loss == "squared_hinge" else 1
    shared = ("--loss", loss, "--tol", "1e-7")
    wide = crosshead("fit", "iris", *shared, "--alpha", 0.01, "--loss-parameter", f"margin={margin}", "--output", "m")
    plain = crosshead("fit", "iris", *shared, "--alpha", 0.01 * margin ** (2 - power), "--output", "v")
    assert (wide.code, plain.code) == (0, 0)
    m, v = Model.load("m"), Model.load("v")
    assert m.loss_parameters == {"margin": margin}
    assert m.training["objective"] == pytest.approx(margin**power * v.training["objective"], rel=1e-6)
    np.testing.assert_allclose(m.weight, margin * v.weight, atol=2e-3 * np.abs(m.weight).max())
    assert f"{loss} (margin 4)" in wide.out


def test_smoothed_labels_are_what_probabilities_sum_to(crosshead, tmp_path):
    # Where the bias is free its gradient vanishes: Σᵢ p(c|xᵢ) = Σᵢ (1 − ε)[yᵢ = c] + ε/C.
    X, y = load_iris(return_X_y=True)
    kept, share = slice(0, 120), 0.3  # 50, 50 and 20 rows of the classes
    np.savez(tmp_path / "some.npz", X=X[kept], y=y[kept])
    result = crosshead("fit", "some.npz", *TIGHT, "--loss-parameter", f"label_smoothing={share}")
    assert result.code == 0
    model = Model.load("some-model")
    probability = softmax(X[kept] @ model.weight.T + model.bias)
    wanted = (1 - share) * np.array([50, 50, 20]) + share * 120 / 3
    np.testing.assert_allclose(probability.sum(axis=0), wanted, rtol=1e-4)
    assert "cross-entropy (label smoothing 0.3)" in result.out


def test_a_path_takes_it(crosshead):
    options = ("--alphas", "1e-2:1e-3:2", "--cv", "2", "--json", "--output", "m", "--loss", "hinge")
    document = json.loads(crosshead("path", "iris", *options, "--loss-parameter", "margin=2").out)
    assert document["loss_parameters"] == Model.load("m").loss_parameters == {"margin": 2.0}
    plain = json.loads(crosshead("path", "iris", *options).out)
    assert document["path"][0]["objective"] > plain["path"][0]["objective"]
    assert plain["loss_parameters"] == {}


def test_the_first_loss_of_a_wide_margin(crosshead):
    result = crosshead("check", "iris", "--loss", "crammer_singer", "--loss-parameter", "margin=5", "--json")
    first = next(check for check in json.loads(result.out)["checks"] if check["check"] == "initial_loss")
    assert (first["status"], first["numbers"]["found"]) == ("passed", pytest.approx(5.0))


def test_the_report_says_how_to_train_it_again(crosshead):
    pytest.importorskip("jinja2")
    crosshead("fit", "iris", "--loss", "hinge", "--loss-parameter", "margin=2.5", "--alpha", "0.01", "--report")
    with open("iris-model-report.html", encoding="utf-8") as page:
        assert "--loss-parameter margin=2.5" in page.read()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--loss-parameter", "margin"), "--loss-parameter margin: give a parameter and a number, such as margin=2"),
        (("--loss-parameter", "margin=2"), "--loss-parameter: loss 'softmax' has no parameter 'margin'"),
        (("--loss-parameter", "label_smoothing=2"), "label_smoothing"),
        (("--loss-parameter", "label_smoothing=x"), "--loss-parameter label_smoothing=x: give a number such as"),
        (("--loss", "hinge", "--loss-parameter", "margin=nan"), "--loss-parameter margin=nan: give a number such as"),
        (("--loss", "hinge", "--loss-parameter", "margin=-1"), "--loss-parameter margin=-1: it must be at least 0"),
        (("--loss", "hinge", "--loss-parameter", "smoothing=1"), "smoothing is for solvers"),
        (("--loss", "hinge", "--loss-parameter", "margin=1", "--loss-parameter", "margin=2"), "was given before"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "path", "check"])
def test_what_it_does_not_take(crosshead, command, arguments, line):
    result = crosshead(command, "iris", *arguments)
    assert result.code == 2
    assert line in result.line
