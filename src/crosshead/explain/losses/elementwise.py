"""Steps for the losses that treat each column separately: binary cross-entropy and the squared error of scores."""

from __future__ import annotations

import numpy as np

from crosshead.explain.loss_steps import LossSteps, as_tuple, class_lines, selection
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Line, Step

YES, NO, BETWEEN = "softplus(-z)", "softplus(z)", "softplus(z) - y * z"


def _binary_line(sample: Sample, column: int, goal: float) -> Line:
    numbers = {"z": float(sample.scores[column]), "y": goal}
    if goal in (0.0, 1.0):
        expression, note = (YES, "should be yes") if goal else (NO, "should be no")
        numbers = {"z": numbers["z"]}
    else:
        expression, note = BETWEEN, "a target between no and yes"
    return Line(sample.name(column), expression, numbers, note, sample.marked(column))


def _binary_steps(sample: Sample) -> list[Step]:
    goal = sample.goal
    values = [_binary_line(sample, column, float(goal[column])).value for column in range(len(goal))]
    sigmoids = class_lines(
        sample, lambda c: Line(sample.name(c), "sigmoid(z)", {"z": float(sample.scores[c])}, marked=sample.marked(c))
    )
    return [
        Step(
            "sigmoids",
            "One sigmoid per class",
            "p_c = 1 / (1 + exp(−z_c))",
            sigmoids,
            None,
            "Each class is a separate yes/no decision; the probabilities need not sum to 1." + selection(sample),
        ),
        Step(
            "loss",
            "Binary cross-entropies and loss",
            "ℓ = Σ_c ln(1 + exp(−t_c·z_c)), t_c = 1 for yes and −1 for no",
            class_lines(sample, lambda c: _binary_line(sample, c, float(goal[c]))),
            Line("loss", "sum(terms)", {"terms": as_tuple(values)}),
            "Target 1 costs −ln p, target 0 costs −ln(1 − p); the loss is their sum.",
        ),
    ]


def _binary_gradient(sample: Sample) -> Step:
    goal = sample.goal
    lines = class_lines(
        sample,
        lambda c: Line(
            sample.name(c),
            "sigmoid(z) - y",
            {"z": float(sample.scores[c]), "y": float(goal[c])},
            marked=sample.marked(c),
        ),
    )
    meaning = "Probability minus target in each column. Unlike those of softmax, the entries need not sum to 0."
    return Step("gradient", "Gradient on the scores", "∂ℓ/∂z_c = p_c − y_c", lines, None, meaning)


def _binary_alternative(sample: Sample, column: int) -> Line:
    goal = np.zeros(len(sample.scores))
    goal[column] = 1
    terms = [_binary_line(sample, c, float(goal[c])).value for c in range(len(goal))]
    return Line(sample.name(column), "sum(terms)", {"terms": as_tuple(terms)}, marked=sample.marked(column))


def _squared_steps(sample: Sample) -> list[Step]:
    goal = sample.goal
    lines = class_lines(
        sample,
        lambda c: Line(
            sample.name(c),
            "(z - y)**2",
            {"z": float(sample.scores[c]), "y": float(goal[c])},
            marked=sample.marked(c),
        ),
    )
    return [
        Step(
            "loss",
            "Squared errors and loss",
            "ℓ = Σ_c (z_c − y_c)²",
            lines,
            Line("loss", "sum(terms)", {"terms": as_tuple((sample.scores - goal) ** 2)}),
            "The scores themselves should be 1 for the true class and 0 for the others; a true class's score above 1 "
            "is penalised as well." + selection(sample),
        )
    ]


def _squared_gradient(sample: Sample) -> Step:
    goal = sample.goal
    lines = class_lines(
        sample,
        lambda c: Line(
            sample.name(c), "2 * (z - y)", {"z": float(sample.scores[c]), "y": float(goal[c])}, marked=sample.marked(c)
        ),
    )
    meaning = "Gradient descent moves each score towards its target, in proportion to the distance."
    return Step("gradient", "Gradient on the scores", "∂ℓ/∂z_c = 2·(z_c − y_c)", lines, None, meaning)


def _squared_alternative(sample: Sample, column: int) -> Line:
    goal = np.zeros(len(sample.scores))
    goal[column] = 1
    terms = as_tuple((sample.scores - goal) ** 2)
    return Line(sample.name(column), "sum(terms)", {"terms": terms}, marked=sample.marked(column))


BINARY = LossSteps(_binary_steps, _binary_gradient, _binary_alternative, "nats")
SQUARED_ERROR = LossSteps(_squared_steps, _squared_gradient, _squared_alternative)
