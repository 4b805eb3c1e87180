"""The last layer of a trained network, solved to the certified optimum on the network's own features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from crosshead.data.checks import class_positions
from crosshead.linear import ConvergenceWarning, LinearClassifier, regularisation_path
from crosshead.linear.prediction import score_blocks
from crosshead.losses import as_loss
from crosshead.losses.protocol import Array, Float, Loss
from crosshead.nn.heads.margin import MarginHead
from crosshead.nn.losses.margin import directions
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler, ScalingKind
from crosshead.solvers import Progress

N_ALPHAS = 13
PATH_TOL = 1e-3
"""Alphas are compared by their validation loss, in which a gap of a thousandth cannot be seen."""

Rows = tuple[Any, Any]
"""Features (n, D) and labels (n,)."""


@dataclass(frozen=True)
class LayerMeasures:
    """One last layer: the training objective F, then mean loss and error on validation and test rows, where given."""

    objective: float
    validation_loss: float | None
    validation_error: float | None
    test_loss: float | None
    test_error: float | None


@dataclass(frozen=True, eq=False)
class LastLayerFit:
    """A last layer as trained with its network, and as solved.

    * ``classifier``: the certified fit, on features that ``scaler`` scaled; ``alpha``: its penalty
    * ``tried``: pairs of alpha and validation loss; none where alpha was given
    * ``weight`` (C, D), ``bias`` (C,): the layer as trained, for features that are not scaled
    * ``as_trained``, ``solved``: how well each does; both objectives are of scaled features, on which the penalty is
    """

    classifier: LinearClassifier
    scaler: Scaler
    alpha: float
    tried: tuple[tuple[float, float], ...]
    weight: Float
    bias: Float
    as_trained: LayerMeasures
    solved: LayerMeasures


def fit_last_layer(
    network: Any,
    X: Any,
    y: Any,
    *,
    validation: Rows | None = None,
    test: Rows | None = None,
    classes: Any = None,
    loss: str | Loss = "softmax",
    alpha: float | None = None,
    l1_ratio: float = 0.0,
    scale: str = "none",
    fit_intercept: bool = True,
    class_weight: Mapping[Any, float] | str | None = None,
    tol: float = 1e-4,
    max_iter: int = 1000,
    max_time: float | None = None,
    engine: str = "auto",
    precision: str = "auto",
    n_threads: int | None = None,
    random_state: int = 0,
    callback: Callable[[Progress], object] | None = None,
    watch: Callable[[str], object] | None = None,
) -> LastLayerFit:
    """Solve the last layer of a trained network exactly, on the features that the network makes.

    F(W, b) = Σ sᵢ ℓ(W xᵢ + b, yᵢ) / Σ sᵢ + α·( ρ‖W‖₁ + (1 − ρ)/2·‖W‖² ), minimised over W and b from the trained layer
    on, to a certified relative duality gap; the rest of the network stays as it is. The result is never worse than the
    trained layer by F.

    Parameters
    ----------
    network : Module with ``head``, a `ClassificationHead` or `MarginHead`, such as `CNN`
        Of a `MarginHead` the scaled directions are the weights, without margin and bias.
    X, y : features (N, D) and labels (N,) or class numbers
        X is what ``network.embedding(images)`` gives: of length 1 for a `MarginHead`.
    validation, test : pairs of features and labels, optional
        Rows to choose alpha by, and rows to judge by.
    classes : array (C,), optional
        The labels in the order of the head's classes; by default those of y, sorted.
    alpha : float, optional
        By default the one of 13 on a regularisation path whose fit has the lowest mean loss on validation rows.
    scale : {"none", "standard", "maxabs"}
        How features are scaled before the fit.
    loss, l1_ratio, fit_intercept, class_weight, tol, max_iter, max_time, engine, precision, n_threads, random_state
        As in `crosshead.LinearClassifier`; ``callback`` gets the progress of the last fit.
    watch : callable, optional
        Told in words what is done next.

    Raises
    ------
    ValueError
        Where neither alpha nor validation rows are given, labels are none of the classes, or features do not fit.

    Examples
    --------
    >>> from crosshead.nn import CNN
    >>> _ = torch.manual_seed(0)
    >>> images, target = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), torch.arange(40) % 2
    >>> network = CNN((1, 8, 8), 2).eval()
    >>> with torch.no_grad():
    ...     features = network.embedding(images).numpy()
    >>> found = fit_last_layer(network, features, target.numpy(), alpha=1e-2)
    >>> found.classifier.status_, found.solved.objective < found.as_trained.objective
    ('converged', True)
    """
    tell: Callable[[str], object] = (lambda text: None) if watch is None else watch
    cost = as_loss(loss)
    known = np.unique(np.asarray(y)) if classes is None else np.asarray(classes)
    weight, bias = last_layer(network)
    if len(weight) != len(known):
        raise ValueError(f"the head has {len(weight)} classes, but there are {len(known)} labels")
    sides = {"learning": (X, y)}
    sides |= {name: rows for name, rows in (("validation", validation), ("test", test)) if rows is not None}
    index = {name: _indices(labels, known, name) for name, (_, labels) in sides.items()}
    scaler = Scaler.fit(cast("ScalingKind", scale), X)
    scaled = {name: scaler.apply(features) for name, (features, _) in sides.items()}
    options: dict[str, Any] = {
        "loss": cost,
        "l1_ratio": l1_ratio,
        "fit_intercept": fit_intercept,
        "class_weight": class_weight,
        "max_iter": max_iter,
        "max_time": max_time,
        "engine": engine,
        "n_threads": n_threads,
        "random_state": random_state,
    }
    tried: tuple[tuple[float, float], ...] = ()
    if alpha is None:
        if validation is None:
            raise ValueError("give alpha, or validation rows to choose it by")
        tell("choosing alpha")
        alpha, tried = _choose_alpha(
            scaled["learning"], y, scaled["validation"], index["validation"], known, tol, options
        )
    classifier = LinearClassifier(
        **options, alpha=alpha, tol=tol, precision=precision, callback=callback, warm_start=True
    )
    classifier.coef_, classifier.intercept_ = scaled_parameters(weight, bias, scaler)
    classifier.classes_ = known
    tell("first passes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says how its fit ended
        classifier.fit(scaled["learning"], y)
    tell("measuring")
    row_weight = _row_weights(index["learning"], len(known), class_weight, known)
    penalty, computing = ElasticNet(alpha, l1_ratio), {"engine": engine, "n_threads": n_threads}

    def measured(layer: tuple[Float, Float], features: Mapping[str, Any], penalised: Array) -> LayerMeasures:
        found = {name: _row_losses(cost, layer, rows, index[name], computing) for name, rows in features.items()}
        learnt = found["learning"][0]
        means: dict[str, tuple[float | None, float | None]] = {
            name: (float(losses.mean()), float(wrong.mean())) for name, (losses, wrong) in found.items()
        }
        objective = float((learnt * row_weight).sum()) / float(row_weight.sum()) + penalty.value(penalised)
        nothing = (None, None)
        return LayerMeasures(objective, *means.get("validation", nothing), *means.get("test", nothing))

    as_given = {name: features for name, (features, _) in sides.items()}
    return LastLayerFit(
        classifier,
        scaler,
        float(alpha),
        tried,
        weight,
        bias,
        measured((weight, bias), as_given, scaled_parameters(weight, bias, scaler)[0]),
        measured((classifier.coef_, classifier.intercept_), scaled, classifier.coef_),
    )


def last_layer(network: Any) -> tuple[Float, Float]:
    """The last layer of a network as W (C, D) and b (C,) of its embedding, float64; b is zero without a bias.

    >>> from crosshead.nn import CNN
    >>> weight, bias = last_layer(CNN((1, 8, 8), 3))
    >>> weight.shape, bias.shape
    ((3, 32), (3,))
    """
    head = network.head
    with torch.no_grad():
        if isinstance(head, MarginHead):
            weight, bias = directions(head.weight) * head.scale, None
        else:
            weight, bias = head.weight, head.bias
        values = weight.double().cpu().numpy()
        return values, np.zeros(len(values)) if bias is None else bias.double().cpu().numpy()


def scaled_parameters(weight: Float, bias: Float, scaler: Scaler) -> tuple[Float, Float]:
    """W and b that give the same scores of scaled features.

    >>> scaler = Scaler.fit("standard", np.array([[1.0], [3.0]]))
    >>> scaled_parameters(np.array([[2.0]]), np.array([0.0]), scaler)
    (array([[2.]]), array([4.]))
    """
    if scaler.centre is not None:
        bias = bias + weight @ scaler.centre
    return (weight if scaler.scale is None else weight * scaler.scale), bias


def _indices(labels: Any, classes: Array, name: str) -> Array:
    found = class_positions(np.asarray(labels), classes)
    if (found < 0).any():
        unknown = np.asarray(labels)[found < 0][0]
        raise ValueError(f"the {name} rows have the label {unknown}, which is none of the classes")
    return found


def _choose_alpha(
    features: Any,
    target: Any,
    others: Any,
    index: Array,
    classes: Array,
    tol: float,
    options: Mapping[str, Any],
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The alpha whose certified fit has the lowest loss on validation rows, and all alphas with their losses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # only the fit at the chosen alpha is kept, and judged
        path = regularisation_path(features, target, N_ALPHAS, tol=max(tol, PATH_TOL), **options)
    if not np.array_equal(path.classes, classes):
        raise ValueError("a class has no training rows: alpha cannot be chosen by its validation rows")
    assert path.coef is not None  # it was not asked to leave them out
    tried = []
    for alpha, weight, bias in zip(path.alphas, path.coef, path.intercepts, strict=True):
        scores = np.asarray(others, dtype=np.float64) @ weight.T + bias
        tried.append((float(alpha), float(options["loss"].value(scores, index).mean())))
    return min(tried, key=lambda one: one[1])[0], tuple(tried)


def _row_losses(
    loss: Loss, layer: tuple[Float, Float], features: Any, index: Array, computing: Mapping[str, Any]
) -> tuple[Float, Array]:
    """The loss of each row, and whether it is predicted wrong, (n,)."""
    losses, wrong = np.empty(index.size), np.empty(index.size, dtype=bool)
    for first, block in score_blocks(*layer, features, **computing):
        rows = slice(first, first + len(block))
        scores = block.astype(np.float64)
        losses[rows] = loss.value(scores, index[rows])
        wrong[rows] = scores.argmax(axis=1) != index[rows]
    return losses, wrong


def _row_weights(index: Array, n_classes: int, class_weight: Any, classes: Array) -> Float:
    """The weight of each row by its class, up to a common factor."""
    if class_weight is None:
        return np.ones(index.size)
    if isinstance(class_weight, Mapping):
        return np.array([float(class_weight.get(label, 1.0)) for label in classes.tolist()])[index]
    return 1.0 / np.bincount(index, minlength=n_classes)[index]
