from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from crosshead.models import Model

LARGEST = 2_000_000


def read(folder, name="report.html"):
    content = (folder / name).read_bytes()
    assert len(content) < LARGEST
    return content.decode()


def test_digits_are_judged_on_the_rows_that_were_held_out(crosshead, tmp_path):
    fitted = json.loads(crosshead("fit", "digits", "--scale", "maxabs", "--test", "0.2", "--output", "m", "--json").out)
    result = crosshead("report", "m", "digits")
    assert (result.code, result.out) == (0, "")
    assert "report.html" in result.err
    text = read(tmp_path)
    assert "judged on 359 held-out rows of digits" in text
    assert f"{100 * fitted['test']['error']:.2f}" in text
    assert ">Training</h2>" in text
    assert ">Class templates</h2>" in text
    assert text.count("<img ") == 24
    assert "--test 359/1797" in text
    first = read(tmp_path)
    crosshead("report", "m", "digits")
    assert read(tmp_path) == first


def test_the_rows_have_their_numbers_in_the_source(crosshead, tmp_path):
    crosshead("fit", "digits", "--scale", "maxabs", "--test", "0.2", "--output", "m")
    crosshead("report", "m", "digits", "-n", "1")
    text = read(tmp_path)
    row = int(text.partition("A wrong prediction: row ")[2].partition("<")[0])
    X, y = load_digits(return_X_y=True)
    model = Model.load("m")
    scores = X[row - 1] / 16 @ model.weight.T + model.bias
    assert scores.argmax() != y[row - 1]


def test_the_commands_of_a_page_make_the_same_model(crosshead, tmp_path):
    import html
    import shlex

    options = ("--l1-ratio", "0.3", "--alpha", "1e-2", "--test", "1/3", "--seed", "5", "--scale", "standard")
    crosshead("fit", "iris", *options, "--class-weight", "balanced", "--output", "m")
    before = Model.load("m").weight
    crosshead("report", "m", "iris")
    code = html.unescape(read(tmp_path).partition("<code>")[2].partition("</code>")[0])
    lines = [shlex.split(line)[1:] for line in code.splitlines()]
    assert [line[0] for line in lines] == ["fit", "report"]
    for line in lines:
        assert crosshead(*line).code == 0
    np.testing.assert_array_equal(Model.load("m").weight, before)


def test_fit_writes_the_same_page(crosshead, tmp_path):
    result = crosshead("fit", "iris", "--scale", "standard", "--test", "0.3", "--report", "--output", "m")
    assert "m-report.html" in result.out
    text = read(tmp_path, "m-report.html")
    assert "judged on 45 held-out rows of iris" in text
    crosshead("report", "m", "iris")
    verdict = read(tmp_path).partition('id="again"')[0]
    assert text.partition('id="again"')[0] == verdict


def test_fit_names_the_page_and_warns_of_training_rows(crosshead, tmp_path):
    result = crosshead("fit", "iris", "--report-output", "page.html", "--json", "--output", "m", "--scale", "standard")
    assert json.loads(result.out)["report"] == "page.html"
    assert "the very rows that the model was trained on" in read(tmp_path, "page.html")
    crosshead("report", "m", "iris")
    assert "the very rows that the model was trained on" in read(tmp_path)


def test_all_rows_and_the_test_rows_of_a_source(crosshead, tmp_path, blobs):
    X, y = blobs
    np.savez(tmp_path / "data.npz", X=X[:40], y=y[:40], Xt=X[40:], yt=y[40:])
    crosshead("fit", "data.npz", "--output", "m", "--alpha", "1e-2")
    report = ("report", "m", "data.npz", "--json", "--resamples", "20")
    assert json.loads(crosshead(*report).out)["judged_on"] == "test rows"
    document = json.loads(crosshead(*report, "--all-rows").out)
    assert (document["judged_on"], document["rows"]) == ("training rows", 40)
    assert document["bytes"] == (tmp_path / "report.html").stat().st_size


def test_part_of_the_rows_was_trained_on(crosshead, tmp_path):
    crosshead("fit", "iris", "--scale", "standard", "--test", "0.2", "--output", "m")
    crosshead("report", "m", "iris", "--all-rows", "--title", "A <b>title</b>", "--date", "2026")
    text = read(tmp_path)
    assert "trained on 120 of these rows" in text
    assert "A &lt;b&gt;title&lt;/b&gt;" in text
    assert '<p class="date">2026</p>' in text


def test_a_loss_without_probabilities(crosshead, tmp_path):
    crosshead("fit", "iris", "--loss", "hinge", "--scale", "standard", "--alpha", "1e-2", "--output", "m")
    assert crosshead("report", "m", "iris").code == 0
    text = read(tmp_path)
    assert "no probabilities" in text
    assert ">Calibration</h2>" not in text


