"""The multiclass hinges, term by term: which wrong classes come within the margin, and what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.explain.loss_steps import Lesson, as_tuple, class_lines, selection
from crosshead.explain.sample import Case
from crosshead.explain.steps import Line, Step
from crosshead.losses.protocol import Float

VIOLATION = "z_j - z_y + margin"


def _margin(case: Case) -> float:
    loss: Any = case.loss
    return float(loss.margin)


def _numbers(case: Case, column: int, target: int) -> dict[str, float]:
    return {"z_j": float(case.scores[column]), "z_y": float(case.scores[target]), "margin": _margin(case)}


def _violations(case: Case, target: int) -> Float:
    """z_j − z_y + Δ, with −∞ for the target's own column, which has none."""
    violation = case.scores - case.scores[target] + _margin(case)
    violation[target] = -np.inf
    return np.asarray(violation)


def _terms(case: Case, expression: str) -> tuple[Line, ...]:
    """One line for each wrong class that is shown."""
    violation = _violations(case, case.target)

    def line(c: int) -> Line:
        note = "within the margin" if violation[c] > 0 else "margin met"
        return Line(case.name(c), expression, _numbers(case, c, case.target), note)

    return tuple(line(c) for c in case.shown if c != case.target)


def _others(values: Float, target: int) -> tuple[float, ...]:
    return as_tuple(np.delete(values, target))


def _hinge_steps(case: Case) -> list[Step]:
    charged = np.maximum(_violations(case, case.target), 0)
    return [
        Step(
            "loss",
            "Hinge terms and loss",
            "ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)",
            _terms(case, f"max(0, {VIOLATION})"),
            Line("loss", "sum(terms)", {"terms": _others(charged, case.target)}),
            "Each wrong class is charged for as far as its score comes above the true class's score less the margin Δ."
            + selection(case),
        )
    ]


def _squared_hinge_steps(case: Case) -> list[Step]:
    charged = np.maximum(_violations(case, case.target), 0)
    return [
        Step(
            "loss",
            "Squared hinge terms and loss",
            "ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)²",
            _terms(case, f"max(0, {VIOLATION})**2"),
            Line("loss", "sum(terms)", {"terms": _others(charged**2, case.target)}),
            "Each term is squared by itself and then added; the square of the sum would be another, larger number."
            + selection(case),
        )
    ]


def _crammer_singer_steps(case: Case) -> list[Step]:
    violation = _violations(case, case.target)
    worst = int(violation.argmax())
    counts = len(violation) > 1 and violation[worst] > 0

    def line(c: int) -> Line:
        note = "the one that counts" if c == worst and counts else "does not count"
        return Line(case.name(c), VIOLATION, _numbers(case, c, case.target), note)

    largest = {"worst": float(violation[worst])} if len(violation) > 1 else {"worst": 0.0}
    return [
        Step(
            "loss",
            "Violations and loss",
            "ℓ = max(0, max_{j≠y} z_j − z_y + Δ)",
            tuple(line(c) for c in case.shown if c != case.target),
            Line("loss", "max(0, worst)", largest),
            "Only the worst wrong class is charged for; all others cost nothing." + selection(case),
        )
    ]


def _gradient(case: Case, formula: str, residual: Float, meaning: str, factor: str) -> Step:
    """Lines of a hinge's gradient; ``residual`` is that of the wrong classes, zero in the target's column."""

    def line(c: int) -> Line:
        if case.marked(c):
            numbers = {"others": _others(residual, case.target)}
            return Line(case.name(c), "-sum(others)" if len(residual) > 1 else "0", numbers, "true class", True)
        return Line(case.name(c), *_wrong_class(case, c, factor, float(residual[c])))

    return Step("gradient", "Gradient on the scores", formula, class_lines(case, line), None, meaning)


def _wrong_class(case: Case, column: int, factor: str, residual: float) -> tuple[str, dict[str, Any], str]:
    if factor == "step":
        return "r", {"r": residual}, "counts" if residual else "does not count"
    return f"2 * max(0, {VIOLATION})", dict(_numbers(case, column, case.target)), ""


def _hinge_gradient(case: Case) -> Step:
    residual = (_violations(case, case.target) > 0).astype(np.float64)
    return _gradient(
        case,
        "∂ℓ/∂z_j = 1 for a wrong class within the margin, else 0; ∂ℓ/∂z_y = −(their number)",
        residual,
        "Every class within the margin pushes equally hard, and the true class's score is pushed up by their number.",
        "step",
    )


def _squared_hinge_gradient(case: Case) -> Step:
    return _gradient(
        case,
        "∂ℓ/∂z_j = 2·max(0, z_j − z_y + Δ), ∂ℓ/∂z_y = −Σ_{j≠y} ∂ℓ/∂z_j",
        2 * np.maximum(_violations(case, case.target), 0),
        "The push grows with the violation and fades to nothing at the margin, so that the loss has no kink.",
        "square",
    )


def _crammer_singer_gradient(case: Case) -> Step:
    violation = _violations(case, case.target)
    residual = np.zeros_like(violation)
    worst = int(violation.argmax())
    residual[worst] = float(violation[worst] > 0)
    return _gradient(
        case,
        "∂ℓ/∂z_j = 1 for the worst class if it is within the margin, else 0; ∂ℓ/∂z_y = −1 then",
        residual,
        "Only the worst wrong class and the true class move. Of equally bad classes the first one counts.",
        "step",
    )


def _hinge_charge(case: Case, column: int) -> Line:
    terms = _others(np.maximum(_violations(case, column), 0), column)
    return Line(case.name(column), "sum(terms)", {"terms": terms}, marked=case.marked(column))


def _squared_hinge_charge(case: Case, column: int) -> Line:
    terms = _others(np.maximum(_violations(case, column), 0) ** 2, column)
    return Line(case.name(column), "sum(terms)", {"terms": terms}, marked=case.marked(column))


def _crammer_singer_charge(case: Case, column: int) -> Line:
    if len(case.scores) == 1:
        return Line(case.name(column), "0", {}, marked=case.marked(column))
    worst = int(_violations(case, column).argmax())
    numbers = _numbers(case, worst, column)
    return Line(case.name(column), f"max(0, {VIOLATION})", numbers, marked=case.marked(column))


HINGE = Lesson(_hinge_steps, _hinge_gradient, _hinge_charge)
SQUARED_HINGE = Lesson(_squared_hinge_steps, _squared_hinge_gradient, _squared_hinge_charge)
CRAMMER_SINGER = Lesson(_crammer_singer_steps, _crammer_singer_gradient, _crammer_singer_charge)
