from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from crosshead.data import load, split
from crosshead.linear import LinearClassifier
from crosshead.models import Model


def test_the_table_shows_what_was_trained(crosshead):
    result = crosshead("fit", "digits", "--scale", "maxabs", "--test", "0.2", "--output", "m")
    assert (result.code, result.err) == (0, "")
    shown = {line[:15].strip(): line[15:] for line in result.out.splitlines()}
    assert shown["rows"] == "1438 train, 359 test"
    assert shown["features"] == "64, scaled by maxabs"
    assert shown["classes"] == "10"
    assert shown["loss"] == "softmax, alpha 0.0001"
    assert shown["status"].startswith("certified: relative duality gap")
    assert shown["saved in"] == "m"
    assert Model.load("m").weight.shape == (10, 64)


def test_the_same_numbers_as_the_estimator(crosshead):
    crosshead("fit", "digits", "--scale", "maxabs", "--test", "1/4", "--seed", "3", "--output", "m")
    training, held_out = split(load("digits"), 0.25, 3)
    classifier = LinearClassifier(alpha=1e-4, random_state=3).fit(training.features / 16, training.target)
    model = Model.load("m")
    np.testing.assert_array_equal(model.weight, classifier.coef_)
    np.testing.assert_array_equal(model.bias, classifier.intercept_)
    result = crosshead("fit", "digits", "--scale", "maxabs", "--test", "1/4", "--seed", "3", "--json")
    document = json.loads(result.out)
    proba = classifier.predict_proba(held_out.features / 16)
    own = proba[np.arange(len(proba)), held_out.target]
    assert document["test"]["cross_entropy_nats"] == pytest.approx(-np.log(own).mean(), rel=1e-12)
    assert document["test"]["cross_entropy_bits"] == pytest.approx(-np.log2(own).mean(), rel=1e-12)
    wrong = 1 - classifier.score(held_out.features / 16, held_out.target)
    assert document["test"]["error"] == pytest.approx(wrong, abs=1e-15)
    assert document["certified"] is True
    assert document["gap"] <= document["tol"] == 1e-4


def test_json_is_one_document_without_infinities(crosshead):
    result = crosshead("fit", "iris", "--alpha", "0", "--max-iter", "2", "--json")

    def refuse(token: str) -> float:
        raise AssertionError(token)

    document = json.loads(result.out, parse_constant=refuse)
    assert document["gap"] is None
    assert document["certified"] is False
    assert document["classes"] == ["setosa", "versicolor", "virginica"]


def test_a_fit_that_is_not_certified_is_saved_and_says_so(crosshead):
    result = crosshead("fit", "digits", "--max-iter", "2", "--output", "m")
    assert result.code == 0
    assert "NOT certified: max_iter iterations were used up; relative duality gap" in result.out
    assert result.err.startswith("crosshead: warning: NOT certified")
    assert "--max-iter" in result.err
    assert len(result.err.splitlines()) == 1
    assert Model.load("m").training["status"] == "max_iter"


def test_an_interrupted_fit_keeps_its_best_weights(crosshead, monkeypatch):
    from crosshead.cli.progress import Monitor

    def interrupt(self, progress):
        if progress.iteration >= 3:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(Monitor, "__call__", interrupt)
    result = crosshead("fit", "digits", "--output", "m")
    assert result.code == 1
    assert "NOT certified: interrupted" in result.out
    assert "the best weights so far are saved in m" in result.err
    assert Model.load("m").training["status"] == "interrupted"


def test_interrupted_before_training_saves_nothing(crosshead, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("crosshead.cli.commands.fit.run.load", interrupt)
    result = crosshead("fit", "digits")
    assert result.code == 1
    assert result.line == "crosshead: error: interrupted; nothing was saved"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", ["binary", "hinge", "squared_hinge", "crammer_singer", "squared_error"])
def test_every_loss(crosshead, loss):
    document = json.loads(
        crosshead("fit", "iris", "--loss", loss, "--scale", "standard", "--test", "0.3", "--json").out
    )
    assert document["loss"] == loss
    assert document["test"]["error"] < 0.3
    assert ("cross_entropy_nats" in document["test"]) is (loss == "binary")


def test_the_source_brings_its_test_rows(crosshead, blobs, tmp_path):
    X, y = blobs
    np.savez(tmp_path / "b.npz", X=X[:40], y=y[:40], Xt=X[40:], yt=y[40:])
    result = json.loads(crosshead("fit", "b.npz", "--json").out)
    assert (result["train"]["rows"], result["test"]["rows"]) == (40, 20)
    result = json.loads(crosshead("fit", "b.npz", "--test", "0.1", "--json").out)
    assert (result["train"]["rows"], result["test"]["rows"]) == (36, 4)


def test_mnists_own_files(crosshead, tmp_path):
    digits = load_digits()
    for part, rows in (("train", slice(0, 400)), ("t10k", slice(400, 500))):
        images, labels = digits.images[rows].astype(np.uint8), digits.target[rows].astype(np.uint8)
        header = struct.pack(">4I", 0x803, len(images), 8, 8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, len(labels)) + labels.tobytes())
    result = json.loads(crosshead("fit", "train-images-idx3-ubyte", "--scale", "maxabs", "--json").out)
    assert (result["train"]["rows"], result["test"]["rows"]) == (400, 100)
    assert result["test"]["error"] < 0.25


