"""The tables, in Markdown, from measurements.csv and optima.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curves import Crossing, certified, crossing, good, points
from optimum import Optima, Optimum
from peers import PEERS
from problems import WORKLOADS, Workload
from records import Records, Row

TARGETS = (1e-2, 1e-4, 1e-6)
OURS = "crosshead"
COLUMNS = ("×", "best reached", "memory beyond X", "type of X", "repeats")
CERTIFIED_GAP = 1e-4  # scikit-learn's and our default tol
Times = dict[str, dict[float, Crossing | None]]  # solver → target → when


def write_report(results: Path, records: Records, optima: Optima) -> Path:
    """Write report.md into the results folder."""
    measured = [(w, found) for w in WORKLOADS if (found := optima.get(w.name)) is not None]
    times = {workload.name: _times(workload, optimum, records) for workload, optimum in measured}
    parts = [
        "# Time to the optimum\n",
        _machine(results),
        _reading_note(),
        "## crosshead beside the best peer\n",
        _summary(measured, times),
        *(_section(workload, optimum, records, times[workload.name]) for workload, optimum in measured),
    ]
    path = results / "report.md"
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(parts), encoding="utf-8")
    temporary.replace(path)
    return path


def _times(workload: Workload, optimum: Optimum, records: Records) -> Times:
    found: Times = {}
    for solver in PEERS:
        rows = records.of(workload.name, solver)
        if good(rows):
            found[solver] = {target: crossing(rows, optimum, target) for target in TARGETS}
    return found


def _machine(results: Path) -> str:
    path = results / "metadata.json"
    if not path.is_file():
        return ""
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    last, machine = runs[-1], runs[-1]["machine"]
    dates = sorted({run["date"][:10] for run in runs})
    return (
        f"{machine['cpu']}, {last['threads']} threads of {machine['cores']} CPUs, {machine['memory_gb']} GB; "
        f"{' and '.join(dict.fromkeys((dates[0], dates[-1])))}; commit {last['commit']}. "
        "Versions and BLAS: metadata.json.\n"
    )


def _reading_note() -> str:
    return (
        "Seconds of the fit call until the relative suboptimality (F − F*) / F* is at most the target: the median over "
        "repeats, with the fastest and slowest in brackets, read off a log–log line between the budgets that were run. "
        "“×” is the solver's time over crosshead's. “≤”: the cheapest budget was already past the target.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _summary(measured: Sequence[tuple[Workload, Optimum]], times: dict[str, Times]) -> str:
    head = ["workload", *(f"to {target:.0e}: ours, best peer, ours ÷ best" for target in TARGETS)]
    rows = []
    for workload, _ in measured:
        found = times[workload.name]
        rows.append([workload.title, *(_beside_best(found, target) for target in TARGETS)])
    return _table(head, rows)


def _beside_best(found: Times, target: float) -> str:
    ours = found.get(OURS, {}).get(target)
    peers = {name: when for name, each in found.items() if name != OURS and (when := each[target]) is not None}
    own = f"{_seconds(ours.seconds)} s" if ours else "not reached"
    if not peers:
        return f"{own}, no peer"
    best = min(peers, key=lambda name: peers[name].seconds)
    share = f", **{_ratio(ours.seconds / peers[best].seconds)}**" if ours else ""
    return f"{own}, {best} {_seconds(peers[best].seconds)} s{share}"


def _section(workload: Workload, optimum: Optimum, records: Records, times: Times) -> str:
    problem = optimum.problem
    lines = [
        f"## {workload.title}\n",
        f"{problem.rows:,} × {problem.features:,}, {problem.classes} classes, α = {problem.alpha:.4g}, "
        f"l1_ratio = {problem.l1_ratio:g}, {'unpenalised bias' if problem.fit_intercept else 'no bias'}. "
        f"F* = {optimum.value:.10g}, certified to a gap of {optimum.gap:.1e} ({optimum.words}, "
        f"{_seconds(optimum.seconds)} s); {optimum.density:.1%} of W is non-zero there.\n",
        f"![relative suboptimality against seconds]({workload.name}.svg)\n",
    ]
    head = ["solver", *(f"to {target:.0e}" for target in TARGETS), *COLUMNS]
    rows = [_line(solver, records.of(workload.name, solver), optimum, times) for solver in PEERS]
    lines.append(_table(head, [row for row in rows if row]))
    lines += [f"{solver}: {note}\n" for solver, note in _notes(workload, records)]
    seconds = certified(records.of(workload.name, OURS), CERTIFIED_GAP)
    if seconds is not None:
        lines.append(f"crosshead certified a gap ≤ {CERTIFIED_GAP:.0e} itself after {_seconds(seconds)} s.\n")
    return "\n".join(lines)


def _line(solver: str, rows: Sequence[Row], optimum: Optimum, times: Times) -> list[str]:
    """One solver's line of a table; empty where it was not run."""
    if not rows:
        return []
    curve = points(rows, optimum)
    if not curve:
        return [solver, rows[-1].note, *[""] * (len(TARGETS) + len(COLUMNS) - 1)]
    best = min(curve, key=lambda point: point.suboptimality)
    used = good(rows)
    return [
        solver,
        *(_when(times[solver][target]) for target in TARGETS),
        _times_ours(times, solver),
        f"{best.suboptimality:.0e} in {_seconds(best.seconds)} s",
        f"{max(row.peak_memory_mb for row in used):,.0f} MB",
        used[0].dtype,
        str(len({row.repeat for row in used})),
    ]


def _times_ours(times: Times, solver: str) -> str:
    """Its time over ours at each target that both reach."""
    if solver == OURS or OURS not in times:
        return ""
    ratios = []
    for target in TARGETS:
        own, other = times[OURS][target], times[solver][target]
        ratios.append(_ratio(other.seconds / own.seconds) if own and other else "–")
    return " / ".join(ratios)


def _notes(workload: Workload, records: Records) -> list[tuple[str, str]]:
    """What went wrong for solvers that gave some weights all the same."""
    found = []
    for solver in PEERS:
        rows = records.of(workload.name, solver)
        notes = dict.fromkeys(row.note for row in rows if row.note and good(rows))
        found += [(solver, f"{_budget(rows, note)}{note}") for note in notes]
    return found


def _budget(rows: Sequence[Row], note: str) -> str:
    row = next(row for row in rows if row.note == note)
    return f"at {row.knob} = {row.budget:g}: "


def _when(found: Crossing | None) -> str:
    if found is None:
        return "–"
    spread = f" ({_seconds(found.fastest)}–{_seconds(found.slowest)})" if found.slowest > found.fastest else ""
    return f"{'≤ ' if found.at_most else ''}{_seconds(found.seconds)} s{spread}"


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"
