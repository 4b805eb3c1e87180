"""Formulas that are evaluated and displayed with their numbers from one expression, so that both always agree."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

Number = float | tuple[float, ...]
Numbers = Mapping[str, Number]

MAX_TERMS = 8
"""Longer sums are shown by their first and last terms."""

DIGITS = 6
MORE_DIGITS = (9, 12, 17)
"""Significant digits shown, and shown where that many would not reproduce the result."""

AGREEMENT, ROUNDING = 1e-4, 1e-14
"""Tolerance for the result recomputed from the displayed numbers: relative to it, or to the numbers if they cancel."""

ADDITIVE, MULTIPLICATIVE, SIGNED, POWER, ATOM = range(5)
"""Operator precedences, lowest first."""


def shown(number: float, digits: int = DIGITS) -> str:
    """Format a number with six significant digits, whole numbers in full, and a proper minus sign.

    Examples
    --------
    >>> shown(-1.7 - 3.2 + 1), shown(11207.0), shown(float("inf")), shown(1e-9)
    ('−3.9', '11207', '∞', '1e−09')
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    whole = abs(number) < 1e15 and number == int(number)
    return (str(int(number)) if whole else f"{number:.{digits}g}").replace("-", "−")


def evaluate(formula: str, numbers: Numbers) -> float:
    """Evaluate a formula in float64.

    Formulas have + − · / and powers, max, min, abs, exp, ln, log2, log10, sqrt, softplus(u) = ln(1 + exp(u)),
    sigmoid(u) = 1/(1 + exp(−u)), and over lists sum, dot, norm (Euclidean), squares (their sum) and sizes (the sum
    of absolute values). Intermediate results do not overflow if the result does not.

    Examples
    --------
    >>> evaluate("max(0, z - y + margin)", {"z": 5.0, "y": 3.0, "margin": 1.0})
    3.0
    """
    with np.errstate(all="ignore"):
        return float(_value(_parsed(formula), numbers))


def with_numbers(formula: str, numbers: Numbers) -> str:
    """Write a formula with every name replaced by its number.

    Numbers that nearly cancel get as many digits as are needed to reproduce the result.

    Examples
    --------
    >>> with_numbers("max(0, z - y + margin)", {"z": -1.7, "y": 3.2, "margin": 1.0})
    'max(0, −1.7 − 3.2 + 1)'
    >>> with_numbers("dot(w, x) + b", {"w": (0.5, -2.0), "x": (4.0, 3.0), "b": -1.0})
    '0.5·4 − 2·3 − 1'
    """
    return _Writer(numbers, _digits(formula, numbers)).text(_parsed(formula))[0]


def _digits(formula: str, numbers: Numbers) -> int:
    """How many digits the numbers need to reproduce the formula's value with a calculator."""
    if any(isinstance(number, tuple) and len(number) > MAX_TERMS for number in numbers.values()):
        return DIGITS
    exact = evaluate(formula, numbers)
    rounding = ROUNDING * max((float(np.max(np.abs(number), initial=0.0)) for number in numbers.values()), default=0.0)
    for digits in (DIGITS, *MORE_DIGITS):
        rounded = evaluate(formula, {name: _rounded(number, digits) for name, number in numbers.items()})
        if rounded == exact or abs(rounded - exact) <= max(AGREEMENT * abs(exact), rounding) or math.isnan(exact):
            return digits
    return MORE_DIGITS[-1]


def _rounded(number: Number, digits: int) -> Number:
    if isinstance(number, tuple):
        return tuple(float(f"{part:.{digits}g}") for part in number)
    return float(f"{number:.{digits}g}")


@lru_cache(maxsize=256)
def _parsed(formula: str) -> ast.expr:
    return ast.parse(formula, mode="eval").body


def _sigmoid(u: np.float64) -> np.float64:
    return np.float64(np.exp(np.minimum(u, 0)) / (1 + np.exp(-np.abs(u))))


_FUNCTIONS: Mapping[str, Callable[..., np.float64]] = {
    "max": lambda *values: np.float64(max(values)),
    "min": lambda *values: np.float64(min(values)),
    "abs": np.abs,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "softplus": lambda u: np.float64(np.logaddexp(0.0, u)),
    "sigmoid": _sigmoid,
}
_OVER_LISTS: Mapping[str, Callable[..., np.float64]] = {
    "sum": lambda values: np.float64(math.fsum(values) if np.isfinite(values).all() else np.sum(values)),
    "dot": lambda left, right: np.float64(np.dot(left, right)),
    "norm": lambda values: np.float64(np.linalg.norm(values)),
    "squares": lambda values: np.float64(np.dot(values, values)),
    "sizes": lambda values: np.float64(np.abs(values).sum()),
}


