from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax

from crosshead.data import load, split
from crosshead.evaluation import TemperatureScaler, cross_fit, evaluate, log_loss
from crosshead.models import Model
from crosshead.scaling import Scaler


@pytest.fixture
def sure(tmp_path):
    """Rows whose scores are their features, and a model that is three times as sure of itself as it should be."""
    generator = np.random.default_rng(1)
    scores = 2 * generator.normal(size=(400, 3))
    p = softmax(scores, axis=1)
    target = (p.cumsum(axis=1) < generator.random(400)[:, None]).sum(axis=1)
    np.savez(tmp_path / "rows.npz", X=scores, y=target)
    Model(3 * np.eye(3), np.zeros(3), np.arange(3), "softmax", scaling=Scaler("none", 3)).save(tmp_path / "m")
    return scores, target


def test_a_temperature_is_fitted_and_saved(crosshead, tmp_path, sure):
    scores, target = sure
    document = json.loads(crosshead("calibrate", "m", "rows.npz", "--json").out)
    scaler = TemperatureScaler().fit(3 * scores, target)
    judged = cross_fit(3 * scores, target)
    assert document["temperature"] == pytest.approx(scaler.temperature_, rel=1e-10)
    assert document["output"] == "m-calibrated"
    assert document["before"]["cross_entropy_nats"] == pytest.approx(judged.before.cross_entropy)
    assert document["after"]["cross_entropy_nats"] == pytest.approx(judged.after.cross_entropy)
    assert document["after"]["ece"] < document["before"]["ece"]
    assert document["fold_temperatures"] == pytest.approx(judged.temperatures)
    model = Model.load(tmp_path / "m-calibrated")
    assert model.temperature == document["temperature"]
    assert model.calibration["rows"] == 400
    np.testing.assert_array_equal(model.weight, 3 * np.eye(3))
    assert Model.load(tmp_path / "m").temperature is None


def test_probabilities_of_the_calibrated_model(crosshead, tmp_path, sure):
    scores, target = sure
    crosshead("calibrate", "m", "rows.npz", "--output", "c")
    temperature = Model.load(tmp_path / "c").temperature
    p = softmax(3 * scores / temperature, axis=1)
    crosshead("predict", "c", "rows.npz", "--proba", "--output", "p.npz")
    np.testing.assert_allclose(np.load(tmp_path / "p.npz")["proba"], p, rtol=1e-9)
    found = json.loads(crosshead("evaluate", "c", "rows.npz", "--json").out)
    assert found["cross_entropy_nats"] == pytest.approx(log_loss(p, target))
    assert found["ece"] == pytest.approx(evaluate(p, target).ece, rel=1e-6)
    assert found["calibration_rows"] == 400
    assert "the temperature was fitted on 400 of these rows" in crosshead("evaluate", "c", "rows.npz").err
    before = json.loads(crosshead("evaluate", "m", "rows.npz", "--json").out)
    assert found["error"] == before["error"]
    assert "calibration_rows" not in before


def test_what_is_shown(crosshead, sure):
    shown = crosshead("calibrate", "m", "rows.npz", "--folds", "4").out
    assert "400, judged by 4-fold cross-fitting" in shown
    assert "cross-entropy (nats)" in shown
    assert "m-calibrated" in shown


def test_a_hinge_gets_probabilities(crosshead, tmp_path, sure):
    Model(np.eye(3), np.zeros(3), np.arange(3), "hinge", scaling=Scaler("none", 3)).save(tmp_path / "h")
    assert "no probabilities" in crosshead("predict", "h", "rows.npz", "--proba").line
    document = json.loads(crosshead("calibrate", "h", "rows.npz", "--output", "hc", "--json").out)
    assert document["before"] is None
    assert document["temperature"] == pytest.approx(1, abs=0.2)
    assert "none" in crosshead("calibrate", "h", "rows.npz", "--output", "hc").out
    assert crosshead("predict", "hc", "rows.npz", "--proba").code == 0
    found = json.loads(crosshead("evaluate", "hc", "rows.npz", "--json").out)
    assert {"mean_loss", "cross_entropy_nats", "ece"} <= set(found)


def test_calibrating_again_starts_from_the_scores(crosshead, tmp_path, sure):
    crosshead("calibrate", "m", "rows.npz", "--output", "c")
    first = Model.load(tmp_path / "c").temperature
    again = json.loads(crosshead("calibrate", "c", "rows.npz", "--output", "c", "--json").out)
    assert again["temperature"] == pytest.approx(first, rel=1e-12)
    assert again["before"]["ece"] < 0.05  # of the temperature it had


def test_rows_of_the_training_are_refused(crosshead):
    crosshead("fit", "iris", "--scale", "standard", "--output", "m")
    result = crosshead("calibrate", "m", "iris")
    assert result.code == 2
    assert "trained on 150 of these 150 rows" in result.line
    assert "give rows that it has not seen" in result.line


def test_rows_that_were_held_out_are_found_again(crosshead, tmp_path):
    crosshead("fit", "digits", "--scale", "maxabs", "--test", "0.3", "--seed", "4", "--alpha", "1e-5", "--output", "m")
    result = crosshead("calibrate", "m", "digits", "--json")
    document = json.loads(result.out)
    _, held_out = split(load("digits"), 0.3, 4)
    assert document["rows"] == held_out.n_rows
    assert "the other 539, which were held out, are used" in result.err
    model = Model.load(tmp_path / "m-calibrated")
    scores = held_out.features / 16 @ model.weight.T + model.bias
    assert document["temperature"] == pytest.approx(
        TemperatureScaler().fit(scores, held_out.target).temperature_, rel=1e-6
    )
    again = crosshead("evaluate", "m-calibrated", "digits")
    assert "the temperature was fitted on 539 of these rows" in again.err
    assert document["after"]["cross_entropy_nats"] < document["before"]["cross_entropy_nats"]


def test_no_temperature_is_best(crosshead, tmp_path):
    Model(np.eye(2), np.zeros(2), np.array([0, 1]), "softmax", scaling=Scaler("none", 2)).save(tmp_path / "m")
    np.savez(tmp_path / "easy.npz", X=np.eye(2)[[0, 1] * 6], y=[0, 1] * 6)
    result = crosshead("calibrate", "m", "easy.npz")
    assert result.code == 2
    assert "easy.npz: there is no optimal temperature: every row is right" in result.line
    assert not (tmp_path / "m-calibrated").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "iris"], "4 features per row"),
        (["nowhere", "rows.npz"], "no such model folder"),
        (["m", "rows.npz", "--folds", "1"], "--folds"),
        (["m", "rows.npz", "--folds", "500"], "500 folds need at least as many rows"),
        (["m", "rows.npz", "--output", "rows.npz"], "a file is in the way of the model"),
        (["m", "rows.npz", "--seed", "-1"], "--seed -1"),
        (["m", "rows.npz", "--test-rows"], "brings no test rows"),
        (["m"], "--help"),
    ],
)
def test_what_cannot_be_calibrated(crosshead, sure, arguments, message):
    result = crosshead("calibrate", *arguments)
    assert result.code == 2
    assert message in result.line