def test_a_model_without_a_history_has_no_curves(crosshead, tmp_path):
    X, y = load_iris(return_X_y=True)
    Model(np.eye(3, 4), np.zeros(3), np.arange(3), "softmax").save(tmp_path / "m")
    np.savez(tmp_path / "iris.npz", X=X, y=y)
    assert crosshead("report", "m", "iris.npz").code == 0
    assert ">Training</h2>" not in read(tmp_path)


def test_a_long_history_is_thinned_and_kept_out_of_the_card(crosshead, tmp_path):
    crosshead("fit", "digits", "--loss", "hinge", "--tol", "1e-6", "--max-iter", "400", "--output", "m")
    history = Model.load("m").training["history"]
    assert len(history["passes"]) == len(history["gap"]) <= 200
    assert history["passes"] == sorted(history["passes"])
    assert "history" not in (tmp_path / "m" / "README.md").read_text()


def test_predictions_of_scikit_learn(crosshead, tmp_path):
    X, y = load_iris(return_X_y=True)
    p = cross_val_predict(LogisticRegression(max_iter=1000), X, y, cv=5, method="predict_proba")
    names = ["setosa", "versicolor", "virginica"]
    lines = [
        f"{row},{','.join(map(str, values))},{names[label]}"
        for row, (values, label) in enumerate(zip(p, y, strict=True))
    ]
    head = "row," + ",".join(f"probability_{name}" for name in names) + ",kind\n"
    (tmp_path / "p.csv").write_text(head + "\n".join(lines) + "\n")
    document = json.loads(crosshead("report", "p.csv", "--target", "kind", "--json").out)
    assert document["errors"] == int((p.argmax(axis=1) != y).sum())
    text = read(tmp_path)
    assert "judged" not in text.partition("</header>")[0]
    assert "probabilities of 3 classes that p.csv holds for 150 rows" in text
    np.savez(tmp_path / "z.npz", scores=np.log(p), y=y)
    assert crosshead("report", "z.npz", "--scores", "--loss", "hinge", "--level", "0.8").code == 0
    text = read(tmp_path)
    assert "Rows of the largest hinge loss" in text
    assert "80 % bootstrap intervals" in text
    assert "report z.npz --scores --loss hinge --level 0.8" in text


def test_a_temperature_is_named_and_its_rows_are(crosshead, tmp_path):
    options = ("--scale", "maxabs", "--test", "0.4")
    crosshead("fit", "digits", *options, "--output", "m")
    assert crosshead("calibrate", "m", "digits", "--output", "warm").code == 0
    document = json.loads(crosshead("report", "warm", "digits", "--json").out)
    assert document["judged_on"] == "held-out rows"
    text = read(tmp_path)
    assert f"with temperature {Model.load('warm').temperature:.4g}" in text
    assert "The temperature was fitted on 719 of these rows" in text
    assert ">Calibration</h2>" in text
    assert "crosshead calibrate warm-uncalibrated digits --output warm" in text
    document = json.loads(crosshead("report", "warm", "digits", "--json", "--all-rows").out)
    top = json.loads(crosshead("top-losses", "warm", "digits", "--json", "-n", "5").out)
    assert top["total_loss"] == pytest.approx(1797 * document["cross_entropy_nats"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m",), "a model needs labelled rows to be judged on; give SOURCE after it"),
        (("nowhere.csv",), "nowhere.csv: no such file"),
        (("m", "iris", "--output", "page.pdf"), "ends in .html"),
        (("m", "iris", "--output", "no/page.html"), "there is no folder"),
        (("p.csv", "--all-rows"), "--all-rows is for a model"),
        (("m", "iris", "--scores"), "--scores is for files of predictions"),
        (("m", "iris", "--row-id", "x"), "--row-id is for files of predictions"),
        (("m", "digits"), "features"),
        (("p.csv",), "sums to 1.1"),
        (("p.csv", "--loss", "hinge"), "say --scores"),
        (("m", "iris", "--level", "2"), "--level 2"),
    ],
)
def test_mistakes(crosshead, tmp_path, arguments, message):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    (tmp_path / "p.csv").write_text("a,b,label\n0.5,0.6,a\n")
    result = crosshead("report", *arguments)
    assert result.code == 2
    assert message in result.line
    assert not (tmp_path / "report.html").exists()


def test_what_fit_refuses_before_it_trains(crosshead, tmp_path, monkeypatch):
    assert "ends in .html" in crosshead("fit", "iris", "--report-output", "page.txt").line
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    assert "crosshead[report]" in crosshead("fit", "iris", "--report").line
    assert not (tmp_path / "iris-model").exists()
