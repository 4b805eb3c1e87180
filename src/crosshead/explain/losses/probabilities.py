"""The lessons on losses of probabilities: cross-entropy, binary cross-entropy, squared error, entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import e
from typing import Any

import numpy as np

from crosshead.explain.loss_steps import as_tuple, logarithm
from crosshead.explain.sample import chosen
from crosshead.explain.steps import Line, Step
from crosshead.losses import functions
from crosshead.losses.protocol import Float


@dataclass(frozen=True)
class Given:
    """One sample's probabilities, its target as numbers (C,), and the index of its class, −1 where it has none."""

    p: Float
    goal: Float
    target: int
    classes: tuple[str, ...]
    base: float

    @property
    def shown(self) -> tuple[int, ...]:
        """The columns worth a line."""
        return chosen(self.p, [self.target] if self.target >= 0 else [])

    def lines(self, line: Callable[[int], Line]) -> tuple[Line, ...]:
        """A line for each column that is shown."""
        return tuple(line(column) for column in self.shown)

    def log(self, sign: str, column: int, **numbers: float) -> tuple[str, dict[str, Any]]:
        """``sign`` log p of a column, as an expression with its numbers."""
        expression = sign + logarithm(self.base)
        numbers = {"p": float(self.p[column]), **numbers}
        return expression, {**numbers, "base": self.base} if "base" in expression else numbers

    def marked(self, column: int) -> bool:
        """Whether a column is the true class's."""
        return column == self.target


def _cross_entropy(given: Given) -> list[Step]:
    name = {e: "ln", 2: "log₂", 10: "log₁₀"}.get(given.base, f"log_{given.base:g}")
    if given.target >= 0:
        expression, numbers = given.log("-", given.target)
        total = Line("loss", expression, numbers)
        text = "The negative log-likelihood: only the probability of the true class counts."
        return [Step("loss", "Loss", f"ℓ = −{name} p_y", (), total, text), *_gradients(given)]
    lines, terms = [], []
    for column in range(len(given.p)):
        if given.goal[column] == 0:
            continue
        expression, numbers = given.log("-y * ", column, y=float(given.goal[column]))
        line = Line(given.classes[column], expression, numbers)
        terms.append(line.value)
        if column in given.shown:
            lines.append(line)
    total = Line("loss", "sum(terms)", {"terms": as_tuple(terms)})
    text = "Every class is charged −log p, weighted by its share of the truth; a class without a share costs nothing."
    return [Step("loss", "Loss", f"ℓ = −Σ_c y_c·{name} p_c", tuple(lines), total, text), *_gradients(given)]


def _gradients(given: Given) -> list[Step]:
    def on_probability(c: int) -> Line:
        goal = float(given.goal[c])
        if goal == 0:
            return Line(given.classes[c], "0", {})
        numbers = {"y": goal, "p": float(given.p[c])}
        if given.base == e:
            return Line(given.classes[c], "-y / p", numbers, marked=given.marked(c))
        return Line(given.classes[c], "-y / (p * ln(base))", {**numbers, "base": given.base}, marked=given.marked(c))

    def on_score(c: int) -> Line:
        numbers = {"p": float(given.p[c]), "y": float(given.goal[c])}
        if given.base == e:
            return Line(given.classes[c], "p - y", numbers, marked=given.marked(c))
        return Line(given.classes[c], "(p - y) / ln(base)", {**numbers, "base": given.base}, marked=given.marked(c))

    per = "" if given.base == e else " / ln(base)"
    return [
        Step(
            "gradient",
            "Gradient on the probabilities",
            f"∂ℓ/∂p_c = −y_c / p_c{per}",
            given.lines(on_probability),
            None,
            "The smaller the probability of what is true, the harder the push.",
        ),
        Step(
            "score_gradient",
            "Gradient on the scores, if p = softmax(z)",
            "∂ℓ/∂z_c = p_c − y_c" if given.base == e else f"∂ℓ/∂z_c = (p_c − y_c){per}",
            given.lines(on_score),
            None,
            "Through softmax the division by p cancels, and no push is larger than 1.",
        ),
    ]


