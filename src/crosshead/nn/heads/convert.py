"""Heads and `crosshead.LinearClassifier`, each from the other: the same weights, the same loss of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosshead.linear import LinearClassifier
from crosshead.losses import get_loss
from crosshead.nn.heads.losses import HEAD_LOSSES

if TYPE_CHECKING:
    from crosshead.losses.protocol import Loss
    from crosshead.nn.heads.classification import ClassificationHead

SHARED = ("margin", "label_smoothing")
"""Options that mean the same on both sides, by the same name."""


def head_from_classifier(
    classifier: LinearClassifier, device: torch.device | str | None, dtype: torch.dtype | None
) -> ClassificationHead:
    """A head with the weights, loss and labels of a fitted classifier; ValueError where its loss is smoothed."""
    from crosshead.nn.heads.classification import ClassificationHead

    if not hasattr(classifier, "coef_"):
        raise ValueError("the classifier is not fitted: call fit first")
    loss: Loss = get_loss(classifier.loss) if isinstance(classifier.loss, str) else classifier.loss
    if getattr(loss, "smoothing", 0):
        raise ValueError(f"the classifier's loss {loss!r} is smoothed, which heads are not: use smoothing=0")
    options: dict[str, Any] = {name: getattr(loss, name) for name in SHARED if hasattr(loss, name)}
    weight = _class_weight(classifier)
    if weight is not None:
        _check_weighs_rows(loss.name, options)
        options["weight"] = torch.as_tensor(weight, dtype=dtype or torch.get_default_dtype())
    classes, features = classifier.coef_.shape
    head = ClassificationHead(
        features, classes, loss.name, classifier.fit_intercept, device=device, dtype=dtype, **options
    )
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.ascontiguousarray(classifier.coef_)))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(np.ascontiguousarray(classifier.intercept_)))
    head.labels = np.array(classifier.classes_)
    return head


def classifier_from_head(head: ClassificationHead, labels: Any) -> LinearClassifier:
    """A classifier with the head's weights and loss; ValueError for options that it does not have."""
    extra = [name for name, value in head.options.items() if name in ("softcap", "z_loss") and value]
    if "pos_weight" in head._vectors:
        extra.append("pos_weight")
    if extra:
        raise ValueError(f"LinearClassifier has no {extra[0]}: it cannot compute this head's loss")
    names = _labels(head, labels)
    options = {name: head.options[name] for name in SHARED if name in head.options}
    bias = np.zeros(head.num_classes) if head.bias is None else _array(head.bias)
    weight = _array(head.class_weight) if "weight" in head._vectors else None
    if weight is not None:
        _check_weighs_rows(head.loss, options)
    classifier = LinearClassifier(
        get_loss(head.loss, **options) if options else head.loss,
        fit_intercept=head.bias is not None,
        class_weight=None if weight is None else dict(zip(names.tolist(), weight.tolist(), strict=True)),
    )
    classifier.coef_, classifier.intercept_, classifier.classes_ = _array(head.weight), bias, names
    classifier.n_features_in_ = head.in_features
    return classifier


def _check_weighs_rows(loss: str, options: Mapping[str, Any]) -> None:
    if options.get("label_smoothing"):
        raise ValueError("class weights: a LinearClassifier weighs whole rows, a head's label smoothing single classes")
    if not HEAD_LOSSES[loss].weighs_rows:
        raise ValueError(f"class weights: a LinearClassifier weighs whole rows, a head's {loss!r} single terms")


def _labels(head: ClassificationHead, labels: Any) -> Any:
    if labels is None:
        labels = np.arange(head.num_classes) if head.labels is None else head.labels
    labels = np.asarray(labels)
    if labels.shape != (head.num_classes,) or len(np.unique(labels)) != head.num_classes:
        raise ValueError(f"labels must be {head.num_classes} different ones, one a class")
    return labels


def _class_weight(classifier: LinearClassifier) -> Any:
    """The class weights (C,) as a row loss has them; None where there are none."""
    given = classifier.class_weight
    if given is None:
        return None
    if isinstance(given, str):
        raise ValueError(f"class_weight={given!r} depends on the training labels: give the weights as a dict")
    return np.array([float(given.get(label, 1.0)) for label in classifier.classes_.tolist()])


def _array(tensor: Any) -> Any:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
