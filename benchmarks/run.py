"""The benchmark: every solver on every workload at growing budgets, each fit in a process of its own.

    python benchmarks/run.py --setup     make the peers' environments
    python benchmarks/run.py             run what is not measured yet, then write the report
    python benchmarks/run.py --quick     the same on small data, to see that everything works

README.md beside this file says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from datasets import missing_file, prepare, read_info, read_rows
from environments import HERE, describe_run, is_there, python_of, setup, variables
from ladder import Limits, climb
from measure import Data
from optimum import Optima, Optimum, compute
from peers import PEERS
from problems import WORKLOADS, Workload
from records import Records, Row
from report import write_report


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make the environments of peers.txt, and end")
    parser.add_argument("--report", action="store_true", help="only write the report of what was measured, and end")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz, … (default: shared/data beside the checkout)")
    parser.add_argument("--results", type=Path, help="folder for the results (default: benchmarks/results)")
    parser.add_argument("--workloads", help="comma-separated; default all: " + ", ".join(w.name for w in WORKLOADS))
    parser.add_argument("--solvers", help="comma-separated; default all: " + ", ".join(PEERS))
    parser.add_argument("--repeats", type=int, help="how often each budget is run (default 3; --quick: 1)")
    parser.add_argument("--max-seconds", type=float, help="of one fit (default 120; --quick: 5)")
    parser.add_argument("--solver-seconds", type=float, help="of one solver's budgets on one workload, in one repeat "
                        "(default 300; --quick: 15)")  # fmt: skip
    parser.add_argument("--optimum-seconds", type=float, help="of the float64 run (default 900; --quick: 30)")
    parser.add_argument("--threads", type=int, default=2, help="of every solver (default 2)")
    parser.add_argument("--quick", action="store_true", help="small data and short budgets, into results/quick")
    parser.add_argument("--again", action="store_true", help="forget what was measured for these workloads and solvers")
    options = parser.parse_args()
    with_defaults(options)
    return options


def with_defaults(options: argparse.Namespace) -> None:
    """Fill in what depends on --quick."""
    quick = options.quick
    for name, full, small in (
        ("repeats", 3, 1),
        ("max_seconds", 120.0, 5.0),
        ("solver_seconds", 300.0, 15.0),
        ("optimum_seconds", 900.0, 30.0),
    ):
        if getattr(options, name) is None:
            setattr(options, name, small if quick else full)
    options.data = options.data or HERE.parent.parent / "shared" / "data"
    options.results = options.results or HERE / "results" / ("quick" if quick else "")


def chosen(names: str | None, known: list[str], what: str) -> list[str]:
    """The names of a comma-separated list; ends the program where one is unknown."""
    if names is None:
        return known
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what} {unknown[0]!r}: choose from {', '.join(known)}")
    return wanted


def optimum_of(workload: Workload, data: Data, optima: Optima, options: argparse.Namespace) -> Optimum | None:
    """The optimum, computed if need be; None, with a line, where there is none."""
    info = read_info(data.folder)
    problem = workload.problem(info["rows"], info["features"], info["classes"], info["sparse"])
    known = optima.get(workload.name)
    if known is not None:
        if known.problem != problem:
            raise SystemExit(f"{options.results} was measured with another {workload.name}: give another --results")
        return known
    say(f"{workload.name}: the optimum, in float64, at most {options.optimum_seconds:.0f} s")
    found = compute(problem, data, threads=options.threads, most_seconds=options.optimum_seconds)
    if isinstance(found, str):
        say(f"{workload.name}: skipped, no optimum: {found}")
        return None
    optima.put(found)
    say(f"{workload.name}: F* = {found.value:.12g}, gap {found.gap:.1e}, {found.density:.1%} of W non-zero, "
        f"{found.seconds:.1f} s ({found.words})")  # fmt: skip
    return found


def unable(solver: str, optimum: Optimum, records: Records) -> bool:
    """Whether the solver cannot do the problem, or is not installed; the first is put on record."""
    peer, workload = PEERS[solver], optimum.problem.name
    reason = peer.cannot(optimum.problem)
    if reason is not None:
        if not records.of(workload, solver):
            records.add(Row(workload, solver, knob=peer.knob, note=f"cannot do this problem: {reason}"))
        return True
    if not is_there(peer.environment):
        say(f"{workload}: {solver} skipped: no environment (run with --setup)")
        return True
    return False


def run_workload(
    workload: Workload, solvers: list[str], optima: Optima, records: Records, options: argparse.Namespace
) -> None:
    """All repeats of all solvers on one workload."""
    missing = missing_file(workload.dataset, options.data)
    if missing is not None:
        say(f"{workload.name}: skipped: {missing} is not there (give --data)")
        return
    folder = prepare(workload.dataset, options.data, HERE / ".cache", options.quick)
    data = Data(folder, *read_rows(folder))
    optimum = optimum_of(workload, data, optima, options)
    if optimum is None:
        return
    able = [solver for solver in solvers if not unable(solver, optimum, records)]
    limits = Limits(options.max_seconds, options.solver_seconds, options.threads)
    for repeat in range(options.repeats):
        for solver in able:
            began = time.monotonic()
            ended = climb(solver, workload.name, data, repeat, limits, records, optima)
            say(f"{workload.name}: {solver}, repeat {repeat + 1}: {ended} ({time.monotonic() - began:.0f} s)")


def note_run(options: argparse.Namespace, solvers: list[str]) -> None:
    """Add the machine and the libraries to metadata.json."""
    path = options.results / "metadata.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else []
    environments = sorted({PEERS[solver].environment for solver in solvers})
    limits = {name: getattr(options, name) for name in ("repeats", "max_seconds", "solver_seconds", "optimum_seconds")}
    runs.append({"solvers": solvers, "limits": limits, **describe_run(environments, options.threads)})
    path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")


def draw(options: argparse.Namespace) -> None:
    """The pictures, by the environment that has matplotlib."""
    if not is_there("report"):
        say("no pictures: no environment for them (run with --setup)")
        return
    command = [str(python_of("report")), str(HERE / "plots.py"), str(options.results)]
    subprocess.run(command, env=variables(options.threads), check=True)


def main() -> None:
    options = arguments()
    if options.setup:
        raise SystemExit(1 if setup() else 0)
    names = chosen(options.workloads, [workload.name for workload in WORKLOADS], "workload")
    solvers = chosen(options.solvers, list(PEERS), "solver")
    options.results.mkdir(parents=True, exist_ok=True)
    records, optima = Records(options.results), Optima(options.results)
    if not options.report:
        if options.again:
            dropped = records.drop(lambda row: row.workload in names and row.solver in solvers)
            say(f"{dropped} rows forgotten")
        records.drop(lambda row: row.workload in names and row.solver in solvers and row.worth_another_try)
        note_run(options, solvers)
        for workload in WORKLOADS:
            if workload.name in names:
                run_workload(workload, solvers, optima, records, options)
    say(f"wrote {write_report(options.results, records, optima)}")
    draw(options)


if __name__ == "__main__":
    main()
