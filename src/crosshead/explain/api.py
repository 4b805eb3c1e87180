"""Explain the loss of one sample: from scores, from a model and a row, or from weights and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import e
from typing import Any

import numpy as np

from crosshead.explain.build import explanation_from_features, explanation_of
from crosshead.explain.inputs import class_of, make_sample, one_sample, weights_of
from crosshead.explain.linear import (
    Head,
    flatten_step,
)
from crosshead.explain.linear_heads import head_of, is_model
from crosshead.explain.probabilities import explain_probabilities
from crosshead.explain.result import Explanation, SampleExplanations
from crosshead.explain.sample import class_names
from crosshead.losses._samples import as_samples
from crosshead.penalties import ElasticNet
from crosshead.scaling import Scaler


def explain(
    scores_or_model: Any,
    target: Any,
    label: Any = None,
    *,
    loss: str | None = None,
    base: float = e,
    classes: Sequence[Any] | None = None,
    sample_weight: float = 1.0,
    class_weight: Mapping[Any, float] | None = None,
    jacobian: bool = False,
    **options: float,
) -> Explanation:
    """Explain the arithmetic of one sample's loss: ``explain(scores, target)`` or ``explain(model, x, y)``.

    Parameters
    ----------
    scores_or_model : array (C,), Model or fitted LinearClassifier
        Scores; or a model with ``weight`` and ``bias`` (a `crosshead.Model`) or ``coef_`` and ``intercept_``. The loss,
        classes, scaling and penalty are then those of the model.
    target : int, str or array
        With scores: index or name of the true class, or a row (C,) of probabilities if the loss takes them (numbers in
        [0, 1] for "binary", any numbers for "squared_error"). With a model: the features x (D,).
    label : optional
        With a model: the true class's label.
    loss : str, default="hinge"
        "softmax" (also "cross_entropy"), "binary", "hinge", "squared_hinge", "crammer_singer", "squared_error", or
        "mse", the squared error of softmax(z).
    base : float, default=e
        Base of the logarithm, for losses that are logarithms: e gives nats, 2 bits.
    classes : sequence, optional
        Class names, with scores only.
    sample_weight, class_weight : float, mapping of class to factor, optional
        Multiply the loss and its gradients.
    jacobian : bool, default=False
        Whether to add the Jacobian of softmax as a step.
    **options
        Parameters of the loss: ``margin`` of the hinges, ``label_smoothing`` of softmax.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If scores are not finite, the target is not a class, or the loss does not have an option.

    Examples
    --------
    >>> explanation = explain([3.2, 5.1, -1.7], 0, loss="hinge")
    >>> print([line.arithmetic for line in explanation.step("loss").lines], round(explanation.value, 4))
    ['max(0, 5.1 − 3.2 + 1)', 'max(0, −1.7 − 3.2 + 1)'] 2.9
    """
    if is_model(scores_or_model):
        if loss is not None or classes is not None or options:
            raise ValueError("with a model, loss, options and classes are those of the model: leave them out")
        return _explain_model(
            scores_or_model,
            target,
            label,
            base=base,
            sample_weight=sample_weight,
            class_weight=class_weight,
            jacobian=jacobian,
        )
    if label is not None:
        raise ValueError("explain(scores, target) takes two arguments; explain(model, x, y) takes a model first")
    scores = one_sample("scores", scores_or_model)
    sample = make_sample(scores, target, loss or "hinge", classes, base, options)
    return explanation_of(
        sample, [], None, None, weights_of(sample, sample_weight, class_weight, classes), jacobian, options
    )


def explain_samples(
    scores: Any, targets: Sequence[Any], *, sample_weight: Sequence[float] | None = None, **arguments: Any
) -> SampleExplanations:
    """Explain each row of scores (n, C), with the mean and sum of the losses and the error over the samples.

    ``targets`` and ``sample_weight`` have one entry per row; other arguments are those of `explain`.

    Examples
    --------
    >>> samples = explain_samples([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], [0, 1, 2], loss="hinge")
    >>> samples.values.round(4).tolist(), round(samples.mean, 4)
    ([2.9, 0.0, 12.9], 5.2667)
    """
    return SampleExplanations(
        tuple(
            explain(row, target, sample_weight=weight, **arguments)
            for row, target, weight in _rows(scores, targets, sample_weight)
        )
    )


def explain_probability_samples(
    probabilities: Any, targets: Sequence[Any], *, sample_weight: Sequence[float] | None = None, **arguments: Any
) -> SampleExplanations:
    """Explain each row of probabilities (n, C), with the mean and sum of the losses and the error over the samples.

    ``targets`` and ``sample_weight`` have one entry per row; other arguments are those of `explain_probabilities`.

    Examples
    --------
    >>> rows = [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]
    >>> samples = explain_probability_samples(rows, [2, 1, 0], base=10)
    >>> round(samples.sum, 3), round(samples.error, 3)
    (1.796, 0.333)
    """
    return SampleExplanations(
        tuple(
            explain_probabilities(row, target, sample_weight=weight, **arguments)
            for row, target, weight in _rows(probabilities, targets, sample_weight)
        )
    )


def explain_linear(
    weight: Any,
    x: Any,
    target: Any = None,
    *,
    bias: Any = None,
    loss: str = "hinge",
    base: float = e,
    penalty: ElasticNet | None = None,
    classes: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    sample_weight: float = 1.0,
    class_weight: Mapping[Any, float] | None = None,
    jacobian: bool = False,
    **options: float,
) -> Explanation:
    """Explain the arithmetic from features x (D,) through W (C, D) and b (C,) to the loss, and back to ∂ℓ/∂W.

    Without a target, the steps end with the scores and the norms of the weights. ``shape`` is the shape of x before it
    was flattened; other arguments are those of `explain`.

    Examples
    --------
    >>> explanation = explain_linear([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]], [1, 1, 1, 1])
    >>> explanation.scores.tolist(), explanation.step("norms").lines[2].value
    ([1.0, 1.0], 0.25)
    """
    matrix = as_samples("weights", weight).astype(np.float64)
    count = len(matrix)
    offset = np.zeros(count) if bias is None else one_sample("bias", bias)
    if offset.shape != (count,):
        raise ValueError(f"bias has {len(offset)} entries for {count} rows of weights")
    head = Head(
        matrix,
        offset,
        class_names(classes, count),
        Scaler("none", matrix.shape[1]),
        feature_names,
        None if shape is None else tuple(shape),
        penalty,
    )
    raw = one_sample("features", x)
    return explanation_from_features(
        head, raw, target, classes, loss, base, options, sample_weight, class_weight, jacobian
    )


def explain_flatten(shape: Sequence[int], classes: int) -> Explanation:
    """Explain how an input of a shape is flattened into a vector, and the number of weights for ``classes`` classes.

    Examples
    --------
    >>> explain_flatten((100, 4, 4), 7).step("flatten").lines[1].note
    'W is 7 × 1600'
    """
    if classes < 1 or not shape or min(shape) < 1:
        raise ValueError("shape and number of classes must be whole numbers of at least 1")
    step = flatten_step(shape, classes)
    return Explanation("", {}, None, "", (), None, None, None, None, None, (step,), title=step.lines[1].note)


def _explain_model(model: Any, x: Any, label: Any, **arguments: Any) -> Explanation:
    head, name, options, labels = head_of(model)
    index = None if label is None else class_of(label, labels)
    raw = x.toarray() if hasattr(x, "toarray") else x
    raw = one_sample("features", np.asarray(raw, dtype=np.float64).reshape(-1))
    return explanation_from_features(
        head,
        raw,
        index,
        labels,
        name,
        arguments["base"],
        options,
        arguments["sample_weight"],
        arguments["class_weight"],
        arguments["jacobian"],
    )


def _rows(values: Any, targets: Sequence[Any], sample_weight: Sequence[float] | None) -> list[tuple[Any, Any, float]]:
    rows = list(values)
    weights = [1.0] * len(rows) if sample_weight is None else list(sample_weight)
    if not rows:
        raise ValueError("there are no samples to explain")
    if not len(rows) == len(targets) == len(weights):
        raise ValueError(f"{len(rows)} samples, {len(targets)} targets and {len(weights)} weights: give one of each")
    return list(zip(rows, targets, weights, strict=True))
