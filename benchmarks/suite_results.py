"""From outcomes to figures: one result a problem, one line each, the summary, and old beside new."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from optimum import Optimum
from problems import Problem
from suite_data import KINDS
from suite_measure import GOAL, OURS, TOLERANCES, Outcome, fits_at
from suite_problems import half_of

LONG = 0.2  # seconds from which a fit counts in the share outside passes
CERTAIN = 0.1  # of the goal: how well F* must be known for a ratio


@dataclass(frozen=True)
class Level:
    """Ours at one tolerance: medians over repeats."""

    seconds: float
    certified: bool
    gap: float
    passes: int
    outside: float
    words: str


@dataclass(frozen=True)
class Result:
    """All that is known of a problem. ``peers``: seconds to the goal, or None; ``notes``: why there are none.

    ``ratio`` is ours over the best peer's; where ours was not certified it counts as the whole limit.
    """

    name: str
    half: str
    kind: str
    problem: dict[str, Any]
    levels: dict[str, Level]
    peers: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    optimum_gap: float | None = None
    best_peer: str = ""
    best_seconds: float | None = None
    ratio: float | None = None

    @property
    def at_goal(self) -> Level | None:
        """Ours at the tolerance that peers are timed to."""
        return self.levels.get(key_of(GOAL))


def key_of(tolerance: float) -> str:
    """A tolerance as JSON's keys have it."""
    return f"{tolerance:.0e}"


def level_of(outcome: Outcome, tolerance: float) -> Level | None:
    """Ours at a tolerance; None where it was not tried."""
    fits = fits_at(outcome, tolerance)
    if not fits:
        return None
    last = fits[-1]
    outside = median(1 - sum(fit["pass_seconds"].values()) / fit["seconds"] for fit in fits)
    return Level(
        seconds=median(fit["seconds"] for fit in fits),
        certified=all(fit["own_gap"] <= tolerance for fit in fits),
        gap=max(fit["own_gap"] for fit in fits),
        passes=last["passes"],
        outside=outside,
        words=last["words"],
    )


def result_of(problem: Problem, kind: str, outcomes: Mapping[str, Outcome], optimum: Optimum | None) -> Result:
    """The result from what each solver did."""
    ours = outcomes[OURS]
    levels = {key_of(tol): level for tol in TOLERANCES if (level := level_of(ours, tol)) is not None}
    peers: dict[str, float | None] = {}
    notes = {OURS: ours.note} if ours.note else {}
    for name, outcome in outcomes.items():
        if name == OURS or outcome.note.startswith("cannot"):
            continue
        peers[name] = outcome.seconds_to_goal(optimum) if optimum is not None and outcome.fits else None
        if peers[name] is None:
            notes[name] = outcome.note or outcome.ended
    reached = {name: seconds for name, seconds in peers.items() if seconds is not None}
    best = min(reached, key=lambda name: reached[name], default="")
    ratio = None
    if best and optimum is not None and optimum.gap <= CERTAIN * GOAL:
        level = levels.get(key_of(GOAL))
        seconds = level.seconds if level is not None and level.certified else ours.settings.limit
        ratio = seconds / reached[best]
    return Result(
        name=problem.name,
        half=half_of(problem.name),
        kind=kind,
        problem=asdict(problem),
        levels=levels,
        peers=peers,
        notes=notes,
        optimum_gap=None if optimum is None else optimum.gap,
        best_peer=best,
        best_seconds=reached.get(best),
        ratio=ratio,
    )


def line_of(result: Result) -> str:
    """One line."""
    level = result.at_goal
    parts = [f"{result.name:44}"]
    if level is None:
        worse = result.levels.get(key_of(TOLERANCES[0]))
        gap = f", gap {worse.gap:.1e}" if worse is not None else ""
        parts.append(f"{'–':>9}   uncertified{gap} {result.notes.get(OURS, '')}".rstrip())
    else:
        parts.append(f"{seconds_text(level.seconds):>9}  {level.passes:5d} passes  {level.outside:4.0%} outside")
        if not level.certified:
            parts.append(f"uncertified, gap {level.gap:.1e}")
    if result.peers:
        parts.append(peer_text(result))
    return "  ".join(parts)


def peer_text(result: Result) -> str:
    """The best peer and the ratio, or why there is none."""
    if result.best_seconds is None:
        return "no peer got there"
    text = f"{result.best_peer} {seconds_text(result.best_seconds)}"
    if result.ratio is None:
        return f"{text}  no ratio: F* is known to {result.optimum_gap:.0e} only"
    return f"{text}  ratio {result.ratio:.3g}"


