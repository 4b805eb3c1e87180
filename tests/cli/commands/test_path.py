from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold

from crosshead.linear import LinearClassifier, LinearClassifierCV
from crosshead.models import Model


def test_the_table_marks_the_chosen_alpha(crosshead):
    result = crosshead("path", "iris", "--scale", "standard", "--alphas", "1:1e-4:5", "--cv", "3")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split()[0] == "alpha"
    assert [float(line.split()[0]) for line in lines[1:6]] == [1.0, 0.1, 0.01, 0.001, 0.0001]
    (marked,) = [line for line in lines if "<-" in line]
    chosen = next(line for line in lines if line.startswith("chosen"))
    assert float(chosen.split()[2]) == float(marked.split()[0])
    assert "5 of 5 alphas" in result.out


def test_the_same_numbers_as_the_estimator(crosshead):
    options = ("--alphas", "1:1/1000:4", "--cv", "3", "--seed", "7", "--json", "--output", "m")
    document = json.loads(crosshead("path", "iris", *options).out)
    X, y = load_iris(return_X_y=True)
    cv = StratifiedKFold(3, shuffle=True, random_state=7)
    model = LinearClassifierCV(alphas=[1, 0.1, 0.01, 0.001], cv=cv, random_state=7).fit(X, y)
    held_out = [point["held_out"]["cross_entropy_nats"] for point in document["path"]]
    np.testing.assert_allclose([entry["mean"] for entry in held_out], -model.mean_scores_, rtol=1e-9)
    np.testing.assert_allclose([entry["standard_error"] for entry in held_out], model.std_scores_ / 3**0.5, rtol=1e-9)
    assert document["alpha"] == pytest.approx(model.alpha_)
    assert document["passes"] == model.total_passes_
    assert document["certified"] is True
    np.testing.assert_allclose(Model.load("m").weight, model.coef_, rtol=1e-12)
    train = document["path"][1]["train"]
    cold = LinearClassifier(alpha=0.1, tol=1e-8).fit(X, y)
    assert train["error"] == pytest.approx(1 - cold.score(X, y), abs=0.01)


def test_without_folds_nothing_is_chosen(crosshead):
    document = json.loads(crosshead("path", "iris", "--l1-ratio", "1", "--alphas", "4", "--cv", "0", "--json").out)
    assert document["alpha"] is None
    assert [point["nonzero"] == 0 for point in document["path"]] == [True, False, False, False]
    assert "held_out" not in document["path"][0]
    assert "held out" not in crosshead("path", "iris", "--alphas", "2", "--cv", "0").out


def test_one_standard_error_takes_a_larger_alpha(crosshead):
    options = ("path", "wine", "--scale", "standard", "--alphas", "1:1e-4:17", "--json")
    best, simple = (json.loads(crosshead(*options, *more).out) for more in ((), ("--one-standard-error",)))
    assert simple["alpha"] > best["alpha"]


def test_a_loss_without_probabilities(crosshead):
    result = crosshead("path", "iris", "--loss", "squared_hinge", "--alphas", "1:1e-2:3", "--cv", "2")
    assert result.code == 0
    assert "squared hinge loss train" in result.out


def test_what_is_not_certified_is_said(crosshead):
    result = crosshead("path", "digits", "--alphas", "1e-5:1e-6:2", "--cv", "0", "--max-iter", "2")
    assert result.code == 0
    assert result.err.startswith("crosshead: warning: 2 of 2 fits are NOT certified (max_iter)")
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--alphas", "1:2"), "give how many"),
        (("--alphas", "0"), "between 1 and"),
        (("--alphas", "1:0:5"), "above 0"),
        (("--alphas", "a:1:5"), "give a number"),
        (("--cv", "1"), "at least 2 folds"),
        (("--cv", "0", "--output", "m"), "needs a chosen alpha"),
        (("--picture", "path.gif"), ".svg, .png"),
        (("--cv", "100"), "n_splits=100"),
    ],
)
def test_refusals(crosshead, arguments, words):
    result = crosshead("path", "iris", *arguments)
    assert result.code == 2
    assert words in result.line


def test_without_matplotlib_one_line_says_how_to_get_it(crosshead, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = crosshead("path", "iris", "--picture", "path.svg")
    assert result.code == 2
    assert "pip install 'crosshead[plot]'" in result.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_picture(crosshead, tmp_path, kind):
    pytest.importorskip("matplotlib")
    result = crosshead("path", "iris", "--alphas", "3", "--cv", "2", "--picture", f"path.{kind}")
    assert result.code == 0
    data = (tmp_path / f"path.{kind}").read_bytes()
    assert data.startswith(b"\x89PNG") if kind == "png" else b"cross-entropy (nats)" in data
    assert [file.name for file in tmp_path.iterdir()] == [f"path.{kind}"]


def test_interrupted_chooses_and_saves_nothing(crosshead, monkeypatch, tmp_path):
    from crosshead.cli.progress import Monitor

    def interrupt(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(Monitor, "__call__", interrupt)
    result = crosshead("path", "iris", "--output", "m")
    assert result.code == 1
    assert result.line == "crosshead: error: interrupted; nothing was saved"
    assert list(tmp_path.iterdir()) == []
