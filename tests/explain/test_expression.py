from __future__ import annotations

import math

import numpy as np
import pytest

from crosshead.explain.expression import evaluate, shown, with_numbers


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[
            (0.0, "0"),
            (-0.0, "0"),
            (1600.0, "1600"),
            (-2.5, "−2.5"),
            (1 / 3, "0.333333"),
            (2e-7, "2e−07"),
            (1e20, "1e+20"),
        ],
        *[(math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "NaN"), (1234567.0, "1234567"), (1234567.5, "1.23457e+06")],
    ],
)
def test_numbers_as_they_are_shown(number, text):
    assert shown(number) == text


@pytest.mark.parametrize(
    ("formula", "numbers", "text", "value"),
    [
        ("a - b", {"a": 1.0, "b": -2.0}, "1 − (−2)", 3.0),
        ("a + b", {"a": 1.0, "b": -2.0}, "1 − 2", -1.0),
        ("a - (b - c)", {"a": 1.0, "b": 2.0, "c": 3.0}, "1 − (2 − 3)", 2.0),
        ("a * b", {"a": -1.0, "b": -2.0}, "−1·(−2)", 2.0),
        ("a * (b + c)", {"a": 2.0, "b": 1.0, "c": 3.0}, "2·(1 + 3)", 8.0),
        ("a / (b * c)", {"a": 1.0, "b": 2.0, "c": 4.0}, "1 / (2·4)", 0.125),
        ("(a - b)**2", {"a": 1.0, "b": 3.0}, "(1 − 3)²", 4.0),
        ("a**2", {"a": -3.0}, "(−3)²", 9.0),
        ("a**b", {"a": 2.0, "b": 5.0}, "2^5", 32.0),
        ("-ln(p)", {"p": 1.0}, "−ln(1)", 0.0),
        ("log10(p) + log2(p)", {"p": 1.0}, "log₁₀(1) + log₂(1)", 0.0),
        ("abs(a) + sqrt(b)", {"a": -2.0, "b": 9.0}, "|−2| + √(9)", 5.0),
        ("min(a, b)", {"a": -2.0, "b": 9.0}, "min(−2, 9)", -2.0),
        ("sum(v)", {"v": (1.0, -2.0, 3.0)}, "1 − 2 + 3", 2.0),
        ("-sum(v)", {"v": (1.0, 1.0)}, "−(1 + 1)", -2.0),
        ("sum(v) / n", {"v": (1.0, 2.0), "n": 2.0}, "(1 + 2) / 2", 1.5),
        ("sum(v)", {"v": ()}, "0", 0.0),
        ("norm(v)", {"v": (3.0, -4.0)}, "√(3² + (−4)²)", 5.0),
        ("squares(v)", {"v": (3.0, -4.0)}, "3² + (−4)²", 25.0),
        ("sizes(v)", {"v": (3.0, -4.0)}, "|3| + |−4|", 7.0),
        ("dot(v, w)", {"v": (3.0, -4.0), "w": (1.0, -2.0)}, "3·1 − 4·(−2)", 11.0),
        ("softplus(-z)", {"z": -2.0}, "ln(1 + exp(−(−2)))", math.log1p(math.exp(2.0))),
        ("sigmoid(z)", {"z": 2.0}, "1 / (1 + exp(−2))", 1 / (1 + math.exp(-2.0))),
        ("sigmoid(z) - y", {"z": -2.0, "y": 1.0}, "1 / (1 + exp(2)) − 1", 1 / (1 + math.exp(2.0)) - 1),
    ],
)
def test_formulas(formula, numbers, text, value):
    assert with_numbers(formula, numbers) == text
    assert evaluate(formula, numbers) == pytest.approx(value, rel=1e-14, abs=1e-15)


def test_long_sums_are_cut_short_but_counted_whole():
    numbers = {"v": tuple(float(k) for k in range(1, 101))}
    assert with_numbers("sum(v)", numbers) == "1 + 2 + 3 + … + 100"
    assert evaluate("sum(v)", numbers) == 5050.0


def test_numbers_that_nearly_cancel_are_shown_in_more_digits():
    assert with_numbers("a - b", {"a": 1.0, "b": 1 - 2e-9}) == "1 − 0.999999998"
    assert with_numbers("a - b", {"a": 1.0, "b": 1 / 3}) == "1 − 0.333333"


@pytest.mark.parametrize("z", [-1e4, -800.0, 800.0, 1e4])
def test_nothing_overflows_that_need_not(z):
    assert evaluate("softplus(z)", {"z": z}) == np.logaddexp(0, z)
    assert evaluate("sigmoid(z)", {"z": z}) == (1.0 if z > 0 else np.exp(z))


@pytest.mark.parametrize("formula", ["v + 1", "sum(2)", "a @ a", "a if a else a", "__import__('os')", "a.real"])
def test_what_is_no_formula_is_refused(formula):
    with pytest.raises((ValueError, KeyError)):
        evaluate(formula, {"v": (1.0,), "a": 1.0})
