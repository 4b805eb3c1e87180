"""The optimum that relative suboptimality is measured from: a float64 run to a tiny certified gap."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from measure import Data, run_fit
from peers import REFERENCE
from problems import Problem

CLOSE = 1e-10  # a gap at which F* counts as known
ROUNDING = 1e-12  # by which two float64 evaluations of the same objective may differ, relatively


@dataclass(frozen=True)
class Optimum:
    """F at the best weights of the float64 run by the independent objective, and the bound that no F is below."""

    problem: Problem
    value: float
    bound: float
    seconds: float
    density: float
    words: str
    version: str

    @property
    def gap(self) -> float:
        """How far, relatively, the true optimum may be below the value."""
        return (self.value - self.bound) / abs(self.value)

    def suboptimality(self, objective: float) -> float:
        """(F − F*) / F*. Below zero only by what the gap leaves open."""
        return (objective - self.value) / abs(self.value)

    def improved_by(self, solver: str, objective: float) -> Optimum:
        """Itself; or, where it was not certified close and a solver got lower, with that for F*."""
        if not objective < self.value or self.gap <= CLOSE or self.contradicts(objective):
            return self
        words = self.words.partition("; lower:")[0]
        return replace(self, value=objective, words=f"{words}; lower: {solver}")

    def contradicts(self, objective: float) -> bool:
        """Whether the objective is below what the bound allows: then the bound is wrong, or the objective is."""
        return objective < self.bound - ROUNDING * abs(self.bound)


class Optima:
    """The optima of a results folder, in optima.json."""

    def __init__(self, results: Path) -> None:
        self._path = results / "optima.json"
        entries = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self._known = {
            name: Optimum(**{**{key: value for key, value in entry.items() if key != "gap"},
                             "problem": Problem(**entry["problem"])})
            for name, entry in entries.items()
        }  # fmt: skip

    def get(self, name: str) -> Optimum | None:
        """The optimum of a workload, if it was computed."""
        return self._known.get(name)

    def __getitem__(self, name: str) -> Optimum:
        """The optimum of a workload that has one."""
        return self._known[name]

    def improve(self, optimum: Optimum, solver: str, objective: float) -> Optimum:
        """The optimum after a solver's result, kept if that is lower."""
        better = optimum.improved_by(solver, objective)
        if better is not optimum:
            self.put(better)
        return better

    def put(self, optimum: Optimum) -> None:
        """Keep it."""
        self._known[optimum.problem.name] = optimum
        entries = {name: {**asdict(known), "gap": known.gap} for name, known in self._known.items()}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
        temporary.replace(self._path)


def compute(problem: Problem, data: Data, *, threads: int, most_seconds: float) -> Optimum | str:
    """Run it; or why there is none. Where the time is up first, the gap is wider, and says so."""
    outcome = run_fit(REFERENCE.name, problem, data, most_seconds, threads=threads, kill_after=2 * most_seconds)
    if outcome.error or outcome.own_gap is None:
        return outcome.error or "no gap was certified"
    # F differs from the solver's own by rounding only; its relative gap gives the bound.
    bound = outcome.objective - outcome.own_gap * abs(outcome.objective)
    words = f"float64, {outcome.words}"
    return Optimum(problem, outcome.objective, bound, outcome.seconds, outcome.density, words, outcome.version)