def test_a_table_and_another_for_the_test(crosshead, flowers):
    result = crosshead("fit", flowers, "--target", "kind", "--test", flowers, "--json", "--output", "m")
    document = json.loads(result.out)
    assert document["train"] == document["test"]
    assert document["train"]["error"] == 0
    assert Model.load("m").feature_names == ["height", "width"]


def test_columns_can_be_ignored(crosshead, flowers):
    crosshead("fit", flowers, "--target", "kind", "--ignore", "width", "--test", flowers, "--output", "m")
    assert Model.load("m").feature_names == ["height"]


def test_images_are_resized(crosshead, tmp_path):
    for name, grey in (("dark", 20), ("light", 220)):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for side in (9, 12, 13):
            Image.new("L", (side, side), grey + side).save(tmp_path / "shades" / name / f"{side}.png")
    result = crosshead("fit", "shades", "--size", "3x2", "--json", "--scale", "maxabs", "--output", "m")
    assert json.loads(result.out)["features"] == 6
    assert Model.load("m").encoding["size"] == [2, 3]


def test_balanced_weights_and_no_intercept(crosshead):
    crosshead("fit", "wine", "--class-weight", "balanced", "--no-intercept", "--scale", "standard")
    model = Model.load("wine-model")
    assert not model.bias.any()
    assert model.hyperparameters["class_weight"] == "balanced"


def test_an_l1_penalty_leaves_weights_at_zero(crosshead):
    crosshead("fit", "iris", "--l1-ratio", "1", "--alpha", "1/20", "--scale", "standard")
    assert (Model.load("iris-model").weight == 0).any()


def test_the_reference_engine_agrees(crosshead):
    arguments = ("fit", "iris", "--scale", "standard", "--tol", "1e-6", "--json")
    native, reference = (json.loads(crosshead(*arguments, "--engine", e).out) for e in ("auto", "reference"))
    assert reference["engine"] == "reference"
    assert math.isclose(native["objective"], reference["objective"], rel_tol=2e-6)


def test_without_the_native_engine_one_line_says_so(crosshead, monkeypatch):
    monkeypatch.setattr("crosshead.cli.engine.has_native", lambda: False)
    result = crosshead("fit", "iris", "--max-iter", "2000", "--scale", "standard")
    assert result.code == 0
    assert len(result.err.splitlines()) == 1
    assert "reference engine" in result.err
    refusal = crosshead("fit", "iris", "--engine", "native")
    assert refusal.code == 2
    assert "not built into this installation" in refusal.line


def test_an_earlier_model_is_replaced_and_a_strangers_folder_is_not(crosshead, tmp_path):
    assert crosshead("fit", "iris", "--scale", "standard").code == 0
    assert crosshead("fit", "iris", "--scale", "none", "--max-iter", "2").code == 0
    assert Model.load("iris-model").scaling.kind == "none"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    result = crosshead("fit", "iris", "--output", "mine")
    assert result.code == 2
    assert "holds something else" in result.line
    (tmp_path / "file").write_text("")
    assert "a file is in the way" in crosshead("fit", "iris", "--output", "file").line
    assert "cannot be written to" in crosshead("fit", "iris", "--output", "file/model").line


def test_a_model_card_names_no_folder_of_this_machine(crosshead, flowers, tmp_path):
    crosshead("fit", flowers, "--target", "kind", "--output", "m")
    for file in Path("m").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_measuring_on_the_training_rows_is_pointed_out(crosshead, flowers):
    outcome = crosshead("fit", flowers, "--target", "kind", "--test", flowers)
    assert outcome.code == 0
    assert f"warning: --test {flowers}: these are the training rows" in outcome.err
