"""Models on labelled rows: measures, costliest rows, doubtful labels, comparison, temperature, rows they have seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_iris

import crosshead
from crosshead import models
from crosshead.data import DataError, Dataset, split
from crosshead.linear import LinearClassifier, LinearClassifierCV
from crosshead.losses import Hinge, get_loss
from crosshead.models import Model, evaluation
from crosshead.scaling import Scaler


@pytest.fixture(scope="module")
def iris() -> Dataset:
    X, y = load_iris(return_X_y=True)
    return Dataset(X, np.array(["setosa", "versicolor", "virginica"])[y], source="iris")


@pytest.fixture(scope="module")
def model(iris) -> Model:
    return models.model_of(LinearClassifier(alpha=1e-3).fit(iris.features, iris.target), iris)


def test_measures(iris, model):
    found = models.measure(model, iris)
    scores = models.score(model, iris)
    index = np.searchsorted(model.classes, iris.target)
    whole = crosshead.evaluate(scores, iris.target, loss="softmax", classes=model.classes)
    assert (found.rows, found.errors) == (150, whole.wrong)
    assert found.mean_loss == pytest.approx(get_loss("softmax").value(scores, index).mean())
    assert found.to_dict()["cross_entropy_bits"] == pytest.approx(whole.cross_entropy_bits)
    assert found.class_rows.tolist() == [50, 50, 50]
    assert str(models.evaluate(model, iris).to_dict()) == str(whole.to_dict())  # there are NaN in it
    hinge = Model(np.eye(2), np.zeros(2), np.array([0, 1]), "hinge")
    assert "cross_entropy_nats" not in models.measure(hinge, np.eye(2), [0, 1]).to_dict()


def test_labels_that_read_the_same_are_the_same(model, iris):
    numbers = Model(np.eye(2), np.zeros(2), np.array([3, 12]), "softmax")
    assert models.measure(numbers, np.eye(2), ["3", "12"]).error == 0
    with pytest.raises(DataError, match=r"y?.*unseen in training: rose \(2 rows\)"):
        models.evaluate(model, iris.features[:3], ["setosa", "rose", "rose"])


def test_the_costliest_rows(iris, model):
    found = models.top_losses(model, iris, n=3)
    losses = get_loss("softmax").value(models.score(model, iris), np.searchsorted(model.classes, iris.target))
    assert found.rows.tolist() == np.argsort(-losses)[:3].tolist()


def test_doubtful_labels(iris, model):
    target = iris.target.copy()
    target[[3, 60]] = "virginica", "setosa"
    found = models.doubtful_labels(model, iris.features, target, folds=5, seed=0)
    assert set(found.rows[:2].tolist()) == {3, 60}
    assert model.classes[found.suggested[found.rows == 3]].tolist() == ["setosa"]
    two = np.isin(iris.target, ["setosa", "virginica"])
    part = models.doubtful_labels(model, iris.features[two], iris.target[two])
    assert np.isnan(part.thresholds[1])
    assert part.joint.shape == (3, 3)


@pytest.mark.parametrize(
    ("rows", "folds", "message"),
    [(slice(0, 50), 5, "all rows are of class setosa"), (slice(0, 53), 5, "class versicolor has 3 rows, too few")],
)
def test_rows_that_tell_nothing_of_labels(iris, model, rows, folds, message):
    with pytest.raises(DataError, match=message):
        models.doubtful_labels(model, iris.features[rows], iris.target[rows], folds=folds)


def test_models_are_compared_whatever_the_order_of_their_classes(iris, model, monkeypatch):
    turned = Model(model.weight[::-1], model.bias[::-1], model.classes[::-1], "softmax")
    weak = models.model_of(LinearClassifier(alpha=1.0).fit(iris.features, iris.target), iris)
    whole = models.compare({"one": model, "same": turned, "weak": weak}, iris, resamples=50)
    assert whole.pairs[0].differences["brier"].estimate == pytest.approx(0, abs=1e-12)
    assert whole.evaluations["weak"].cross_entropy > whole.evaluations["one"].cross_entropy
    monkeypatch.setattr(evaluation, "COMPARED_BYTES", 200)
    done: list[tuple[int, int]] = []
    again = models.compare(
        {"one": model, "same": turned, "weak": weak},
        dict.fromkeys(("one", "same", "weak"), iris),
        resamples=50,
        callback=lambda *counts: done.append(counts),
    )
    assert again.pairs[1].mcnemar == whole.pairs[1].mcnemar
    assert done[0] == (0, 150)
    assert len(done) > 1


def test_models_of_other_classes_are_not_compared(iris, model):
    other = Model(np.zeros((3, 4)), np.zeros(3), np.array(["a", "b", "c"]), "softmax")
    with pytest.raises(DataError, match="do not tell the same classes apart"):
        models.compare({"one": model, "other": other}, iris)


def test_what_a_model_has_seen(iris):
    target = iris.target.copy()
    target[::9] = "setosa"  # so that not every row is predicted right
    noisy = replace(iris, target=target)
    training, held_out = split(noisy, 0.3, seed=4)
    estimator = LinearClassifier(alpha=1e-2, random_state=4).fit(training.features, training.target)
    model = models.model_of(estimator, training, training={"split_from": noisy.fingerprint()})
    assert models.seen_rows(model, training).training == training.n_rows
    assert models.seen_rows(model, noisy).training == training.n_rows
    assert models.seen_rows(model, held_out).training == 0
    assert models.unseen_rows(model, held_out) is held_out
    assert models.unseen_rows(model, noisy).fingerprint() == held_out.fingerprint()
    with pytest.raises(DataError, match="trained on 105 of these 105 rows"):
        models.unseen_rows(model, training)
    found = models.calibrate(model, noisy, folds=3, source="folder/iris.csv")
    assert (found.rows, found.seen.training) == (45, 105)
    assert found.model.calibration["source"] == "iris.csv"
    assert models.seen_rows(found.model, held_out).calibration == 45
    assert models.seen_rows(found.model, noisy).calibration == 45
    assert found.model.temperature > 0
    assert found.judged.after.rows == 45
    np.testing.assert_array_equal(found.model.weight, model.weight)


def test_a_temperature_that_is_none(model):
    with pytest.raises(DataError, match="X: there is no optimal temperature"):
        models.calibrate(model, [[5.0, 3.5, 1.4, 0.2]] * 6, ["setosa"] * 6, folds=2)


@pytest.mark.parametrize("loss", ["softmax", Hinge(margin=2.0)])
def test_a_model_of_an_estimator_is_saved_and_loaded(iris, tmp_path, loss):
    scaler = Scaler.fit("standard", iris.features)
    estimator = LinearClassifier(loss, alpha=1e-2, class_weight="balanced", random_state=7)
    estimator.fit(scaler.apply(iris.features), iris.target)
    model = models.model_of(estimator, iris, scaler=scaler, training={"note": "mine"})
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.loss_parameters == ({} if loss == "softmax" else {"margin": 2.0})
    assert again.hyperparameters["seed"] == 7
    assert again.training["note"] == "mine"
    assert models.predict(again, iris).tolist() == estimator.predict(scaler.apply(iris.features)).tolist()


def test_a_model_of_a_cross_validated_estimator(iris):
    estimator = LinearClassifierCV(alphas=[1e-1, 1e-3], cv=3).fit(iris.features, iris.target)
    model = models.model_of(estimator, iris.features, iris.target)
    assert model.hyperparameters["alpha"] == estimator.alpha_
    assert models.measure(model, iris).errors == int((estimator.predict(iris.features) != iris.target).sum())
