"""One solver on one problem in a process of its own, and the lines that are kept of it."""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from curves import crossing
from environments import commit, requirements
from measure import Data, run_script
from optimum import Optimum
from peers import PEERS
from problems import Problem
from suite_worker import OURS, request_optimum, row_of

TOLERANCES = (1e-2, 1e-4, 1e-6)  # ours are certified to these
GOAL = 1e-4  # relative suboptimality that peers are timed to
SCRIPT = "suite_worker.py"


@dataclass(frozen=True)
class Settings:
    """What the figures depend on besides problem and solver. ``limit``: the most seconds of one fit."""

    repeats: int
    limit: float
    threads: int


@dataclass(frozen=True)
class Outcome:
    """All fits of one solver on one problem; ``note`` says why there are none, or no more."""

    problem: str
    solver: str
    settings: Settings
    code: str
    version: str = ""
    commit: str = ""
    ended: str = ""
    note: str = ""
    fits: list[dict[str, Any]] = field(default_factory=list)

    def seconds_to_goal(self, optimum: Optimum) -> float | None:
        """Median time to the goal, read off between budgets; None where it was not reached."""
        knob = PEERS[self.solver].knob
        ordered = sorted(self.fits, key=lambda fit: (fit["repeat"], fit["budget"] * (1 if knob == "max_iter" else -1)))
        found = crossing([row_of(self.solver, knob, fit, optimum) for fit in ordered], optimum, GOAL)
        return None if found is None else found.seconds


@cache
def code_of(solver: str) -> str:
    """What is timed, in a few letters: the bytes of crosshead as it is installed, or the peer's required versions."""
    digest = hashlib.sha256()
    if solver != OURS:
        digest.update(" ".join(requirements()[PEERS[solver].environment]).encode())
        return digest.hexdigest()[:12]
    import crosshead
    from crosshead import _native

    folder = Path(crosshead.__file__).parent
    for path in [*sorted(folder.rglob("*.py")), Path(_native.__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def measured(
    solver: str,
    problem: Problem,
    data: Data,
    settings: Settings,
    *,
    optimum: Optimum | None = None,
    fastest: float | None = None,
) -> Outcome:
    """Run it. ``fastest`` is the best time to the goal so far: a peer that is slower for certain need not go on."""
    outcome = Outcome(problem.name, solver, settings, code_of(solver))
    peer = PEERS[solver]
    reason = peer.cannot(problem)
    if reason is not None:
        return replace(outcome, note=f"cannot: {reason}")
    request = {
        "solver": solver,
        "problem": asdict(problem),
        "data": str(data.folder),
        "tolerances": TOLERANCES,
        "goal": GOAL,
        "optimum": None if optimum is None else request_optimum(optimum),
        "fastest": fastest,
        **asdict(settings),
    }
    with tempfile.TemporaryDirectory(prefix="suite-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(request))
        most = (4 + 2 * len(TOLERANCES)) * settings.limit
        failure = run_script(SCRIPT, peer.environment, folder, settings.threads, most)
        lines = folder / "fits.jsonl"
        fits = [json.loads(line) for line in lines.read_text().splitlines()] if lines.is_file() else []
        if f"signal {int(signal.SIGALRM)}" in failure:
            answer = {"ended": "a fit took too long"}
        else:
            answer = {"error": failure} if failure else json.loads((folder / "answer.json").read_text())
    version = answer.get("version", "")
    if "error" in answer:
        return replace(outcome, fits=fits, note=f"failed: {answer['error']}")
    return replace(
        outcome, fits=fits, ended=answer["ended"], version=version, commit=commit() if solver == OURS else ""
    )


class Lines:
    """The outcomes of a results folder, one JSON object a line: an interrupted run goes on where it was."""

    def __init__(self, results: Path) -> None:
        self.path = results / "suite.jsonl"
        self._known: dict[tuple[str, str], Outcome] = {}
        for line in self.path.read_text().splitlines() if self.path.is_file() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off when a run was killed
            outcome = Outcome(**{**entry, "settings": Settings(**entry["settings"])})
            self._known[outcome.problem, outcome.solver] = outcome

    def get(self, problem: str, solver: str, settings: Settings) -> Outcome | None:
        """What was measured of the code as it is now, with these settings."""
        found = self._known.get((problem, solver))
        fresh = found is not None and (found.settings, found.code) == (settings, code_of(solver))
        return found if fresh else None

    def add(self, outcome: Outcome) -> None:
        """Append a line, which counts instead of any before it."""
        self._known[outcome.problem, outcome.solver] = outcome
        cut = self.path.is_file() and self.path.read_bytes()[-1:] != b"\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def fits_at(outcome: Outcome, budget: float) -> Sequence[dict[str, Any]]:
    """The fits of one budget."""
    return [fit for fit in outcome.fits if fit["budget"] == budget]
