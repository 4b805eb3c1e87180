"""Get the linear layer, the loss and the labels of a model of any kind, from its public attributes."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.explain.linear import Head
from crosshead.explain.sample import class_names
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler


def is_model(given: Any) -> bool:
    """Whether the argument is a model (as opposed to an array of scores)."""
    return hasattr(given, "coef_") or (hasattr(given, "weight") and hasattr(given, "bias"))


def head_of(model: Any) -> tuple[Head, str, dict[str, Any], list[Any]]:
    """Return a model's linear layer, the name and the options of its loss, and its labels."""
    if hasattr(model, "coef_"):
        return _estimator_head(model)
    labels = model.classes.tolist()
    hyperparameters, shape = model.hyperparameters, model.encoding.get("shape")
    alpha, objective = hyperparameters.get("alpha"), model.training.get("objective")
    penalty = None if alpha is None else ElasticNet(float(alpha), float(hyperparameters.get("l1_ratio", 0.0)))
    head = Head(
        model.weight.astype(np.float64),
        model.bias.astype(np.float64),
        class_names(labels, len(labels)),
        model.scaling,
        model.feature_names,
        None if shape is None else tuple(shape),
        penalty,
        None if objective is None else float(objective),
    )
    return head, model.loss, dict(model.loss_parameters), labels


def _estimator_head(estimator: Any) -> tuple[Head, str, dict[str, Any], list[Any]]:
    weight, bias = np.asarray(estimator.coef_, np.float64), np.asarray(estimator.intercept_, np.float64)
    labels = estimator.classes_.tolist()
    if len(weight) == 1 and len(labels) == 2:
        # A single column scores the second of two classes; softmax with a first score of 0 is the same model.
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.array([0.0, float(bias[0])])
    loss = getattr(estimator, "loss", "softmax")
    options = {}
    if not isinstance(loss, str):
        options = {name: value for name, value in vars(loss).items() if name != "smoothing"}
        loss = loss.name
    names = getattr(estimator, "feature_names_in_", None)
    alpha = getattr(estimator, "alpha", None)
    head = Head(
        weight,
        bias,
        class_names(labels, len(labels)),
        Scaler("none", weight.shape[1]),
        None if names is None else list(names),
        None,
        None if alpha is None else ElasticNet(float(alpha), float(getattr(estimator, "l1_ratio", 0.0))),
        getattr(estimator, "objective_", None) if alpha is not None else None,
    )
    return head, loss, options, labels
