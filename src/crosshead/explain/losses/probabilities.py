"""Steps for losses of probabilities: cross-entropy, binary cross-entropy, squared error, entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import e
from typing import Any

import numpy as np

from crosshead.explain.loss_steps import as_tuple, logarithm
from crosshead.explain.sample import columns_to_show
from crosshead.explain.steps import Line, Step
from crosshead.losses import functions
from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class ProbabilitySample:
    """One sample's probabilities (C,), its target as numbers (C,), and the index of its true class, −1 if none."""

    p: Float
    goal: Float
    target: int
    classes: tuple[str, ...]
    base: float

    @property
    def shown(self) -> tuple[int, ...]:
        """The columns to show."""
        return columns_to_show(self.p, [self.target] if self.target >= 0 else [])

    def lines(self, line: Callable[[int], Line]) -> tuple[Line, ...]:
        """One line for each column shown."""
        return tuple(line(column) for column in self.shown)

    def log(self, sign: str, column: int, **numbers: float) -> tuple[str, dict[str, Any]]:
        """The expression ``sign`` log p of a column, with its numbers."""
        expression = sign + logarithm(self.base)
        numbers = {"p": float(self.p[column]), **numbers}
        return expression, {**numbers, "base": self.base} if "base" in expression else numbers

    def marked(self, column: int) -> bool:
        """Whether a column belongs to the true class."""
        return column == self.target


def _cross_entropy(sample: ProbabilitySample) -> list[Step]:
    name = {e: "ln", 2: "log₂", 10: "log₁₀"}.get(sample.base, f"log_{sample.base:g}")
    if sample.target >= 0:
        expression, numbers = sample.log("-", sample.target)
        total = Line("loss", expression, numbers)
        text = "The negative log-likelihood: only the probability of the true class counts."
        return [Step("loss", "Loss", f"ℓ = −{name} p_y", (), total, text), *_gradients(sample)]
    lines, terms = [], []
    for column in range(len(sample.p)):
        if sample.goal[column] == 0:
            continue
        expression, numbers = sample.log("-y * ", column, y=float(sample.goal[column]))
        line = Line(sample.classes[column], expression, numbers)
        terms.append(line.value)
        if column in sample.shown:
            lines.append(line)
    total = Line("loss", "sum(terms)", {"terms": as_tuple(terms)})
    text = "Each class contributes −log p times its target probability; a class with target 0 contributes nothing."
    return [Step("loss", "Loss", f"ℓ = −Σ_c y_c·{name} p_c", tuple(lines), total, text), *_gradients(sample)]


def _gradients(sample: ProbabilitySample) -> list[Step]:
    def on_probability(c: int) -> Line:
        goal = float(sample.goal[c])
        if goal == 0:
            return Line(sample.classes[c], "0", {})
        numbers = {"y": goal, "p": float(sample.p[c])}
        if sample.base == e:
            return Line(sample.classes[c], "-y / p", numbers, marked=sample.marked(c))
        return Line(sample.classes[c], "-y / (p * ln(base))", {**numbers, "base": sample.base}, marked=sample.marked(c))

    def on_score(c: int) -> Line:
        numbers = {"p": float(sample.p[c]), "y": float(sample.goal[c])}
        if sample.base == e:
            return Line(sample.classes[c], "p - y", numbers, marked=sample.marked(c))
        return Line(sample.classes[c], "(p - y) / ln(base)", {**numbers, "base": sample.base}, marked=sample.marked(c))

    per = "" if sample.base == e else " / ln(base)"
    return [
        Step(
            "gradient",
            "Gradient on the probabilities",
            f"∂ℓ/∂p_c = −y_c / p_c{per}",
            sample.lines(on_probability),
            None,
            "The smaller the probability of the true class, the larger its gradient.",
        ),
        Step(
            "score_gradient",
            "Gradient on the scores, if p = softmax(z)",
            "∂ℓ/∂z_c = p_c − y_c" if sample.base == e else f"∂ℓ/∂z_c = (p_c − y_c){per}",
            sample.lines(on_score),
            None,
            "Through softmax the division by p cancels, so that no entry is larger than 1.",
        ),
    ]


