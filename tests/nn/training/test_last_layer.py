"""The certified last layer of a trained network."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosshead.losses import get_loss  # noqa: E402
from crosshead.nn import CNN  # noqa: E402
from crosshead.nn.training.last_layer import fit_last_layer, last_layer, scaled_parameters  # noqa: E402
from crosshead.penalties import ElasticNet  # noqa: E402
from crosshead.scaling import Scaler  # noqa: E402

NAMES = np.array(["a", "b", "c"])


def features_of(loss: str = "softmax", **head):
    """A network, and its features of noisy images of three classes."""
    torch.manual_seed(0)
    index = np.arange(90) % 3
    images = torch.randint(0, 60, (90, 1, 8, 8), dtype=torch.uint8)
    images += torch.from_numpy((60 * index).astype(np.uint8))[:, None, None, None]
    network = CNN((1, 8, 8), 3, loss, **head).eval()
    with torch.no_grad():
        return network, network.embedding(images).numpy(), NAMES[index]


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_solving_lowers_the_objective(scale):
    network, X, y = features_of()
    rows = (X[60:], y[60:])
    found = fit_last_layer(network, X[:60], y[:60], validation=rows, test=rows, alpha=1e-2, scale=scale)
    assert found.classifier.status_ == "converged"
    assert found.classifier.classes_.tolist() == NAMES.tolist()
    assert found.solved.objective < found.as_trained.objective
    assert found.solved.objective == pytest.approx(found.classifier.objective_, rel=1e-6)
    assert (found.solved.test_loss, found.solved.test_error) == (
        found.solved.validation_loss,
        found.solved.validation_error,
    )
    scores = X[60:] @ found.weight.T + found.bias
    index = np.searchsorted(NAMES, y[60:])
    assert found.as_trained.validation_loss == pytest.approx(get_loss("softmax").value(scores, index).mean(), rel=1e-5)
    assert found.tried == ()


def test_the_trained_layer_scores_as_the_head_does():
    for loss, head in (("softmax", {}), ("margin", {"m2": 0.3, "scale": 8.0})):
        network, X, _ = features_of(loss, **head)
        weight, bias = last_layer(network)
        with torch.no_grad():
            theirs = network.head.scores(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(X @ weight.T + bias, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "standard", "maxabs"])
def test_scaled_features_have_the_same_scores(kind):
    generator = np.random.default_rng(0)
    X, weight, bias = generator.normal(size=(9, 4)), generator.normal(size=(3, 4)), generator.normal(size=3)
    scaler = Scaler.fit(kind, X)
    scaled_weight, scaled_bias = scaled_parameters(weight, bias, scaler)
    np.testing.assert_allclose(scaler.apply(X) @ scaled_weight.T + scaled_bias, X @ weight.T + bias)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 2.0}])
def test_the_objective_as_trained_is_that_of_the_formula(class_weight):
    network, X, y = features_of()
    X, y = X[:50], y[:50]
    found = fit_last_layer(network, X, y, alpha=1e-2, l1_ratio=0.5, class_weight=class_weight, max_iter=3)
    index = np.searchsorted(NAMES, y)
    by_class = {"balanced": 1 / np.bincount(index), None: np.ones(3)}.get(
        class_weight if not isinstance(class_weight, dict) else "", np.array([2.0, 1.0, 1.0])
    )
    rows = by_class[index]
    losses = get_loss("softmax").value(X.astype(np.float64) @ found.weight.T + found.bias, index)
    wanted = (losses * rows).sum() / rows.sum() + ElasticNet(1e-2, 0.5).value(found.weight)
    assert found.as_trained.objective == pytest.approx(wanted, rel=1e-5)


def test_alpha_is_chosen_by_validation_rows():
    network, X, y = features_of()
    told: list[str] = []
    found = fit_last_layer(network, X[:60], y[:60], validation=(X[60:], y[60:]), watch=told.append)
    assert len(found.tried) == 13
    assert found.alpha == min(found.tried, key=lambda one: one[1])[0]
    assert told == ["choosing alpha", "first passes", "measuring"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give alpha, or validation rows"),
        ({"alpha": 0.1, "classes": ["a", "b"]}, "the head has 3 classes"),
        ({"alpha": 0.1, "classes": ["a", "b", "d"]}, "the learning rows have the label c"),
        ({"alpha": 0.1, "scale": "minmax"}, "scaling 'minmax' is unknown"),
    ],
)
def test_what_cannot_be_solved(options, message):
    network, X, y = features_of()
    with pytest.raises(ValueError, match=message):
        fit_last_layer(network, X, y, **options)