def _value(node: ast.expr, numbers: Numbers) -> np.float64:
    match node:
        case ast.Constant(value=int() | float() as constant):
            return np.float64(constant)
        case ast.Name(id=name):
            return np.float64(_scalar(name, numbers))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return np.float64(-_value(operand, numbers))
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(operator, _value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _OVER_LISTS:
            return _OVER_LISTS[name](*(np.array(_sequence(argument, numbers)) for argument in arguments))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return np.float64(_FUNCTIONS[name](*(_value(argument, numbers) for argument in arguments)))
    raise ValueError(f"not a formula: {ast.unparse(node)}")


def _combined(operator: ast.operator, left: np.float64, right: np.float64) -> np.float64:
    match operator:
        case ast.Add():
            return np.float64(left + right)
        case ast.Sub():
            return np.float64(left - right)
        case ast.Mult():
            return np.float64(left * right)
        case ast.Div():
            return np.float64(left / right)
        case ast.Pow():
            return np.float64(left**right)
    raise ValueError(f"no such operation in formulas: {type(operator).__name__}")


def _scalar(name: str, numbers: Numbers) -> float:
    number = numbers[name]
    if isinstance(number, tuple):
        raise ValueError(f"{name} is a list; only sum, dot, norm, squares and sizes take lists")
    return number


def _sequence(node: ast.expr, numbers: Numbers) -> Sequence[float]:
    if not isinstance(node, ast.Name):
        raise ValueError("functions of lists take names of lists")
    values = numbers[node.id]
    return values if isinstance(values, tuple) else (values,)


class _Writer:
    """Writes formulas with their numbers in a number of digits; each part is a pair of text and precedence."""

    def __init__(self, numbers: Numbers, digits: int) -> None:
        self._numbers, self._digits = numbers, digits

    def text(self, node: ast.expr) -> tuple[str, int]:
        match node:
            case ast.Constant(value=int() | float() as constant):
                return self._number(float(constant))
            case ast.Name(id=name):
                return self._number(_scalar(name, self._numbers))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"−{_within(self.text(operand), POWER)}", SIGNED
            case ast.BinOp(left=left, op=operator, right=right):
                return _operation(operator, self.text(left), self.text(right))
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _OVER_LISTS:
                return self._list(name, [_sequence(argument, self._numbers) for argument in arguments])
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return _call(name, [self.text(argument) for argument in arguments])
        raise ValueError(f"not a formula: {ast.unparse(node)}")

    def _number(self, number: float) -> tuple[str, int]:
        return shown(number, self._digits), SIGNED if number < 0 else ATOM

    def _list(self, name: str, lists: Sequence[Sequence[float]]) -> tuple[str, int]:
        count = len(lists[0])
        places = list(range(count)) if count <= MAX_TERMS else [0, 1, 2, count - 1]
        if name == "sum":
            terms = [self._number(lists[0][place]) for place in places]
        elif name == "dot":
            pairs = [(self._number(lists[0][place]), self._number(lists[1][place])) for place in places]
            terms = [_operation(ast.Mult(), left, right) for left, right in pairs]
        elif name == "sizes":
            terms = [_call("abs", [self._number(lists[0][place])]) for place in places]
        else:
            terms = [_operation(ast.Pow(), self._number(lists[0][place]), ("2", ATOM)) for place in places]
        if count > MAX_TERMS:
            terms.insert(3, ("…", ATOM))
        text = _sum_text(terms) if terms else "0"
        if name == "norm":
            return f"√({text})", ATOM
        return text, terms[0][1] if len(terms) == 1 else ADDITIVE


def _within(part: tuple[str, int], tightness: int) -> str:
    text, own = part
    return text if own >= tightness else f"({text})"


def _operation(operator: ast.operator, left: tuple[str, int], right: tuple[str, int]) -> tuple[str, int]:
    match operator:
        case ast.Add():
            return _sum_text([left, right]), ADDITIVE
        case ast.Sub():
            return f"{left[0]} − {_within(right, POWER if right[1] == SIGNED else MULTIPLICATIVE)}", ADDITIVE
        case ast.Mult():
            tight = POWER if right[1] == SIGNED else MULTIPLICATIVE
            return f"{_within(left, MULTIPLICATIVE)}·{_within(right, tight)}", MULTIPLICATIVE
        case ast.Div():
            return f"{_within(left, MULTIPLICATIVE)} / {_within(right, POWER)}", MULTIPLICATIVE
    exponent = {"2": "²", "3": "³"}.get(right[0])
    base = _within(left, ATOM)
    return (f"{base}{exponent}" if exponent else f"{base}^{_within(right, ATOM)}"), POWER


def _sum_text(parts: Sequence[tuple[str, int]]) -> str:
    """Join terms with plus signs, except before terms that begin with a minus sign."""
    text = parts[0][0]
    for term, _ in parts[1:]:
        text += f" − {term[1:]}" if term.startswith("−") else f" + {term}"
    return text


def _call(name: str, arguments: Sequence[tuple[str, int]]) -> tuple[str, int]:
    texts = [text for text, _ in arguments]
    match name:
        case "abs":
            return f"|{texts[0]}|", ATOM
        case "sqrt":
            return f"√({texts[0]})", ATOM
        case "softplus":
            return f"ln(1 + exp({texts[0]}))", ATOM
        case "sigmoid":
            return f"1 / (1 + exp({_negated(arguments[0])}))", MULTIPLICATIVE
    subscript = {"log2": "log₂", "log10": "log₁₀"}
    return f"{subscript.get(name, name)}({', '.join(texts)})", ATOM


def _negated(part: tuple[str, int]) -> str:
    text, own = part
    return text[1:] if own == SIGNED else f"−{_within(part, POWER)}"
