"""Which budgets a solver is run with, and when it has shown what it can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from environments import commit
from measure import Data, run_fit
from optimum import Optima, Optimum
from peers import PEERS
from records import Records, Row

GOAL = (
    2e-7  # relative suboptimality at which a solver has shown enough (the tables ask for 1e-6), if F* is that certain
)
FLOOR = 0.03  # less than this share of improvement from one budget to the next, twice, is a floor
STEP_GUESS = 2.0  # how much longer the next budget takes, before two are known
NOTHING_TO_LOSE = 2.0  # seconds: a fit guessed below this is always run


@dataclass(frozen=True)
class Limits:
    """How long a fit, and all budgets of a solver in one repeat, may take; the threads; and what is near enough."""

    fit_seconds: float
    solver_seconds: float
    threads: int
    goal: float = GOAL


def climb(solver: str, workload: str, data: Data, repeat: int, limits: Limits, records: Records, optima: Optima) -> str:
    """Run the budgets that are not in the records yet; why it ended where it did.

    The first repeat decides how far to go; later ones run the same budgets.
    """
    optimum = optima[workload]
    rows = records.of(workload, solver)
    if any(row.failed and row.note.startswith("cannot") for row in rows):
        return "cannot"
    done = {row.budget: row for row in rows if row.repeat == repeat}
    first = {row.budget for row in rows if row.repeat == 0 and not row.failed}
    run: list[Row] = []
    for budget in PEERS[solver].budgets():
        if repeat > 0 and budget not in first:
            return "as in the first repeat"
        row = done.get(budget)
        if row is None:
            ended = reason_to_stop(run, optimum, limits) if repeat == 0 else ""
            if ended:
                return ended
            row = measured(solver, optimum, data, budget, repeat, limits)
            records.add(row)
            optimum = optima.improve(optimum, solver, row.objective)
        if row.failed:
            return row.note
        run.append(row)
    return "no more budgets"


def reason_to_stop(run: Sequence[Row], optimum: Optimum, limits: Limits) -> str:
    """Why the next budget is not worth its time, or ""."""
    if not run:
        return ""
    if optimum.gap <= limits.goal and optimum.suboptimality(run[-1].objective) <= limits.goal:
        return "reached the goal"
    if at_floor(run):
        return f"got no further than {run[-1].relative_suboptimality:.1e}"
    seconds = [row.seconds for row in run]
    growth = seconds[-1] / seconds[-2] if len(run) > 1 else STEP_GUESS
    guess = seconds[-1] * min(max(growth, 1.0), 4.0)
    if guess <= NOTHING_TO_LOSE:
        return ""
    if guess > limits.fit_seconds:
        return f"the next budget would take more than {limits.fit_seconds:.0f} s"
    if sum(seconds) + guess > limits.solver_seconds:
        return f"all budgets together would take more than {limits.solver_seconds:.0f} s"
    return ""


def at_floor(run: Sequence[Row]) -> bool:
    """Whether twice as many iterations, twice, brought next to nothing. A smaller tol may well ask for nothing more."""
    if len(run) < 3 or run[-1].knob != "max_iter":
        return False
    before, middle, last = (row.relative_suboptimality for row in run[-3:])
    return middle > (1 - FLOOR) * before and last > (1 - FLOOR) * middle


def measured(solver: str, optimum: Optimum, data: Data, budget: float, repeat: int, limits: Limits) -> Row:
    """One fit as a row."""
    peer = PEERS[solver]
    outcome = run_fit(solver, optimum.problem, data, budget, threads=limits.threads, kill_after=2 * limits.fit_seconds)
    note = ""
    if outcome.error:
        unable = outcome.error.startswith("Cannot: ")
        note = f"cannot do this problem: {outcome.error[8:]}" if unable else f"failed: {outcome.error}"
    elif optimum.contradicts(outcome.objective):
        note = "objective below the dual bound"
    return Row(
        workload=optimum.problem.name,
        solver=solver,
        knob=peer.knob,
        budget=budget,
        repeat=repeat,
        seconds=outcome.seconds,
        objective=outcome.objective,
        relative_suboptimality=optimum.suboptimality(outcome.objective),
        peak_memory_mb=round(outcome.peak_memory_mb, 1),
        own_gap=float("nan") if outcome.own_gap is None else outcome.own_gap,
        dtype=peer.dtype,
        threads=limits.threads,
        version=outcome.version if peer.environment else f"{outcome.version} {commit()}".strip(),
        words=outcome.words,
        note=note,
    )
