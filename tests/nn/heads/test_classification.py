"""ClassificationHead and the modules: losses by name, predictions, conversion."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris

from crosshead import LinearClassifier
from crosshead.losses import LOSSES, Softmax, get_loss
from crosshead.nn import (
    ClassificationHead,
    LinearBCEWithLogitsLoss,
    LinearCrammerSingerLoss,
    LinearCrossEntropyLoss,
    LinearMSELoss,
    LinearMultiMarginLoss,
    LinearWestonWatkinsLoss,
)
from crosshead.nn import functional as fused
from crosshead.nn.backends import tiles
from crosshead.nn.heads.losses import HEAD_LOSSES

OPTIONS = {
    "softmax": {"label_smoothing": 0.2},
    "hinge": {"margin": 0.7},
    "squared_hinge": {"margin": 1.3},
    "crammer_singer": {"margin": 0.5},
}


def head(loss="softmax", features=4, classes=7, **options):
    made = ClassificationHead(features, classes, loss, dtype=torch.float64, **options)
    torch.nn.init.normal_(made.weight)
    torch.nn.init.normal_(made.bias)
    return made


def test_every_built_in_loss_has_a_head():
    assert set(HEAD_LOSSES) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_built_in_ones(name):
    """The oracle is the NumPy loss of the same name, value and gradient."""
    options = OPTIONS.get(name, {})
    ours, x, target = head(name, **options), torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 7
    value = ours(x, target)
    scores = ours.scores(x)
    rows, gradient = get_loss(name, **options).value_and_gradient(scores.detach().numpy(), target.numpy())
    assert value.item() == pytest.approx(rows.mean())
    expected = torch.autograd.grad(scores, ours.weight, torch.from_numpy(gradient / 9))[0]
    torch.testing.assert_close(torch.autograd.grad(value, ours.weight)[0], expected)
    for reduction, reduced in (("none", rows), ("sum", rows.sum())):
        other = ClassificationHead.from_linear(ours.to_linear(), name, reduction=reduction, **options)
        np.testing.assert_allclose(other(x, target).detach().numpy(), reduced)


@pytest.mark.parametrize("classes", [2, 10, 1000, 100_000])
def test_the_first_loss_is_about_ln_c(classes):
    made = ClassificationHead(64, classes)
    with torch.no_grad():
        loss = made(torch.randn(32, 64), torch.randint(0, classes, (32,)))
    assert loss.item() == pytest.approx(log(classes), rel=0.05)


def test_features_learn_from_the_first_step():
    x = torch.randn(8, 64, requires_grad=True)
    ClassificationHead(64, 10)(x, torch.arange(8)).backward()
    assert x.grad.norm() > 0


@pytest.mark.parametrize("size", [1 << 21, 60, 7, 1])
@pytest.mark.parametrize("shape", [(4,), (11, 4), (2, 3, 4), (0, 4)])
def test_predictions_are_the_best_scores(size, shape, monkeypatch):
    monkeypatch.setattr(tiles, "TILE_SCORES", size)
    monkeypatch.setattr(tiles, "LEAST_TILE_CLASSES", 1)
    ours, x = head(softcap=2.0), torch.randn(shape, dtype=torch.float64)
    for k in (1, 3, 7, 9):
        prediction = ours.predict(x, k)
        scores, classes = ours.scores(x).topk(min(k, 7), dim=-1)
        torch.testing.assert_close(prediction.scores, scores.detach())
        assert torch.equal(prediction.classes, classes)
        confidence = ours.scores(x).softmax(dim=-1).gather(-1, classes)
        torch.testing.assert_close(prediction.confidence, confidence.detach())


def test_confidence_is_a_probability_or_nothing():
    x = torch.randn(3, 4, dtype=torch.float64)
    binary = head("binary")
    torch.testing.assert_close(binary.predict(x, 2).confidence, binary.predict(x, 2).scores.sigmoid())
    for name in ("hinge", "squared_hinge", "crammer_singer", "squared_error"):
        assert head(name).predict(x).confidence is None


def test_scores_of_a_soft_capped_head_are_what_its_loss_sees():
    ours, x, target = head(softcap=1.5), torch.randn(5, 4, dtype=torch.float64), torch.arange(5)
    torch.testing.assert_close(ours(x, target), F.cross_entropy(ours.scores(x), target))
    assert ours.scores(x).abs().max() < 1.5


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_and_its_head_are_one(bias):
    layer = torch.nn.Linear(4, 7, bias=bias)
    ours = ClassificationHead.from_linear(layer, label_smoothing=0.1, weight=torch.rand(7))
    assert ours.weight is layer.weight
    assert ours.bias is layer.bias
    back = ours.to_linear()
    assert (back.weight is layer.weight, back.bias is layer.bias) == (True, True)
    assert (back.in_features, back.out_features) == (4, 7)
    x, target = torch.randn(5, 4), torch.arange(5)
    truth = F.cross_entropy(layer(x), target, weight=ours.class_weight, label_smoothing=0.1)
    torch.testing.assert_close(ours(x, target), truth)
    ours(x, target).backward()
    assert layer.weight.grad is not None


def test_class_vectors_move_and_are_saved_with_the_head():
    ours = head("binary", weight=torch.rand(7, dtype=torch.float64), pos_weight=torch.rand(7, dtype=torch.float64))
    assert set(ours.state_dict()) == {"weight", "bias", "class_weight", "class_pos_weight"}
    other = head("binary", weight=torch.ones(7), pos_weight=torch.ones(7)).double()
    other.load_state_dict(ours.state_dict())
    x, target = torch.randn(3, 4, dtype=torch.float64), torch.arange(3)
    torch.testing.assert_close(other(x, target), ours(x, target))
    assert "loss='binary'" in repr(ours)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [("setosa", "versicolor", "virginica"), (3, 5, 9)])
def test_a_classifier_and_its_head_agree(name, labels):
    X, indices = load_iris(return_X_y=True)
    y = np.array(labels)[indices]
    fitted = LinearClassifier(get_loss(name, **OPTIONS.get(name, {})), alpha=1e-2, tol=1e-3).fit(X, y)
    ours = ClassificationHead.from_classifier(fitted, dtype=torch.float64)
    x = torch.from_numpy(X)
    penalty = 1e-2 / 2 * (fitted.coef_**2).sum()
    assert ours(x, torch.from_numpy(indices)).item() + penalty == pytest.approx(fitted.objective_)
    predicted = ours.labels[ours.predict(x, 1).classes[:, 0].numpy()]
    assert (predicted == fitted.predict(X)).all()

    back = ours.to_classifier()
    np.testing.assert_array_equal(back.coef_, fitted.coef_)
    np.testing.assert_array_equal(back.intercept_, fitted.intercept_)
    np.testing.assert_array_equal(back.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(back.decision_function(X), fitted.decision_function(X))
    assert back._loss() == fitted._loss()
    if name == "softmax":  # "binary" divides by the sum over classes there; here each answers its own question
        best = ours.predict(x, 1)
        np.testing.assert_allclose(fitted.predict_proba(X).max(axis=1), best.confidence[:, 0], rtol=1e-9)


def test_class_weights_go_along_where_both_sides_have_them():
    X, y = load_iris(return_X_y=True)
    fitted = LinearClassifier(class_weight={0: 2.0, 2: 0.5}, alpha=1e-2, tol=1e-3).fit(X, y)
    ours = ClassificationHead.from_classifier(fitted, dtype=torch.float64)
    penalty = 1e-2 / 2 * (fitted.coef_**2).sum()
    value = ours(torch.from_numpy(X), torch.from_numpy(y)).item()
    assert value + penalty == pytest.approx(fitted.objective_)
    assert ours.to_classifier().class_weight == {0: 2.0, 1: 1.0, 2: 0.5}


def test_a_head_of_its_own_becomes_a_classifier():
    ours = ClassificationHead(4, 3, bias=False)
    made = ours.to_classifier(["a", "b", "c"])
    X = np.random.default_rng(0).normal(size=(5, 4))
    best = ours.predict(torch.from_numpy(X).float(), 1).classes[:, 0]
    assert made.predict(X).tolist() == [["a", "b", "c"][k] for k in best]
    assert not made.fit_intercept
    assert ours.to_classifier().classes_.tolist() == [0, 1, 2]


def test_what_cannot_be_converted_is_refused():
    X, y = load_iris(return_X_y=True)
    for options, word in (({"softcap": 3.0}, "softcap"), ({"z_loss": 0.1}, "z_loss")):
        with pytest.raises(ValueError, match=f"LinearClassifier has no {word}"):
            ClassificationHead(4, 3, **options).to_classifier()
    with pytest.raises(ValueError, match="labels must be 3 different ones"):
        ClassificationHead(4, 3).to_classifier(["a", "a", "b"])
    with pytest.raises(ValueError, match="not fitted"):
        ClassificationHead.from_classifier(LinearClassifier())
    with pytest.raises(ValueError, match="smoothed"):
        ClassificationHead.from_classifier(
            LinearClassifier(get_loss("hinge", smoothing=0.1), alpha=1.0, tol=0.1).fit(X, y)
        )
    with pytest.raises(ValueError, match="'balanced' depends on the training labels"):
        ClassificationHead.from_classifier(LinearClassifier(class_weight="balanced", alpha=1.0).fit(X, y))
    weight = torch.ones(3)
    for made in (
        ClassificationHead(4, 3, weight=weight, label_smoothing=0.1),
        ClassificationHead(4, 3, "binary", weight=weight),
    ):
        with pytest.raises(ValueError, match="multiply whole rows"):
            made.to_classifier()
    smooth = LinearClassifier(Softmax(0.1), class_weight={0: 2.0}, alpha=1.0).fit(X, y)
    with pytest.raises(ValueError, match="multiply whole rows"):
        ClassificationHead.from_classifier(smooth)


MODULES = [
    (LinearCrossEntropyLoss, fused.linear_cross_entropy, {"label_smoothing": 0.1, "weight": True, "softcap": 3.0}),
    (LinearCrossEntropyLoss, fused.linear_cross_entropy, {"return_lse": True, "z_loss": 0.1, "reduction": "none"}),
    (LinearMultiMarginLoss, fused.linear_multi_margin_loss, {"p": 2, "margin": 0.5, "weight": True}),
    (LinearWestonWatkinsLoss, fused.linear_weston_watkins_loss, {"squared": True, "margin": 0.5, "ignore_index": 0}),
    (LinearCrammerSingerLoss, fused.linear_crammer_singer_loss, {"margin": 0.5, "reduction": "sum"}),
    (LinearBCEWithLogitsLoss, fused.linear_binary_cross_entropy_with_logits, {"weight": True, "pos_weight": True}),
    (LinearMSELoss, fused.linear_mse_loss, {"weight": True, "reduction": "batchmean"}),
]


@pytest.mark.parametrize(("module", "function", "options"), MODULES)
@pytest.mark.parametrize("bias", [True, False])
def test_modules_are_their_functions(module, function, options, bias):
    options = {name: torch.rand(7) if value is True and "weight" in name else value for name, value in options.items()}
    made = module(4, 7, bias=bias, **options)
    x, target = torch.randn(5, 4), torch.arange(5)
    expected = function(x, made.linear.weight, target, linear_bias=made.linear.bias, **options)
    torch.testing.assert_close(made(x, target), expected)
    assert made.double().linear.weight.dtype == torch.float64
    plain = module(4, 7)  # the defaults are the function's
    expected = function(x, plain.linear.weight, target)
    torch.testing.assert_close(plain(x, target), expected)
    assert plain.linear.bias is None


def test_the_module_takes_the_state_of_pytorchs_own():
    if not hasattr(torch.nn, "LinearCrossEntropyLoss"):
        pytest.skip("this PyTorch has no LinearCrossEntropyLoss")
    theirs = torch.nn.LinearCrossEntropyLoss(4, 7, bias=True, label_smoothing=0.1)
    ours = LinearCrossEntropyLoss(4, 7, bias=True, label_smoothing=0.1)
    ours.load_state_dict(theirs.state_dict())
    x, target = torch.randn(5, 4), torch.arange(5)
    torch.testing.assert_close(ours(x, target), theirs(x, target))
