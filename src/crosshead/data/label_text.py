"""Labels in text files: whether 1, 01 and true are numbers, words or booleans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosshead.data.checks import Place
from crosshead.data.dataset import Array
from crosshead.data.errors import DataError, load_package

TARGET_NAMES = ("target", "label", "class", "y")

_WHOLE = re.compile(r"[+-]?\d+")
_PADDED = re.compile(r"[+-]?0\d+")
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf(inity)?)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:.*)?")
_TRUTH = frozenset({"true", "false"})


def likely_target(names: Sequence[str], target: str | None, learned: Mapping[str, Any] | None) -> str | None:
    """The likely column of labels: the given one, that of training, or one with a usual name.

    Examples
    --------
    >>> likely_target(["height", "Label"], None, None)
    'Label'
    """
    known = target if target is not None else (learned or {}).get("target")
    if known is not None:
        return str(known)
    usual = [name for name in names if name.lower() in TARGET_NAMES]
    return usual[0] if len(usual) == 1 else None


def labels_of_text(column: Any, name: str, place: Place, learned_type: str | None, notes: list[str]) -> Array:
    """Convert text to labels: integers, floats, booleans or words.

    Words are not changed, nor are whole numbers with leading zeros (postcodes) or more digits than an integer has:
    labels that are written differently always remain different. ``learned_type`` is the type of the labels in training.
    """
    source = place.source
    compute = load_package("pyarrow.compute", "crosshead[tables]", "reading tables")
    distinct = [str(text) for text in column.unique().to_pylist()]
    _refuse_blanks(column, distinct, name, place)
    missing = frozenset(load_package("pyarrow.csv", "crosshead[tables]", "reading CSV").ConvertOptions().null_values)
    present = [text for text in distinct if text.strip() not in missing]
    kind = "str" if learned_type == "str" else _meaning([text.strip() for text in present], learned_type)
    if len(present) < len(distinct):
        absent = next(text for text in distinct if text.strip() in missing)
        row = column.to_pylist().index(absent)
        if kind != "str":
            raise DataError(f"{source}: column {name!r} has no label at {place.row(row)}; fill it in or remove the row")
        notes.append(
            f"{source}: {absent!r} at {place.row(row)}, column {name!r}, is taken for a class of that name; "
            "remove such rows if the label is missing"
        )
    if kind == "date":
        raise DataError(
            f"{place.source}: column {name!r} holds dates, which cannot be labels; give integers or strings"
        )
    if kind == "str":
        return np.asarray(column.to_numpy().astype(np.str_))
    bare = compute.utf8_trim_whitespace(column)
    if kind == "bool":
        return np.asarray(compute.equal(compute.utf8_lower(bare), "true").to_numpy())
    values = bare.to_numpy().astype(np.str_)
    return np.asarray(values, dtype=np.int64 if kind == "int" else np.float64)


def _refuse_blanks(column: Any, distinct: Sequence[str], name: str, place: Place) -> None:
    """Raise DataError for blank labels, and for labels that differ only in blanks."""
    seen: dict[str, str] = {}
    for text in distinct:
        bare = text.strip()
        if not bare:
            row = column.to_pylist().index(text)
            raise DataError(
                f"{place.source}: label {name!r} is empty at {place.row(row)}; fill it in or remove the row"
            )
        if seen.setdefault(bare, text) != text and not _NUMBER.fullmatch(bare):
            row = place.row(column.to_pylist().index(text))
            raise DataError(
                f"{place.source}: labels {seen[bare]!r} and {text!r} ({row}) in column {name!r} differ only in blanks; "
                "make them the same"
            )


def _meaning(texts: Sequence[str], learned_type: str | None) -> str:
    if not texts:
        return "float"
    if all(_WHOLE.fullmatch(text) for text in texts):
        small = all(len(text.lstrip("+-0")) <= 19 and -(2**63) <= int(text) < 2**63 for text in texts)
        padded = learned_type != "int" and any(_PADDED.fullmatch(text) for text in texts)
        return "int" if small and not padded else "str"
    if all(text.lower() in _TRUTH for text in texts):
        return "bool"
    if all(_NUMBER.fullmatch(text) for text in texts) and any(text[-1].isdigit() or text[-1] == "." for text in texts):
        return "float"
    return "date" if all(_DATE.fullmatch(text) for text in texts) else "str"
