"""All fits of one solver on one problem: `python suite_worker.py request.json` appends to fits.jsonl beside it.

Only suite_measure.py starts it, in the solver's environment. Each fit is timed as worker.py times it: the data are
loaded, in the solver's type, a toy problem is fitted, and the clock runs during the fit call alone. The weights of
every fit are judged here, after the clock, by objective.py.

Ours is fitted at given tolerances, so many times each. A peer climbs its budgets until it is at the goal, or can no
longer be the fastest; the last two budgets are then repeated.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ladder import Limits, reason_to_stop
from objective import objective
from optimum import Optimum
from peers import PEERS, Peer
from peers.base import Solution
from problems import Problem
from records import Row
from worker import use_cpus, warm_up

OURS = "crosshead"
LEAST_KNOWN = 2.0  # seconds: a fit guessed below this is run even where another solver was faster
GRACE = 2.0  # a fit that takes this many times what it may is killed
LOOSEST = 1e3  # of tolerances, when ever cheaper budgets are looked for


class Clock:
    """Seconds that were spent in passes over the rows, by kind, in this process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def watch(self, owner: type, name: str) -> None:
        """Count the time of a method; of methods that call each other, the outermost alone."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return method(*arguments, **named)
            self._inside, began = True, time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
                self._inside = False

        setattr(owner, name, timed)

    def forget(self) -> None:
        """Begin anew."""
        self.seconds = {}


def watched() -> Clock:
    """A clock on the passes of our engines, over all rows or some of them: evaluations, and sweeps of dual ascent."""
    from crosshead.engines.bfloat16 import BFloat16Passes
    from crosshead.engines.native import NativeEngine

    clock = Clock()
    for owner, name in ((NativeEngine, "evaluate"), (BFloat16Passes, "evaluate"), (NativeEngine, "ascend")):
        clock.watch(owner, name)
    return clock


class Session:
    """The fits of one request, which are written down one by one."""

    def __init__(self, request: dict[str, Any], folder: Path) -> None:
        from datasets import read_rows

        self.request, self._path = request, folder / "fits.jsonl"
        self.peer: Peer = PEERS[request["solver"]]
        self.problem = Problem(**request["problem"])
        self.threads: int = request["threads"]
        self.rows, self.labels = read_rows(Path(request["data"]))
        self.features = self.rows.astype(self.peer.dtype, copy=False)
        warm_up(self.peer, self.problem, self.threads)

    def fit(self, budget: float, repeat: int, call: Callable[[], Solution], most_seconds: float) -> dict[str, Any]:
        """Run it under the clock, judge it, and write it down. It is killed where it takes far too long."""
        signal.setitimer(signal.ITIMER_REAL, GRACE * most_seconds)
        began = time.perf_counter()
        solution = call()
        seconds = time.perf_counter() - began
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        coef, intercept = np.asarray(solution.coef), np.asarray(solution.intercept)
        value = objective(self.problem, self.rows, self.labels, coef, intercept)
        found = {
            "budget": budget,
            "repeat": repeat,
            "seconds": seconds,
            "objective": value,
            "own_gap": solution.own_gap,
            "words": solution.words,
            "passes": solution.passes,
        }
        return found

    def keep(self, entry: dict[str, Any]) -> None:
        """Append a line."""
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def run_ours(session: Session) -> None:
    """Every tolerance, as often as asked; those that follow one that was not reached are not tried."""
    from peers.crosshead import classifier

    request, clock = session.request, watched()
    for tol in request["tolerances"]:
        spent, certified = 0.0, True
        for repeat in range(request["repeats"]):
            call = classifier(
                session.problem,
                session.features,
                session.labels,
                session.threads,
                tol=tol,
                max_time=request["limit"],
            )
            clock.forget()
            found = session.fit(tol, repeat, call, 2 * request["limit"])
            session.keep({**found, "pass_seconds": dict(clock.seconds)})
            spent += found["seconds"]
            certified = found["own_gap"] <= tol
            if not certified or spent > request["limit"]:
                break
        if not certified:
            break


def run_peer(session: Session) -> str:
    """Climb, then repeat what matters; why it ended where it did."""
    request = session.request
    optimum = Optimum(**{**request["optimum"], "problem": session.problem})
    fastest = float(request["fastest"] or np.inf)  # of the solvers before it
    most = min(request["limit"], max(LEAST_KNOWN, fastest))
    limits = Limits(most, 2 * most, session.threads, request["goal"])

    def run(budget: float, repeat: int) -> Row:
        call = session.peer.prepare(session.problem, session.features, session.labels, budget, session.threads)
        found = session.fit(budget, repeat, call, most)
        session.keep(found)
        return row_of(request["solver"], session.peer.knob, found, optimum)

    rows: list[Row] = []
    ended = "no more budgets"
    for budget in session.peer.budgets():
        reason = reason_to_stop(rows, optimum, limits)
        if not reason and rows and rows[-1].seconds > max(fastest, LEAST_KNOWN):
            reason = "slower than another"
        if reason:
            ended = reason
            break
        rows.append(run(budget, 0))

    def there(row: Row) -> bool:
        return row.relative_suboptimality <= request["goal"]

    if len(rows) == 1 and there(rows[0]):
        for budget in cheaper(session.peer.knob, rows[0].budget):
            rows.insert(0, run(budget, 0))
            if not there(rows[0]):
                break
    repeat_bracket(rows, there, run, request)
    return ended


def repeat_bracket(
    rows: list[Row], there: Callable[[Row], bool], run: Callable[[float, int], Row], request: dict[str, Any]
) -> None:
    """The first budget that got there, and the one before, again; only while that takes no longer than the limit."""
    first = next((place for place, row in enumerate(rows) if there(row)), None)
    if first is None:
        return
    bracket = rows[max(0, first - 1) : first + 1]
    spent = sum(row.seconds for row in bracket)
    for repeat in range(1, request["repeats"]):
        if spent > request["limit"]:
            break
        spent += sum(run(row.budget, repeat).seconds for row in bracket)


def cheaper(knob: str, budget: float) -> Iterator[float]:
    """Budgets below the cheapest of a solver, for problems that this one solves at once."""
    if knob == "max_iter":
        while budget > 1:
            budget = float(int(budget) // 2)
            yield budget
    else:
        while budget < LOOSEST:
            budget *= 10
            yield budget


def row_of(solver: str, knob: str, fit: dict[str, Any], optimum: Optimum) -> Row:
    """A fit as a row of the benchmark's records, by which curves.py and ladder.py know it."""
    return Row(
        workload=optimum.problem.name,
        solver=solver,
        knob=knob,
        budget=fit["budget"],
        repeat=fit["repeat"],
        seconds=fit["seconds"],
        objective=fit["objective"],
        relative_suboptimality=optimum.suboptimality(fit["objective"]),
        own_gap=float("nan") if fit["own_gap"] is None else fit["own_gap"],
        words=fit["words"],
    )


def main() -> None:
    path = Path(sys.argv[1])
    request = json.loads(path.read_text())
    use_cpus(request["threads"])
    session = None
    try:
        session = Session(request, path.parent)
        ended = run_ours(session) if request["solver"] == OURS else run_peer(session)
        answer = {"ended": ended or "", "version": session.peer.version()}
    except MemoryError:
        answer = {"error": "ran out of memory"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    (path.parent / "answer.json").write_text(json.dumps(answer))


def request_optimum(optimum: Optimum) -> dict[str, Any]:
    """An optimum as it stands in a request."""
    return {**asdict(optimum), "problem": None}


if __name__ == "__main__":
    main()