def seconds_text(value: float) -> str:
    """Three digits."""
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


def summary(results: Sequence[Result]) -> str:
    """Ratios, shares outside passes, and what was not certified; for all kinds, and for each."""
    groups = [("all", list(results))]
    groups += [(kind, [result for result in results if result.kind == kind]) for kind in KINDS]
    return "\n".join(line for name, group in groups if group for line in _group(name, group))


def _group(name: str, results: Sequence[Result]) -> list[str]:
    lines = [f"{name}: {len(results)} problems"]
    compared = [result for result in results if result.ratio is not None]
    if compared:
        ratios = [float(result.ratio or 0) for result in compared]
        worst = max(compared, key=lambda result: float(result.ratio or 0))
        slower = sum(ratio > 1 for ratio in ratios)
        lines.append(
            f"  ours ÷ best peer to {GOAL:.0e}: geometric mean {geometric_mean(ratios):.3g} of {len(ratios)} problems, "
            f"above 1 in {slower}, worst {worst.ratio:.3g} ({worst.name}, {worst.best_peer})"
        )
    alone = sum(bool(result.peers) and result.best_seconds is None for result in results)
    if alone:
        lines.append(f"  peers ran, and none got there: {alone}")
    levels = [level for result in results if (level := result.at_goal) is not None]
    long = [level for level in levels if level.seconds > LONG]
    if long:
        total = sum(level.outside * level.seconds for level in long) / sum(level.seconds for level in long)
        lines.append(
            f"  outside passes, fits above {LONG:g} s: {total:.0%} of their time, "
            f"median {median(level.outside for level in long):.0%}, worst {max(level.outside for level in long):.0%}"
        )
    shares = []
    for tolerance in TOLERANCES:
        bad = sum(not _certified(result, tolerance) for result in results)
        shares.append(f"{bad / len(results):.1%} ({bad}) at {tolerance:.0e}")
    lines.append(f"  uncertified: {', '.join(shares)}")
    return lines


def _certified(result: Result, tolerance: float) -> bool:
    level = result.levels.get(key_of(tolerance))
    return level is not None and level.certified


def write_json(path: Path, results: Sequence[Result], about: Mapping[str, Any]) -> None:
    """All results, with what a reader wants to know of where they come from."""
    content = {"about": about, "results": {result.name: asdict(result) for result in results}}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def compare(old: Path, new: Path) -> str:
    """Ours old ÷ ours new at each tolerance, by problem; above 1 the new one is faster."""
    before, after = (json.loads(path.read_text(encoding="utf-8"))["results"] for path in (old, new))
    shared = [name for name in before if name in after]
    head = "".join(f"{key_of(tolerance):>10}" for tolerance in TOLERANCES)
    lines = [f"{'old ÷ new':44}{head}"]
    factors: dict[str, list[float]] = {key_of(tolerance): [] for tolerance in TOLERANCES}
    for name in shared:
        cells = []
        for key, known in factors.items():
            one, other = (results[name]["levels"].get(key) for results in (before, after))
            good = [level is not None and level["certified"] for level in (one, other)]
            if all(good):
                known.append(one["seconds"] / other["seconds"])
                cells.append(f"{known[-1]:10.2f}")
            else:
                cells.append(f"{('–', 'lost', 'gained')[good[0] + 2 * good[1]]:>10}")
        lines.append(f"{name:44}{''.join(cells)}")
    means = "".join(f"{geometric_mean(known):10.3f}" if known else f"{'–':>10}" for known in factors.values())
    lines.append(f"{f'geometric mean of {len(shared)} problems':44}{means}")
    worst = min(zip(factors[key_of(GOAL)], _both(shared, before, after), strict=True), default=None)
    if worst is not None:
        lines.append(f"slowest beside before, at {GOAL:.0e}: {worst[0]:.2f} ({worst[1]})")
    alone = len(before) + len(after) - 2 * len(shared)
    if alone:
        lines.append(f"{alone} problems are in one file alone")
    return "\n".join(lines)


def _both(names: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The problems that both have certified at the goal."""
    key = key_of(GOAL)
    levels = [(name, before[name]["levels"].get(key), after[name]["levels"].get(key)) for name in names]
    return [name for name, one, other in levels if one and other and one["certified"] and other["certified"]]