def _binary(sample: ProbabilitySample) -> list[Step]:
    def line(c: int) -> Line:
        goal = float(sample.goal[c])
        wanted = sample.log("-", c) if goal == 1 else None
        if wanted is not None:
            return Line(sample.classes[c], *wanted, note="should be yes", marked=sample.marked(c))
        unwanted = logarithm(sample.base).replace("(p)", "(1 - p)")
        numbers = {"p": float(sample.p[c])}
        if "base" in unwanted:
            numbers["base"] = sample.base
        if goal == 0:
            return Line(sample.classes[c], f"-{unwanted}", numbers, "should be no")
        expression = f"-y * {logarithm(sample.base)} - (1 - y) * {unwanted}"
        return Line(sample.classes[c], expression, {**numbers, "y": goal}, "a target between no and yes")

    terms = [line(column).value for column in range(len(sample.p))]
    loss = Step(
        "loss",
        "Binary cross-entropies and loss",
        "ℓ = Σ_c −y_c·log p_c − (1 − y_c)·log(1 − p_c)",
        sample.lines(line),
        Line("loss", "sum(terms)", {"terms": as_tuple(terms)}),
        "Each class is a separate yes/no decision: target 1 costs −log p, target 0 costs −log(1 − p).",
    )

    def slope(c: int) -> Line:
        numbers = {"p": float(sample.p[c]), "y": float(sample.goal[c])}
        # At p = y the quotient is 0/0 for p = 0 or 1; its limit from inside is 1/(1 − p) or −1/p.
        if sample.goal[c] == 1:
            expression = "-1 / p"
        elif sample.goal[c] == 0:
            expression = "1 / (1 - p)"
        else:
            expression = "(p - y) / (p * (1 - p))"
        if sample.base != e:
            expression = f"{expression} / ln(base)"
            numbers["base"] = sample.base
        return Line(sample.classes[c], expression, numbers, marked=sample.marked(c))

    text = "The gradient is large where a confident prediction is wrong."
    formula = "∂ℓ/∂p_c = (p_c − y_c) / (p_c·(1 − p_c))"
    return [loss, Step("gradient", "Gradient on the probabilities", formula, sample.lines(slope), None, text)]


def _squared_error(sample: ProbabilitySample) -> list[Step]:
    def line(expression: str) -> Callable[[int], Line]:
        return lambda c: Line(
            sample.classes[c],
            expression,
            {"p": float(sample.p[c]), "y": float(sample.goal[c])},
            marked=sample.marked(c),
        )

    return [
        Step(
            "loss",
            "Loss",
            "ℓ = Σ_c (p_c − y_c)²",
            sample.lines(line("(p - y)**2")),
            Line("loss", "sum(terms)", {"terms": as_tuple((sample.p - sample.goal) ** 2)}),
            "The squared distance from the target, summed over the classes and not divided by their number: the Brier "
            "score of one sample.",
        ),
        Step(
            "gradient",
            "Gradient on the probabilities",
            "∂ℓ/∂p_c = 2·(p_c − y_c)",
            sample.lines(line("2 * (p - y)")),
            None,
            "An entry is never larger than 2, however wrong a confident prediction is.",
        ),
    ]


def _entropy(sample: ProbabilitySample) -> list[Step]:
    def line(c: int) -> Line:
        if sample.p[c] == 0:
            return Line(sample.classes[c], "0", {}, "0·log 0 counts as 0")
        return Line(sample.classes[c], *sample.log("-p * ", c))

    terms = [line(column).value for column in range(len(sample.p))]
    return [
        Step(
            "loss",
            "Entropy",
            "H = −Σ_c p_c·log p_c",
            sample.lines(line),
            Line("entropy", "sum(terms)", {"terms": as_tuple(terms)}),
            "The uncertainty of the distribution: 0 if one class has probability 1, log C if all classes are equal.",
        )
    ]


@dataclass(frozen=True)
class Measure:
    """A loss of probabilities: its steps, its value as `crosshead.losses` computes it, and its requirements."""

    steps: Callable[[ProbabilitySample], list[Step]]
    value: Callable[[ProbabilitySample], float]
    logarithmic: bool = True
    needs_target: bool = True
    sums_to_one: bool = True


MEASURES: Mapping[str, Measure] = {
    "cross_entropy": Measure(
        _cross_entropy, lambda sample: float(functions.cross_entropy_of(sample.goal, sample.p, base=sample.base))
    ),
    "bce": Measure(
        _binary,
        lambda sample: float(functions.binary_cross_entropy(sample.p, sample.goal, base=sample.base)),
        sums_to_one=False,
    ),
    "mse": Measure(
        _squared_error, lambda sample: float(functions.mean_squared_error(sample.p, sample.goal)), logarithmic=False
    ),
    "entropy": Measure(
        _entropy, lambda sample: float(functions.entropy(sample.p, base=sample.base)), needs_target=False
    ),
}
"""The losses that `explain_probabilities` explains, by name."""


def gradient_of(name: str, sample: ProbabilitySample) -> Float:
    """∂ℓ/∂p, (C,)."""
    p, y, factor = sample.p, sample.goal, 1 / np.log(sample.base)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "mse":
            return 2 * (p - y)
        wanted = np.where(y > 0, -y / p, 0.0)
        unwanted = np.where(y < 1, (1 - y) / (1 - p), 0.0) if name == "bce" else 0.0
        return np.asarray(factor * (wanted + unwanted))
