"""The losses that treat every column by itself: one sigmoid a class, and the squared error of scores."""

from __future__ import annotations

import numpy as np

from crosshead.explain.loss_steps import Lesson, as_tuple, class_lines, selection
from crosshead.explain.sample import Case
from crosshead.explain.steps import Line, Step

YES, NO, BETWEEN = "softplus(-z)", "softplus(z)", "softplus(z) - y * z"


def _binary_line(case: Case, column: int, goal: float) -> Line:
    numbers = {"z": float(case.scores[column]), "y": goal}
    if goal in (0.0, 1.0):
        expression, note = (YES, "should be yes") if goal else (NO, "should be no")
        numbers = {"z": numbers["z"]}
    else:
        expression, note = BETWEEN, "a target between no and yes"
    return Line(case.name(column), expression, numbers, note, case.marked(column))


def _binary_steps(case: Case) -> list[Step]:
    goal = case.goal
    values = [_binary_line(case, column, float(goal[column])).value for column in range(len(goal))]
    sigmoids = class_lines(
        case, lambda c: Line(case.name(c), "sigmoid(z)", {"z": float(case.scores[c])}, marked=case.marked(c))
    )
    return [
        Step(
            "sigmoids",
            "One sigmoid a class",
            "p_c = 1 / (1 + exp(−z_c))",
            sigmoids,
            None,
            "Each class is a question of its own, yes or no; the answers need not add up to 1." + selection(case),
        ),
        Step(
            "loss",
            "Binary cross-entropies and loss",
            "ℓ = Σ_c ln(1 + exp(−t_c·z_c)), t_c = 1 for yes and −1 for no",
            class_lines(case, lambda c: _binary_line(case, c, float(goal[c]))),
            Line("loss", "sum(terms)", {"terms": as_tuple(values)}),
            "A yes costs −ln p, a no costs −ln(1 − p), and the costs are added.",
        ),
    ]


def _binary_gradient(case: Case) -> Step:
    goal = case.goal
    lines = class_lines(
        case,
        lambda c: Line(
            case.name(c), "sigmoid(z) - y", {"z": float(case.scores[c]), "y": float(goal[c])}, marked=case.marked(c)
        ),
    )
    meaning = "Probability minus target in each column. Unlike softmax's, the entries need not add up to 0."
    return Step("gradient", "Gradient on the scores", "∂ℓ/∂z_c = p_c − y_c", lines, None, meaning)


def _binary_charge(case: Case, column: int) -> Line:
    goal = np.zeros(len(case.scores))
    goal[column] = 1
    terms = [_binary_line(case, c, float(goal[c])).value for c in range(len(goal))]
    return Line(case.name(column), "sum(terms)", {"terms": as_tuple(terms)}, marked=case.marked(column))


def _squared_steps(case: Case) -> list[Step]:
    goal = case.goal
    lines = class_lines(
        case,
        lambda c: Line(
            case.name(c),
            "(z - y)**2",
            {"z": float(case.scores[c]), "y": float(goal[c])},
            marked=case.marked(c),
        ),
    )
    return [
        Step(
            "loss",
            "Squared errors and loss",
            "ℓ = Σ_c (z_c − y_c)²",
            lines,
            Line("loss", "sum(terms)", {"terms": as_tuple((case.scores - goal) ** 2)}),
            "The scores themselves should be 1 for the true class and 0 for the others; a score that is right by too "
            "much is charged for as well." + selection(case),
        )
    ]


def _squared_gradient(case: Case) -> Step:
    goal = case.goal
    lines = class_lines(
        case,
        lambda c: Line(
            case.name(c), "2 * (z - y)", {"z": float(case.scores[c]), "y": float(goal[c])}, marked=case.marked(c)
        ),
    )
    meaning = "Each score is pulled towards its target, in proportion to its distance."
    return Step("gradient", "Gradient on the scores", "∂ℓ/∂z_c = 2·(z_c − y_c)", lines, None, meaning)


def _squared_charge(case: Case, column: int) -> Line:
    goal = np.zeros(len(case.scores))
    goal[column] = 1
    terms = as_tuple((case.scores - goal) ** 2)
    return Line(case.name(column), "sum(terms)", {"terms": terms}, marked=case.marked(column))


BINARY = Lesson(_binary_steps, _binary_gradient, _binary_charge, "nats")
SQUARED_ERROR = Lesson(_squared_steps, _squared_gradient, _squared_charge)
