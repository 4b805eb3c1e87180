"""Which methods a fit used, and what its runs came to. The one place in benchmarks that knows how solvers are laid out.

A method that calls another is not named: the sequence is that of the methods that did the steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from crosshead.solvers.costs import quadratic_program_fits
from crosshead.solvers.methods.interior_point import InteriorPoint
from crosshead.solvers.plan import METHODS

ENTRY = "minimise_with"  # the function that every run goes through, called with its method and objective
CALLS = ("start", "step")  # what a method does work in


@dataclass
class RunTrace:
    """One run of the solver: the method it was given, and those that did the steps, in turn."""

    outer: str
    methods: list[str] = field(default_factory=list)
    result: Any = None


@dataclass
class Trace:
    """All runs of whatever was done while it was recorded."""

    runs: list[RunTrace] = field(default_factory=list)
    open: list[RunTrace] = field(default_factory=list)
    nested: list[bool] = field(default_factory=list)

    @property
    def last_method(self) -> str:
        """The method that did the last step of the last run."""
        every = [name for run in [*self.runs, *self.open] for name in run.methods]
        return every[-1] if every else "none"

    def call(self, name: str, function: Callable[..., Any], arguments: Any, options: Any) -> Any:
        """A call of a method, which counts as its own work unless it calls another one."""
        if self.nested:
            self.nested[-1] = True
        self.nested.append(False)
        try:
            return function(*arguments, **options)
        finally:
            if not self.nested.pop() and self.open:
                names = self.open[-1].methods
                if names[-1:] != [name]:
                    names.append(name)


def method_classes() -> list[type]:
    """All methods there are."""
    return list(METHODS)


@contextmanager
def recorded() -> Iterator[Trace]:
    """Record the runs of all fits inside, of one thread."""
    trace, undo = Trace(), []
    for each in method_classes():
        for call in CALLS:
            if call in vars(each):
                undo.append((each, call, vars(each)[call]))
                setattr(each, call, _watched(trace, each.__name__, vars(each)[call]))
    modules = [m for name, m in sys.modules.items() if name.startswith("crosshead.") and ENTRY in vars(m)]
    if not modules:
        raise RuntimeError(f"no module of crosshead has {ENTRY!r}: benchmarks/tracing.py knows another layout")
    for module in modules:
        undo.append((module, ENTRY, vars(module)[ENTRY]))
        setattr(module, ENTRY, _opened(trace, vars(module)[ENTRY]))
    try:
        yield trace
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)


def _watched(trace: Trace, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def watched(*arguments: Any, **options: Any) -> Any:
        return trace.call(name, function, arguments, options)

    return watched


def _opened(trace: Trace, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def opened(method: Any, *arguments: Any, **options: Any) -> Any:
        run = RunTrace(type(method).__name__)
        trace.open.append(run)
        run.result = function(method, *arguments, **options)
        trace.runs.append(trace.open.pop())
        return run.result

    return opened


def alternatives(objective: Any) -> dict[str, Any]:
    """Methods that can minimise an objective, by name, whether or not one of them is what it would be given."""
    facts = objective.facts
    return {
        method.__name__: method()
        for method in METHODS
        if method.needs <= facts.traits and (method is not InteriorPoint or quadratic_program_fits(facts))
    }
