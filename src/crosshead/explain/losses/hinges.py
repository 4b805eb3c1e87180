"""Steps for the multiclass hinge losses: which wrong classes violate the margin, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.explain.loss_steps import LossSteps, as_tuple, class_lines, selection
from crosshead.explain.sample import Sample
from crosshead.explain.steps import Line, Step
from crosshead.losses.protocol import Float

VIOLATION = "z_j - z_y + margin"


def _margin(sample: Sample) -> float:
    loss: Any = sample.loss
    return float(loss.margin)


def _numbers(sample: Sample, column: int, target: int) -> dict[str, float]:
    return {"z_j": float(sample.scores[column]), "z_y": float(sample.scores[target]), "margin": _margin(sample)}


def _violations(sample: Sample, target: int) -> Float:
    """z_j − z_y + Δ, with −∞ in the target's own column, which has no term."""
    violation = sample.scores - sample.scores[target] + _margin(sample)
    violation[target] = -np.inf
    return np.asarray(violation)


def _terms(sample: Sample, expression: str) -> tuple[Line, ...]:
    """One line for each wrong class shown."""
    violation = _violations(sample, sample.target)

    def line(c: int) -> Line:
        note = "within the margin" if violation[c] > 0 else "margin met"
        return Line(sample.name(c), expression, _numbers(sample, c, sample.target), note)

    return tuple(line(c) for c in sample.shown if c != sample.target)


def _others(values: Float, target: int) -> tuple[float, ...]:
    return as_tuple(np.delete(values, target))


def _hinge_steps(sample: Sample) -> list[Step]:
    charged = np.maximum(_violations(sample, sample.target), 0)
    return [
        Step(
            "loss",
            "Hinge terms and loss",
            "ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)",
            _terms(sample, f"max(0, {VIOLATION})"),
            Line("loss", "sum(terms)", {"terms": _others(charged, sample.target)}),
            "Each wrong class costs the amount by which its score exceeds the true class's score minus the margin Δ."
            + selection(sample),
        )
    ]


def _squared_hinge_steps(sample: Sample) -> list[Step]:
    charged = np.maximum(_violations(sample, sample.target), 0)
    return [
        Step(
            "loss",
            "Squared hinge terms and loss",
            "ℓ = Σ_{j≠y} max(0, z_j − z_y + Δ)²",
            _terms(sample, f"max(0, {VIOLATION})**2"),
            Line("loss", "sum(terms)", {"terms": _others(charged**2, sample.target)}),
            "Each term is squared before the sum; the square of the sum would be another, larger number."
            + selection(sample),
        )
    ]


def _crammer_singer_steps(sample: Sample) -> list[Step]:
    violation = _violations(sample, sample.target)
    worst = int(violation.argmax())
    counts = len(violation) > 1 and violation[worst] > 0

    def line(c: int) -> Line:
        note = "the one that counts" if c == worst and counts else "does not count"
        return Line(sample.name(c), VIOLATION, _numbers(sample, c, sample.target), note)

    largest = {"worst": float(violation[worst])} if len(violation) > 1 else {"worst": 0.0}
    return [
        Step(
            "loss",
            "Violations and loss",
            "ℓ = max(0, max_{j≠y} z_j − z_y + Δ)",
            tuple(line(c) for c in sample.shown if c != sample.target),
            Line("loss", "max(0, worst)", largest),
            "Only the wrong class with the highest score counts; all others cost nothing." + selection(sample),
        )
    ]


def _gradient(sample: Sample, formula: str, residual: Float, meaning: str, factor: str) -> Step:
    """The gradient step of a hinge; ``residual`` is ∂ℓ/∂z of the wrong classes, zero in the target's column."""

    def line(c: int) -> Line:
        if sample.marked(c):
            numbers = {"others": _others(residual, sample.target)}
            return Line(sample.name(c), "-sum(others)" if len(residual) > 1 else "0", numbers, "true class", True)
        return Line(sample.name(c), *_wrong_class(sample, c, factor, float(residual[c])))

    return Step("gradient", "Gradient on the scores", formula, class_lines(sample, line), None, meaning)


def _wrong_class(sample: Sample, column: int, factor: str, residual: float) -> tuple[str, dict[str, Any], str]:
    if factor == "step":
        return "r", {"r": residual}, "counts" if residual else "does not count"
    return f"2 * max(0, {VIOLATION})", dict(_numbers(sample, column, sample.target)), ""


def _hinge_gradient(sample: Sample) -> Step:
    residual = (_violations(sample, sample.target) > 0).astype(np.float64)
    return _gradient(
        sample,
        "∂ℓ/∂z_j = 1 for a wrong class within the margin, else 0; ∂ℓ/∂z_y = −(their number)",
        residual,
        "Every class within the margin has the same gradient, and the true class minus their number.",
        "step",
    )


def _squared_hinge_gradient(sample: Sample) -> Step:
    return _gradient(
        sample,
        "∂ℓ/∂z_j = 2·max(0, z_j − z_y + Δ), ∂ℓ/∂z_y = −Σ_{j≠y} ∂ℓ/∂z_j",
        2 * np.maximum(_violations(sample, sample.target), 0),
        "The gradient grows with the violation and vanishes at the margin, so the loss is differentiable there.",
        "square",
    )


def _crammer_singer_gradient(sample: Sample) -> Step:
    violation = _violations(sample, sample.target)
    residual = np.zeros_like(violation)
    worst = int(violation.argmax())
    residual[worst] = float(violation[worst] > 0)
    return _gradient(
        sample,
        "∂ℓ/∂z_j = 1 for the worst class if it is within the margin, else 0; ∂ℓ/∂z_y = −1 then",
        residual,
        "Only the highest-scoring wrong class and the true class have a gradient. Of equal scores the first counts.",
        "step",
    )


def _hinge_alternative(sample: Sample, column: int) -> Line:
    terms = _others(np.maximum(_violations(sample, column), 0), column)
    return Line(sample.name(column), "sum(terms)", {"terms": terms}, marked=sample.marked(column))


def _squared_hinge_alternative(sample: Sample, column: int) -> Line:
    terms = _others(np.maximum(_violations(sample, column), 0) ** 2, column)
    return Line(sample.name(column), "sum(terms)", {"terms": terms}, marked=sample.marked(column))


def _crammer_singer_alternative(sample: Sample, column: int) -> Line:
    if len(sample.scores) == 1:
        return Line(sample.name(column), "0", {}, marked=sample.marked(column))
    worst = int(_violations(sample, column).argmax())
    numbers = _numbers(sample, worst, column)
    return Line(sample.name(column), f"max(0, {VIOLATION})", numbers, marked=sample.marked(column))


HINGE = LossSteps(_hinge_steps, _hinge_gradient, _hinge_alternative)
SQUARED_HINGE = LossSteps(_squared_hinge_steps, _squared_hinge_gradient, _squared_hinge_alternative)
CRAMMER_SINGER = LossSteps(_crammer_singer_steps, _crammer_singer_gradient, _crammer_singer_alternative)
