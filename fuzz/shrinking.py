"""A failing case made small: fewer edits, less in each, fewer options, and still the same failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fuzz.cases import Case
from fuzz.guard import Verdict
from fuzz.workers import run_one

MOST_TRIES = 60


def shrink(case: Case, verdict: Verdict) -> Case:
    """The smallest case found that fails with the same signature."""
    tries = 0
    small, again = case, True
    while again:
        again = False
        for candidate in _smaller(small):
            tries += 1
            if tries > MOST_TRIES:
                return small
            if run_one(candidate).signature == verdict.signature:
                small, again = candidate, True
                break
    return replace(small, says=f"{verdict.outcome} {verdict.where} {verdict.message[:120]}".strip())


def _smaller(case: Case) -> Iterator[Case]:
    """Cases that are simpler by one step."""
    for at in range(len(case.edits)):
        if len(case.edits) > 1:
            yield replace(case, edits=case.edits[:at] + case.edits[at + 1 :])
    if case.target != "command":
        for name in case.options:
            yield replace(case, options={key: value for key, value in case.options.items() if key != name})
    for at, edit in enumerate(case.edits):
        for simpler in _simpler(edit):
            yield replace(case, edits=[*case.edits[:at], simpler, *case.edits[at + 1 :]])


def _simpler(edit: list[Any]) -> Iterator[list[Any]]:
    """The same edit with less in it."""
    if edit[0] == "inside":
        for inner in _simpler(edit[3]):
            yield [*edit[:3], inner]
        return
    for at, value in enumerate(edit):
        if at < 2:
            continue
        if isinstance(value, dict) and "times" in value and value["times"] > 1:
            yield [*edit[:at], {**value, "times": value["times"] // 10 or 1}, *edit[at + 1 :]]
        elif isinstance(value, dict) and len(value) > 1 and "hex" not in value:
            for name in value:
                yield [*edit[:at], {key: inner for key, inner in value.items() if key != name}, *edit[at + 1 :]]
        elif isinstance(value, str) and len(value) > 8 and edit[0] in ("insert", "cell", "npy-text"):
            yield [*edit[:at], value[: len(value) // 2], *edit[at + 1 :]]
