"""The suite: many problems of six kinds, ours beside the best peer, in two halves of which one is not tuned to.

    python benchmarks/suite.py --setup          once: the peers' environments, and the one that has the tables
    python benchmarks/suite.py --list           every problem, and its half
    python benchmarks/suite.py --ours-only      ours alone, on the development half
    python benchmarks/suite.py                  ours and the peers, on the development half
    python benchmarks/suite.py --half both      to report: the validation half too
    python benchmarks/suite.py compare OLD.json NEW.json

README.md beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from datasets import read_info, read_rows
from environments import HERE, describe_run, is_there, setup
from measure import Data
from optimum import CLOSE, Optima, Optimum, compute
from peers import PEERS
from problems import Problem, Workload
from records import TOO_LONG
from suite_data import KINDS, SUITE_DATA, prepare, unavailable
from suite_measure import OURS, Lines, Outcome, Settings, measured
from suite_problems import HALVES, half_of, suite
from suite_results import Result, compare, line_of, result_of, summary, write_json


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make the environments of peers.txt, and end")
    parser.add_argument("--list", action="store_true", help="print every problem with its half, and end")
    parser.add_argument("--half", choices=(*HALVES, "both"), help="which problems (default development, and both for "
                        "--list; validation is run to report, never to tune)")  # fmt: skip
    parser.add_argument("--ours-only", action="store_true", help="no peers, and no optimum for them")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these problems; * stands for anything: 'digits/*'")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help="of " + ", ".join(KINDS))
    parser.add_argument("--solvers", nargs="+", choices=list(PEERS), metavar="SOLVER", help="these peers alone")
    parser.add_argument("--repeats", type=int, default=3, help="fits of which the median counts (default 3)")
    parser.add_argument("--limit", type=float, default=60.0, help="most seconds of one fit (default 60)")
    parser.add_argument("--threads", type=int, default=2, help="of every solver (default 2)")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz, … (default: shared/data beside the checkout)")
    parser.add_argument("--results", type=Path, help="folder for what was measured (default: benchmarks/results/suite)")
    parser.add_argument("--again", action="store_true", help="measure anew what is on record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results of this run to FILE as well")
    options = parser.parse_args()
    options.half = options.half or ("both" if options.list else HALVES[0])
    options.data = options.data or HERE.parent.parent / "shared" / "data"
    options.results = options.results or HERE / "results" / "suite"
    if options.repeats < 1 or options.limit <= 0 or options.threads < 1:
        parser.error("--repeats, --limit and --threads must be positive")
    return options


def chosen(options: argparse.Namespace) -> list[Workload]:
    """The problems that were asked for; ends the program where a name is unknown."""
    everything = suite()
    for pattern in options.only or ():
        if not any(fnmatch(workload.name, pattern) for workload in everything):
            raise SystemExit(f"no problem is called {pattern!r}: see --list")
    return [
        workload
        for workload in everything
        if options.half in (half_of(workload.name), "both")
        and (not options.kinds or SUITE_DATA[workload.dataset].kind in options.kinds)
        and (not options.only or any(fnmatch(workload.name, pattern) for pattern in options.only))
    ]


def print_list(workloads: list[Workload]) -> None:
    """Every problem, and how many there are."""
    for workload in workloads:
        print(f"{half_of(workload.name):12} {SUITE_DATA[workload.dataset].kind:11} {workload.name}")
    counts = {half: sum(half_of(workload.name) == half for workload in workloads) for half in HALVES}
    datasets = len({workload.dataset for workload in workloads})
    print(f"{len(workloads)} problems on {datasets} data sets: "
          + ", ".join(f"{count} {half}" for half, count in counts.items()))  # fmt: skip


class Run:
    """One run of the program."""

    def __init__(self, options: argparse.Namespace) -> None:
        options.results.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.lines = Lines(options.results)
        self.optima = Optima(options.results)
        self.settings = Settings(options.repeats, options.limit, options.threads)
        self.peers = [name for name in options.solvers or PEERS if name != OURS]
        for environment in dict.fromkeys(PEERS[name].environment for name in self.peers):
            if not is_there(environment) and not options.ours_only:
                say(f"no environment {environment} (run with --setup): its solvers are left out")
        self.peers = [name for name in self.peers if is_there(PEERS[name].environment)]
        self._data: tuple[str, Data | None] = ("", None)

    def data_of(self, dataset: str) -> Data | None:
        """The rows; None, with one line, where they cannot be had. The last data set is kept."""
        if self._data[0] != dataset:
            self._data = (dataset, None)
            reason = unavailable(dataset, self.options.data)
            if not reason:
                try:
                    folder = prepare(dataset, self.options.data, HERE / ".cache")
                    self._data = (dataset, Data(folder, *read_rows(folder)))
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if reason:
                say(f"{dataset}: skipped: {reason}")
        return self._data[1]

    def results(self, workloads: list[Workload]) -> Iterator[Result]:
        """Each problem measured, as far as it is not on record."""
        for workload in workloads:
            data = self.data_of(workload.dataset)
            if data is None:
                continue
            info = read_info(data.folder)
            problem = workload.problem(info["rows"], info["features"], info["classes"], info["sparse"])
            yield self.result(problem, workload, data)

    def result(self, problem: Problem, workload: Workload, data: Data) -> Result:
        """One problem: ours, then, if they are wanted, the optimum and the peers."""
        kind = SUITE_DATA[workload.dataset].kind
        outcomes = {OURS: self.outcome(OURS, problem, data)}
        able = [] if self.options.ours_only else [name for name in self.peers if PEERS[name].cannot(problem) is None]
        optimum = self.optimum(problem, data) if able else None
        if optimum is None:
            return result_of(problem, kind, outcomes, None)
        fastest: float | None = None
        for name in able:
            outcomes[name] = self.outcome(name, problem, data, optimum=optimum, fastest=fastest)
            seconds = outcomes[name].seconds_to_goal(optimum) if outcomes[name].fits else None
            fastest = min((time for time in (fastest, seconds) if time is not None), default=None)
        for outcome in outcomes.values():
            for fit in outcome.fits:
                optimum = self.optima.improve(optimum, outcome.solver, fit["objective"])
                if optimum.contradicts(fit["objective"]):
                    say(f"{problem.name}: {outcome.solver} has an objective below the dual bound")
        return result_of(problem, kind, outcomes, optimum)

    def outcome(self, solver: str, problem: Problem, data: Data, **known: Any) -> Outcome:
        """What is on record of the code as it is, or a new measurement."""
        found = None if self.options.again else self.lines.get(problem.name, solver, self.settings)
        if found is None or (found.note.startswith("failed") and TOO_LONG not in found.note):
            found = measured(solver, problem, data, self.settings, **known)
            self.lines.add(found)
            if found.note.startswith("failed"):
                say(f"{problem.name}: {solver}: {found.note}")
        return found

    def optimum(self, problem: Problem, data: Data) -> Optimum | None:
        """F*, computed where it is not known yet, or not well and there is more time for it now."""
        known = self.optima.get(problem.name)
        if known is not None and known.problem == problem and self._done(known):
            return known
        found = compute(problem, data, threads=self.settings.threads, most_seconds=self.options.limit)
        if isinstance(found, str):
            say(f"{problem.name}: no peers, for there is no optimum: {found}")
            return None
        self.optima.put(found)
        return found

    def _done(self, known: Optimum) -> bool:
        """Whether another run would find nothing better."""
        return known.gap <= CLOSE or known.seconds >= 0.9 * self.options.limit or "stalled" in known.words


def main() -> None:
    if sys.argv[1:2] == ["compare"]:
        if len(sys.argv) != 4:
            raise SystemExit("suite.py compare OLD.json NEW.json")
        print(compare(Path(sys.argv[2]), Path(sys.argv[3])))
        return
    options = arguments()
    if options.setup:
        raise SystemExit(1 if setup() else 0)
    workloads = chosen(options)
    if options.list:
        print_list(workloads)
        return
    run = Run(options)
    results: list[Result] = []
    about: dict[str, Any] = {}
    try:
        if options.json:
            about = about_run(run)
        for result in run.results(workloads):
            results.append(result)
            print(line_of(result), flush=True)
            if options.json:
                write_json(options.json, results, about)
    except KeyboardInterrupt:
        say("interrupted; what was measured is kept, and the same command goes on from there")
    if results:
        print(summary(results))


def about_run(run: Run) -> dict[str, Any]:
    """Settings, machine and libraries, for the file of results."""
    environments = set() if run.options.ours_only else {PEERS[name].environment for name in run.peers}
    settings = {name: getattr(run.options, name) for name in ("half", "limit", "repeats")}
    return {**settings, **describe_run(sorted({"", *environments}), run.options.threads)}


if __name__ == "__main__":
    main()
