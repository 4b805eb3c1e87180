"""The loss, options and weights of a head as those of a `crosshead.LinearClassifier`, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosshead.losses import get_loss
from crosshead.nn.heads.losses import HEAD_LOSSES

if TYPE_CHECKING:
    from crosshead.linear import LinearClassifier
    from crosshead.losses.protocol import Loss

SHARED = ("margin", "label_smoothing")
"""Options that both have, with the same name and meaning."""
ONLY_IN_HEADS = ("softcap", "z_loss", "pos_weight")


def loss_and_options(classifier: LinearClassifier, dtype: torch.dtype | None) -> tuple[str, dict[str, Any]]:
    """The head's loss and options for the loss and class weights of a fitted classifier.

    Raises ValueError if the classifier is not fitted, or has a loss or class weights that a head does not have.
    """
    if not hasattr(classifier, "coef_"):
        raise ValueError("the classifier is not fitted: call fit first")
    loss: Loss = get_loss(classifier.loss) if isinstance(classifier.loss, str) else classifier.loss
    if getattr(loss, "smoothing", 0):
        raise ValueError(f"the classifier's loss {loss!r} is smoothed, which heads are not: use smoothing=0")
    options: dict[str, Any] = {name: getattr(loss, name) for name in SHARED if hasattr(loss, name)}
    weight = _class_weight(classifier)
    if weight is not None:
        _check_class_weights(loss.name, options)
        options["weight"] = torch.as_tensor(weight, dtype=dtype or torch.get_default_dtype())
    return loss.name, options


def classifier_with(
    weight: Tensor, bias: Tensor | None, loss: str, options: Mapping[str, Any], labels: Any
) -> LinearClassifier:
    """A `LinearClassifier` with these weights (C, D), bias (C,), loss, options of a head, and labels (C,).

    Raises ValueError for options that a classifier does not have, and for labels that are not C different ones.
    """
    from crosshead.linear import LinearClassifier  # heavy: loads scikit-learn

    classes, features = weight.shape
    for name in ONLY_IN_HEADS:
        value = options.get(name)
        if isinstance(value, Tensor) or value:
            raise ValueError(f"LinearClassifier has no {name}: it cannot compute this head's loss")
    labels = np.asarray(labels)
    if labels.shape != (classes,) or len(np.unique(labels)) != classes:
        raise ValueError(f"labels must be {classes} different ones, one a class")
    shared = {name: options[name] for name in SHARED if name in options}
    class_weight = _array(options["weight"]) if options.get("weight") is not None else None
    if class_weight is not None:
        _check_class_weights(loss, shared)
    classifier = LinearClassifier(
        get_loss(loss, **shared) if shared else loss,
        fit_intercept=bias is not None,
        class_weight=None if class_weight is None else dict(zip(labels.tolist(), class_weight.tolist(), strict=True)),
    )
    classifier.coef_, classifier.classes_ = _array(weight), labels
    classifier.intercept_ = np.zeros(classes) if bias is None else _array(bias)
    classifier.n_features_in_ = features
    return classifier


def _check_class_weights(loss: str, options: Mapping[str, Any]) -> None:
    """ValueError if a head with this loss and options applies class weights in another way than a classifier."""
    if options.get("label_smoothing"):
        terms = "single classes in a head with label smoothing"
    elif not HEAD_LOSSES[loss].weight_multiplies_rows:
        terms = f"single terms in a head with the loss {loss!r}"
    else:
        return
    raise ValueError(f"class weights multiply whole rows in a LinearClassifier, but {terms}")


def _class_weight(classifier: LinearClassifier) -> Any:
    """The class weights (C,) in the order of the classes; None if there are none."""
    given = classifier.class_weight
    if given is None:
        return None
    if isinstance(given, str):
        raise ValueError(f"class_weight={given!r} depends on the training labels: give the weights as a dict")
    return np.array([float(given.get(label, 1.0)) for label in classifier.classes_.tolist()])


def _array(tensor: Tensor) -> Any:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
