"""Build the explanation of one sample: the steps up to the scores, the loss, the gradient, the penalty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import e
from typing import Any

import numpy as np

from crosshead.explain.expression import shown
from crosshead.explain.inputs import LOSS_STEPS, make_sample, weights_of
from crosshead.explain.linear import (
    Head,
    flatten_step,
    outer_product_step,
    penalty_steps,
    scaling_step,
    score_steps,
)
from crosshead.explain.loss_steps import LossSteps, converted, in_base, unit_of, weight_steps
from crosshead.explain.losses.softmax import jacobian_step
from crosshead.explain.result import Explanation
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Step
from crosshead.losses._samples import nats_to
from crosshead.losses.protocol import Float


def explanation_from_features(
    head: Head,
    raw: Float,
    target: Any,
    labels: Sequence[Any] | None,
    loss: str,
    base: float,
    options: Mapping[str, Any],
    sample_weight: float,
    class_weight: Mapping[Any, float] | None,
    jacobian: bool,
) -> Explanation:
    """Explain the loss of unscaled features (D,) under a linear layer."""
    if len(raw) != head.weight.shape[1]:
        raise ValueError(f"{len(raw)} features, but the weights are for {head.weight.shape[1]}")
    x = np.asarray(head.scaling.apply(raw[None, :])[0], dtype=np.float64)
    scores = head.weight @ x + head.bias
    sample = make_sample(scores, target, loss, head.classes, base, options)
    predicted = int(scores.argmax())
    focus = [predicted] if sample.target in (-1, predicted) else [sample.target, predicted]
    before = [] if head.shape is None else [flatten_step(head.shape, len(head.classes))]
    before += [*scaling_step(head, raw, x), *score_steps(head, x, sample.shown, focus)]
    return explanation_of(
        sample, before, head, x, weights_of(sample, sample_weight, class_weight, labels), jacobian, options
    )


def explanation_of(
    sample: Sample,
    before: Sequence[Step],
    head: Head | None,
    x: Float | None,
    weights: Mapping[str, float],
    jacobian: bool,
    options: Mapping[str, Any],
) -> Explanation:
    """Explain the loss of scores. ``before`` are the steps that led to them; ``head`` and x (D,) are optional."""
    loss_steps = LOSS_STEPS[sample.loss.name]
    with_softmax = sample.loss.name in ("softmax", "mse")
    if jacobian and not with_softmax:
        raise ValueError(f"the Jacobian is that of softmax, which the loss {sample.loss.name!r} does not use")
    predicted = int(sample.scores.argmax())
    probabilities = sample.loss.predict_proba(sample.scores[None, :])[0] if sample.loss.has_probabilities else None
    known: dict[str, Any] = {
        "loss": sample.loss.name,
        "options": {**options, **({} if sample.base == e else {"base": sample.base})},
        "classes": sample.classes,
        "predicted": predicted,
        "scores": sample.scores,
        "probabilities": probabilities,
    }
    if sample.target < 0 and sample.row is None:
        steps = [*before, *([jacobian_step(sample)] if jacobian else [])]
        steps += penalty_steps(head, None) if head is not None else []
        return Explanation(value=None, unit="", target=None, gradient=None, steps=tuple(steps), **known)
    value, gradient = (part[0] for part in sample.loss.value_and_gradient(sample.scores[None, :], sample.truth))
    weight = float(np.prod(list(weights.values())))
    steps = [*before, *loss_steps.steps(sample)]
    in_base = float(value) * nats_to(sample.base)
    if sample.base != e:
        steps.append(converted("base", float(value), sample.base))
    steps += weight_steps(in_base, weights)
    steps += [jacobian_step(sample)] if jacobian else []
    steps.append(_gradient_step(sample, loss_steps))
    gradient = np.asarray(gradient, dtype=np.float64) * nats_to(sample.base)
    if head is not None and x is not None:
        steps.append(outer_product_step(head, x, gradient, weight))
        steps += penalty_steps(head, float(value))
    steps.append(_alternatives_step(sample, loss_steps))
    return Explanation(
        value=in_base,
        unit=unit_of(sample.base) if loss_steps.unit else "",
        target=sample.target if sample.target >= 0 else None,
        gradient=gradient,
        weight=weight,
        alternatives=_alternatives(sample) * nats_to(sample.base),
        steps=tuple(steps),
        **known,
    )


def _alternatives(sample: Sample) -> Float:
    """The loss for each class taken as the true one, (C,), computed in blocks to bound the memory."""
    count = len(sample.scores)
    values = np.empty(count)
    step = max(1, (1 << 20) // count)
    for first in range(0, count, step):
        columns = np.arange(first, min(first + step, count))
        rows = np.broadcast_to(sample.scores, (len(columns), count))
        values[first : first + len(columns)] = sample.loss.value(rows, columns)
    return values


def _gradient_step(sample: Sample, loss_steps: LossSteps) -> Step:
    step = loss_steps.gradient(sample)
    if sample.base == e:
        return step
    return replace(
        step,
        formula=f"{step.formula}, divided by ln {shown(sample.base)}",
        lines=tuple(in_base(line, sample.base) for line in step.lines),
    )


def _alternatives_step(sample: Sample, loss_steps: LossSteps) -> Step:
    lines = tuple(
        replace(line, note="this sample") if line.marked else line
        for line in (in_base(loss_steps.alternative(sample, column), sample.base) for column in sample.shown)
    )
    meaning = "The same scores, judged as if each class in turn were the true one."
    return Step("alternatives", "The loss for other true classes", "ℓ(z, c)", lines, None, meaning)
