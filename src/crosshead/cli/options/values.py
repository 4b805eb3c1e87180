"""How the texts of a command line become numbers and names. Imports nothing heavy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from crosshead.cli.errors import UsageError

HIGHEST_SEED = (1 << 32) - 1


def choice(option: str, value: str, known: Sequence[str]) -> str:
    """The value, if it is one of those known.

    Examples
    --------
    >>> choice("--scale", "maxabs", ("none", "maxabs"))
    'maxabs'
    """
    if value not in known:
        raise UsageError(f"{option} {value}: choose one of {', '.join(known)}")
    return value


def number(option: str, text: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
    """A number or a fraction of two, between ``lowest`` and ``highest``.

    Examples
    --------
    >>> number("--alpha", "1/50000"), number("--alpha", "1e-4")
    (2e-05, 0.0001)
    """
    return _number(f"{option} {text}", text, lowest, highest)


def numbers(option: str, text: str) -> list[float]:
    """The numbers of a list such as "3.2,5.1,-1.7" or "63/64,1/64"; each must be finite.

    Examples
    --------
    >>> numbers("--scores", "-1,2.5,1/4")
    [-1.0, 2.5, 0.25]
    """
    values = []
    for place, part in enumerate(text.split(","), start=1):
        value = _quotient(part)
        if value is None or not math.isfinite(value):
            raise UsageError(f"{option} {text}: number {place} is {part.strip()!r}; give finite numbers with commas")
        values.append(value)
    return values


def named_numbers(option: str, texts: Sequence[str], *, like: str) -> dict[str, float]:
    """Numbers by name; ``like`` says what is wanted where something else stands there.

    Examples
    --------
    >>> named_numbers("--class-weight", ["cat=2", "dog=1/2"], like="a class and a number")
    {'cat': 2.0, 'dog': 0.5}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, sign, said = text.rpartition("=")
        if not sign or not name.strip():
            raise UsageError(f"{option} {text}: give {like}")
        name = name.strip()
        if name in found:
            raise UsageError(f"{option} {text}: {name!r} was given before; give it once")
        found[name] = _number(f"{option} {text}", said, 0.0, math.inf)
    return found


def above_zero(option: str, text: str, *, highest: float = math.inf) -> float:
    """A number above 0, and no higher than ``highest``.

    Examples
    --------
    >>> above_zero("--crop", "7/8", highest=1.0)
    0.875
    """
    value = number(option, text, highest=highest)
    if value == 0:
        raise UsageError(f"{option} {text}: it must be above 0")
    return value


def share(option: str, text: str) -> float:
    """A number strictly between 0 and 1.

    Examples
    --------
    >>> share("--level", "0.9"), share("--level", "9/10")
    (0.9, 0.9)
    """
    value = number(option, text)
    if not 0 < value < 1:
        raise UsageError(f"{option} {text}: it must lie between 0 and 1")
    return value


def whole_numbers(option: str, text: str) -> list[int]:
    """The whole numbers above 0 of a list.

    Examples
    --------
    >>> whole_numbers("--widths", "16,32")
    [16, 32]
    """
    values = numbers(option, text)
    if any(value != int(value) or value < 1 for value in values):
        raise UsageError(f"{option} {text}: give whole numbers above 0 with commas, such as 16,32,64")
    return [int(value) for value in values]


def whole(option: str, value: int, *, highest: int) -> int:
    """The value, if it lies between 0 and ``highest``.

    Examples
    --------
    >>> whole("--seed", 7, highest=9)
    7
    """
    if not 0 <= value <= highest:
        raise UsageError(f"{option} {value}: it must lie between 0 and {highest}")
    return value


def image_size(option: str, text: str) -> tuple[int, int]:
    """(height, width) from "WIDTHxHEIGHT"; one number is both.

    Examples
    --------
    >>> image_size("--size", "92x112"), image_size("--size", "28")
    ((112, 92), (28, 28))
    """
    found = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    if found is None or not all(int(side) for side in found.groups() if side is not None):
        raise UsageError(f"{option} {text}: give width x height in pixels, such as 32x32")
    width = int(found[1])
    return (width if found[2] is None else int(found[2])), width


def held_out_fraction(text: str) -> float | None:
    """The fraction that ``--test`` asks for, or None where it names a source.

    Examples
    --------
    >>> held_out_fraction("0.2"), held_out_fraction("1/5"), held_out_fraction("test.csv")
    (0.2, 0.2, None)
    """
    value = _quotient(text)
    if value is None:
        return None
    if not 0.0 < value < 1.0:
        raise UsageError(f"--test {text}: a fraction of the rows must lie between 0 and 1")
    return value


def _number(said: str, text: str, lowest: float, highest: float) -> float:
    value = _quotient(text)
    if value is None or not math.isfinite(value):
        raise UsageError(f"{said}: give a number such as 0.0001, 1e-4 or 1/10000")
    if not lowest <= value <= highest:
        limits = f"at least {lowest:g}" if highest == math.inf else f"between {lowest:g} and {highest:g}"
        raise UsageError(f"{said}: it must be {limits}")
    return value


def _quotient(text: str) -> float | None:
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        return None
