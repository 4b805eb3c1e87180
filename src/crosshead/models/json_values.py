"""Validators of JSON documents: each function creates a check of one value.

A check raises `InvalidValueError` with the value's path in the document, as ``encoding.columns[3].name``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any, str], None]

LARGEST_WHOLE = (1 << 63) - 1


class InvalidValueError(ValueError):
    """Error for an invalid value, with its path and what was expected."""

    def __init__(self, place: str, expected: str, found: Any):
        shown = f"{type(found).__name__}" if isinstance(found, list | dict) else repr(found)
        super().__init__(f"{place} is {shown[:60]}, not {expected}")


def anything(value: Any, place: str) -> None:
    """Any JSON value."""


def flag(value: Any, place: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise InvalidValueError(place, "true or false", value)


def text(value: Any, place: str) -> None:
    """Text."""
    if not isinstance(value, str):
        raise InvalidValueError(place, "text", value)


def utf8(value: Any, place: str) -> None:
    """Text that is valid UTF-8: without lone surrogates."""
    text(value, place)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(place, "text in UTF-8", value) from error


def name(value: Any, place: str) -> None:
    """Non-empty text that is valid UTF-8."""
    utf8(value, place)
    if not value:
        raise InvalidValueError(place, "a name", value)


def one_of(*known: Any) -> Check:
    """One of some values."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(one) and value == one for one in known):
            raise InvalidValueError(place, f"one of {', '.join(map(str, known))}", value)

    return check


def whole(least: int = 0, most: int = LARGEST_WHOLE) -> Check:
    """A whole number within bounds."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not least <= value <= most:
            raise InvalidValueError(place, f"a whole number from {least} to {most}", value)

    return check


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Check:
    """A finite number within bounds; more than ``above``."""

    def check(value: Any, place: str) -> None:
        is_number = type(value) is float or (type(value) is int and abs(value) <= LARGEST_WHOLE)
        if not is_number or not math.isfinite(value) or not least <= value <= most or not value > above:
            bounds = (f" from {least:g}" if least > -math.inf else "") + (f" to {most:g}" if most < math.inf else "")
            raise InvalidValueError(
                place, f"a finite number{bounds}" + (f" above {above:g}" if above > -math.inf else ""), value
            )

    return check


def or_none(check: Check) -> Check:
    """A value that passes the check, or null."""

    def either(value: Any, place: str) -> None:
        if value is not None:
            check(value, place)

    return either


def any_of(*checks: Check) -> Check:
    """A value that passes one of the checks; errors are those of the last."""

    def check(value: Any, place: str) -> None:
        for one in checks[:-1]:
            try:
                return one(value, place)
            except InvalidValueError:
                continue
        return checks[-1](value, place)

    return check


def items(check: Check, least: int = 0, most: int = LARGEST_WHOLE) -> Check:
    """A list of ``least`` to ``most`` values that pass the check."""

    def check_all(value: Any, place: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            bounds = f" of {least}" if least == most else f" of at least {least}" if least else ""
            raise InvalidValueError(place, f"a list{bounds}", value)
        for position, one in enumerate(value):
            check(one, f"{place}[{position}]")

    return check_all


def by_name(check: Check) -> Check:
    """An object with any names, whose values pass the check."""

    def check_all(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidValueError(place, "an object", value)
        for key, one in value.items():
            check(one, f"{place}.{key}")

    return check_all


def record(
    needed: Mapping[str, Check],
    known: Mapping[str, Check] | None = None,
    *,
    open_ended: bool = False,
    also: Sequence[Check] = (),
) -> Check:
    """An object with all ``needed`` names, optional ``known`` names, and others only if ``open_ended``.

    ``also`` are checks of the object as a whole.
    """
    checks = {**needed, **(known or {})}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidValueError(place, "an object", value)
        prefix = f"{place}." if place else ""
        for key in needed:
            if key not in value:
                raise InvalidValueError(f"{prefix}{key}", "there, as it must be", None)
        for key, one in value.items():
            if key in checks:
                checks[key](one, f"{prefix}{key}")
            elif not open_ended:
                raise InvalidValueError(f"{prefix}{key}", "known", one)
        for together in also:
            together(value, place)

    return check


def by_kind(kinds: Mapping[str, Check], default: Check | None = None) -> Check:
    """An object whose ``kind`` selects its check; ``default`` is for an object without one."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidValueError(place, "an object", value)
        kind = value.get("kind")
        if kind is None and "kind" not in value and default is not None:
            return default(value, place)
        if not isinstance(kind, str) or kind not in kinds:
            raise InvalidValueError(f"{place}.kind", f"one of {', '.join(kinds)}", kind)
        return kinds[kind](value, place)

    return check
