"""From a sample to its explanation: the steps before the loss, the loss's lesson, the gradient and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import e
from typing import Any

import numpy as np

from crosshead.explain.expression import shown
from crosshead.explain.inputs import LESSONS, make_case, weights_of
from crosshead.explain.linear import (
    Head,
    flatten_step,
    outer_product_step,
    penalty_steps,
    scaling_step,
    score_steps,
)
from crosshead.explain.loss_steps import Lesson, converted, in_base, unit_of, weight_steps
from crosshead.explain.losses.softmax import jacobian_step
from crosshead.explain.result import Explanation
from crosshead.explain.sample import Case
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
    """The explanation of features (D,) before scaling, through a head to the loss of its scores."""
    if len(raw) != head.weight.shape[1]:
        raise ValueError(f"{len(raw)} features, but the weights are for {head.weight.shape[1]}")
    x = np.asarray(head.scaling.apply(raw[None, :])[0], dtype=np.float64)
    scores = head.weight @ x + head.bias
    case = make_case(scores, target, loss, head.classes, base, options)
    predicted = int(scores.argmax())
    focus = [predicted] if case.target in (-1, predicted) else [case.target, predicted]
    before = [] if head.shape is None else [flatten_step(head.shape, len(head.classes))]
    before += [*scaling_step(head, raw, x), *score_steps(head, x, case.shown, focus)]
    return explanation_of(
        case, before, head, x, weights_of(case, sample_weight, class_weight, labels), jacobian, options
    )


def explanation_of(
    case: Case,
    before: Sequence[Step],
    head: Head | None,
    x: Float | None,
    weights: Mapping[str, float],
    jacobian: bool,
    options: Mapping[str, Any],
) -> Explanation:
    """The explanation of scores, after the steps ``before`` that led to them; with ``head`` and x (D,), where known."""
    lesson = LESSONS[case.loss.name]
    with_softmax = case.loss.name in ("softmax", "mse")
    if jacobian and not with_softmax:
        raise ValueError(f"the Jacobian is that of softmax, which the loss {case.loss.name!r} does not use")
    predicted = int(case.scores.argmax())
    probabilities = case.loss.predict_proba(case.scores[None, :])[0] if case.loss.has_probabilities else None
    known: dict[str, Any] = {
        "loss": case.loss.name,
        "options": {**options, **({} if case.base == e else {"base": case.base})},
        "classes": case.classes,
        "predicted": predicted,
        "scores": case.scores,
        "probabilities": probabilities,
    }
    if case.target < 0 and case.row is None:
        steps = [*before, *([jacobian_step(case)] if jacobian else [])]
        steps += penalty_steps(head, None) if head is not None else []
        return Explanation(value=None, unit="", target=None, gradient=None, steps=tuple(steps), **known)
    value, gradient = (part[0] for part in case.loss.value_and_gradient(case.scores[None, :], case.truth))
    weight = float(np.prod(list(weights.values())))
    steps = [*before, *lesson.steps(case)]
    in_base = float(value) * nats_to(case.base)
    if case.base != e:
        steps.append(converted("base", float(value), case.base))
    steps += weight_steps(in_base, weights)
    steps += [jacobian_step(case)] if jacobian else []
    steps.append(_gradient_step(case, lesson))
    gradient = np.asarray(gradient, dtype=np.float64) * nats_to(case.base)
    if head is not None and x is not None:
        steps.append(outer_product_step(head, x, gradient, weight))
        steps += penalty_steps(head, float(value))
    steps.append(_alternatives_step(case, lesson))
    return Explanation(
        value=in_base,
        unit=unit_of(case.base) if lesson.unit else "",
        target=case.target if case.target >= 0 else None,
        gradient=gradient,
        weight=weight,
        alternatives=_alternatives(case) * nats_to(case.base),
        steps=tuple(steps),
        **known,
    )


def _alternatives(case: Case) -> Float:
    """The loss were each class the true one, (C,), in blocks that hold few scores at once."""
    count = len(case.scores)
    values = np.empty(count)
    step = max(1, (1 << 20) // count)
    for first in range(0, count, step):
        columns = np.arange(first, min(first + step, count))
        rows = np.broadcast_to(case.scores, (len(columns), count))
        values[first : first + len(columns)] = case.loss.value(rows, columns)
    return values


def _gradient_step(case: Case, lesson: Lesson) -> Step:
    step = lesson.gradient(case)
    if case.base == e:
        return step
    return replace(
        step,
        formula=f"{step.formula}, divided by ln {shown(case.base)}",
        lines=tuple(in_base(line, case.base) for line in step.lines),
    )


def _alternatives_step(case: Case, lesson: Lesson) -> Step:
    lines = tuple(
        replace(line, note="this sample") if line.marked else line
        for line in (in_base(lesson.charge(case, column), case.base) for column in case.shown)
    )
    meaning = "The same scores, judged as if each class in turn were the true one."
    return Step("alternatives", "The loss for other true classes", "ℓ(z, c)", lines, None, meaning)