def _binary(given: Given) -> list[Step]:
    def line(c: int) -> Line:
        goal = float(given.goal[c])
        wanted = given.log("-", c) if goal == 1 else None
        if wanted is not None:
            return Line(given.classes[c], *wanted, note="should be yes", marked=given.marked(c))
        unwanted = logarithm(given.base).replace("(p)", "(1 - p)")
        numbers = {"p": float(given.p[c])}
        if "base" in unwanted:
            numbers["base"] = given.base
        if goal == 0:
            return Line(given.classes[c], f"-{unwanted}", numbers, "should be no")
        expression = f"-y * {logarithm(given.base)} - (1 - y) * {unwanted}"
        return Line(given.classes[c], expression, {**numbers, "y": goal}, "a target between no and yes")

    terms = [line(column).value for column in range(len(given.p))]
    loss = Step(
        "loss",
        "Binary cross-entropies and loss",
        "ℓ = Σ_c −y_c·log p_c − (1 − y_c)·log(1 − p_c)",
        given.lines(line),
        Line("loss", "sum(terms)", {"terms": as_tuple(terms)}),
        "Each class is a question of its own; a yes costs −log p, a no costs −log(1 − p).",
    )

    def slope(c: int) -> Line:
        numbers = {"p": float(given.p[c]), "y": float(given.goal[c])}
        # At p = y the quotient is 0/0 for p = 0 or 1; its limit from inside is 1/(1 − p) or −1/p.
        if given.goal[c] == 1:
            expression = "-1 / p"
        elif given.goal[c] == 0:
            expression = "1 / (1 - p)"
        else:
            expression = "(p - y) / (p * (1 - p))"
        if given.base != e:
            expression = f"{expression} / ln(base)"
            numbers["base"] = given.base
        return Line(given.classes[c], expression, numbers, marked=given.marked(c))

    text = "Steep where a confident answer is wrong."
    formula = "∂ℓ/∂p_c = (p_c − y_c) / (p_c·(1 − p_c))"
    return [loss, Step("gradient", "Gradient on the probabilities", formula, given.lines(slope), None, text)]


def _squared_error(given: Given) -> list[Step]:
    def line(expression: str) -> Callable[[int], Line]:
        return lambda c: Line(
            given.classes[c],
            expression,
            {"p": float(given.p[c]), "y": float(given.goal[c])},
            marked=given.marked(c),
        )

    return [
        Step(
            "loss",
            "Loss",
            "ℓ = Σ_c (p_c − y_c)²",
            given.lines(line("(p - y)**2")),
            Line("loss", "sum(terms)", {"terms": as_tuple((given.p - given.goal) ** 2)}),
            "The squared distance from the target, summed over the classes and not divided by their number: the Brier "
            "score of one sample.",
        ),
        Step(
            "gradient",
            "Gradient on the probabilities",
            "∂ℓ/∂p_c = 2·(p_c − y_c)",
            given.lines(line("2 * (p - y)")),
            None,
            "Never more than 2, however wrong a confident answer is.",
        ),
    ]


def _entropy(given: Given) -> list[Step]:
    def line(c: int) -> Line:
        if given.p[c] == 0:
            return Line(given.classes[c], "0", {}, "0·log 0 counts as 0")
        return Line(given.classes[c], *given.log("-p * ", c))

    terms = [line(column).value for column in range(len(given.p))]
    return [
        Step(
            "loss",
            "Entropy",
            "H = −Σ_c p_c·log p_c",
            given.lines(line),
            Line("entropy", "sum(terms)", {"terms": as_tuple(terms)}),
            "How uncertain the distribution is by itself: 0 where one class has all of it, log C where all are equal.",
        )
    ]


@dataclass(frozen=True)
class Measure:
    """A loss of probabilities: its steps, its value as the losses room computes it, and what it asks for."""

    steps: Callable[[Given], list[Step]]
    value: Callable[[Given], float]
    logarithmic: bool = True
    needs_target: bool = True
    sums_to_one: bool = True


MEASURES: Mapping[str, Measure] = {
    "cross_entropy": Measure(
        _cross_entropy, lambda given: float(functions.cross_entropy_of(given.goal, given.p, base=given.base))
    ),
    "bce": Measure(
        _binary,
        lambda given: float(functions.binary_cross_entropy(given.p, given.goal, base=given.base)),
        sums_to_one=False,
    ),
    "mse": Measure(
        _squared_error, lambda given: float(functions.mean_squared_error(given.p, given.goal)), logarithmic=False
    ),
    "entropy": Measure(_entropy, lambda given: float(functions.entropy(given.p, base=given.base)), needs_target=False),
}
"""What can be explained from probabilities, by name."""


def gradient_of(name: str, given: Given) -> Float:
    """∂ℓ/∂p, (C,)."""
    p, y, factor = given.p, given.goal, 1 / np.log(given.base)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "mse":
            return 2 * (p - y)
        wanted = np.where(y > 0, -y / p, 0.0)
        unwanted = np.where(y < 1, (1 - y) / (1 - p), 0.0) if name == "bce" else 0.0
        return np.asarray(factor * (wanted + unwanted))
