"""Scores, classes and probabilities of a saved model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from crosshead import models
from crosshead.data import DataError, Dataset
from crosshead.models import Model, scoring
from crosshead.scaling import Scaler

NAMES = np.array(["no", "perhaps", "yes"])


@pytest.fixture
def rows():
    return np.random.default_rng(2).normal(size=(23, 5))


@pytest.fixture
def model(rows):
    generator = np.random.default_rng(3)
    scaler = Scaler.fit("standard", rows)
    return Model(generator.normal(size=(3, 5)), generator.normal(size=3), NAMES, "softmax", scaling=scaler)


def expected(model, rows):
    return (rows - model.scaling.centre) / model.scaling.scale @ model.weight.T + model.bias


@pytest.mark.parametrize("block_bytes", [1, 500, 1 << 25])
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_scores_do_not_depend_on_blocks(rows, model, monkeypatch, block_bytes, engine):
    monkeypatch.setattr(scoring, "BLOCK_BYTES", block_bytes)
    np.testing.assert_allclose(models.score(model, rows, engine=engine), expected(model, rows), rtol=1e-12)
    firsts = [first for first, _ in models.score_blocks(model, rows, n_threads=1)]
    assert firsts[0] == 0
    assert (len(firsts) == 23) == (block_bytes == 1)


def test_what_features_may_be(rows, model):
    wanted = expected(model, rows)
    for X in (rows.tolist(), sparse.csr_array(rows), Dataset(rows, None), np.asfortranarray(rows)):
        np.testing.assert_allclose(models.score(model, X), wanted, rtol=1e-12)
    assert models.score(model, rows.astype(np.float32)).dtype == np.float32
    assert models.score(model, np.empty((0, 5))).shape == (0, 3)


def test_classes_and_probabilities(rows, model):
    scores = expected(model, rows)
    assert models.predict(model, rows).tolist() == NAMES[scores.argmax(axis=1)].tolist()
    assert models.predict(model, np.empty((0, 5))).shape == (0,)
    p = models.predict_proba(model, rows)
    np.testing.assert_allclose(p, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(np.exp(scoring.log_probabilities_of(model, scores)), p, rtol=1e-12)


def test_a_loss_without_probabilities():
    hinge = Model(np.eye(2), np.zeros(2), np.array([0, 1]), "hinge")
    assert not models.has_probabilities(hinge)
    with pytest.raises(ValueError, match="no probability model"):
        models.predict_proba(hinge, [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((2, 4)), "4 features per row, but the model was trained on 5"),
        (np.ones(5), "expected \\(rows, features\\)"),
        (np.full((2, 5), 1e308), "the scores of row 1 are beyond float64"),
    ],
)
def test_what_has_no_scores(rows, model, X, message):
    with pytest.raises(DataError, match=message):
        models.score(model, X)
