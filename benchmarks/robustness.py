"""Which problems are not certified, among many that no method was tuned for.

python benchmarks/robustness.py --kind realistic --problems 1000 --seconds 20 --json now.json
python benchmarks/robustness.py --kind small --problems 300 --seconds 5 --against before.json
python benchmarks/robustness.py --only pixels:3 small:17

Problems are those of tests/properties/generated_problems.py. An interrupted run reports on what it has done.
"""

from __future__ import annotations

import os

# Before NumPy is imported: on several threads BLAS may add in another order.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from fits import ORDINARY_ALPHA_ROWS, ORDINARY_TOL, ORDINARY_WEIGHTS, Record, named, requests
from pool import run

SAVED_EVERY = 30.0  # seconds
MUCH = 1.5  # times as many passes, or as few, are worth a line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("realistic", "small"), default="realistic")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="KIND:SEED", help="only these, as they are named in a report")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each fit (default 20)")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor seconds, on a machine that does other work",
    )
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0, help="other problems for another one")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time, each on one thread")
    parser.add_argument("--no-restarts", action="store_true", help="do not try others where a fit has stalled")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all records go")
    parser.add_argument("--against", type=Path, metavar="FILE", help="records of another version to compare with")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as an interruption: what is done is reported
    settings = {
        "tol": options.tol,
        "seconds": options.seconds,
        "restarts": not options.no_restarts,
        "clock": options.clock,
    }
    try:
        if options.only:
            todo = [named(name, **settings) for name in options.only]
        else:
            todo = list(requests(options.kind, options.problems, options.seed, **settings))
    except ValueError as error:
        parser.error(str(error))
    records = collected(run(todo, options.jobs), len(todo), options.json)
    report(records)
    if options.against:
        compare([Record(**each) for each in json.loads(options.against.read_text())], records)
    return 0 if len(records) == len(todo) else 130


def collected(found: Iterable[Record], count: int, file: Path | None) -> list[Record]:
    """All records, saved from time to time; those so far where it is interrupted."""
    records: list[Record] = []
    began = saved = time.monotonic()
    try:
        for record in found:
            records.append(record)
            if not record.certified:
                print(line(record), flush=True)
            if file and time.monotonic() - saved > SAVED_EVERY:
                save(records, file)
                saved = time.monotonic()
    except KeyboardInterrupt:
        print(f"interrupted after {len(records)} of {count} problems", flush=True)
    if file:
        save(records, file)
    print(f"\n{len(records)} problems in {time.monotonic() - began:.0f} s\n")
    return records


def save(records: list[Record], file: Path) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps([asdict(record) for record in records], indent=0))
    temporary.replace(file)


def line(record: Record) -> str:
    """An uncertified problem in one line."""
    restart = f", certified by {record.restart}" if record.restarted else ", not from elsewhere either"
    restart = restart if record.restart else ""
    ordinary = "ordinary, " if record.ordinary else ""
    return (
        f"{record.description}: {ordinary}{record.status}, gap {record.gap:.1e}, {record.seconds:.1f} s, "
        f"{record.passes} passes, {record.method}{restart}"
    )


def report(records: list[Record]) -> None:
    """Shares of uncertified problems, the largest overshoot, and what restarts have certified."""
    if not records:
        return
    ordinary = [record for record in records if record.ordinary]
    rest = [record for record in records if not record.ordinary]
    settings = f"αN ≥ {ORDINARY_ALPHA_ROWS:g}, weights within {ORDINARY_WEIGHTS:.0e}, tol ≥ {ORDINARY_TOL:.0e}"
    print(f"uncertified: {share(records)}")
    print(f"  ordinary settings ({settings}): {share(ordinary)}")
    print(f"  other settings: {share(rest)}")
    table("status", records, lambda record: record.status.partition(":")[0])
    table("kind", records, lambda record: record.kind)
    table("loss and l1_ratio", records, lambda record: f"{record.loss}, ρ = {record.l1_ratio:g}")
    table("method at the end", records, lambda record: record.method)
    timed = [record for record in records if record.overshoot == record.overshoot]
    if timed:
        late = max(timed, key=lambda record: record.overshoot)
        print(f"\nmost beyond the time limit: {max(0.0, late.overshoot):.2f} s, {late.description}, {late.method}")
    print(f"seconds of all fits: {sum(record.seconds for record in timed):.1f}")
    stalled = [record for record in records if record.restart]
    certified = [record for record in stalled if record.restarted]
    by = ", ".join(f"{name} {count}" for name, count in counts(record.restart for record in certified))
    print(f"stalled, and tried from elsewhere: {len(stalled)}, of them certified {len(certified)}{by and f' ({by})'}")


def counts(names: Iterable[str]) -> list[tuple[str, int]]:
    found: dict[str, int] = defaultdict(int)
    for name in names:
        found[name] += 1
    return sorted(found.items(), key=lambda item: -item[1])


def share(records: list[Record]) -> str:
    """How many are uncertified, and which share."""
    failed = sum(not record.certified for record in records)
    return f"{failed} of {len(records)}" + (f" ({100 * failed / len(records):.1f} %)" if records else "")


def table(title: str, records: list[Record], key: Callable[[Record], str]) -> None:
    """Uncertified by something, the worst first; all, and those of ordinary settings."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)

    def rate(name: str) -> tuple[float, str]:
        return -sum(not record.certified for record in groups[name]) / len(groups[name]), name

    print(f"\n{title:28}{'uncertified':>20}{'ordinary settings':>24}")
    for name in sorted(groups, key=rate):
        print(f"{name:28}{share(groups[name]):>20}{share([r for r in groups[name] if r.ordinary]):>24}")


def compare(old: list[Record], new: list[Record]) -> None:
    """What differs from the records of another version, on the problems that both have."""
    before = {(record.kind, record.seed, record.tol): record for record in old}
    pairs = [(before[key], r) for r in new if (key := (r.kind, r.seed, r.tol)) in before]
    print(f"\nagainst the other version, on {len(pairs)} problems of both")
    lost = [(was, now) for was, now in pairs if was.certified and not now.certified]
    won = [(was, now) for was, now in pairs if now.certified and not was.certified]
    both = [(was, now) for was, now in pairs if was.certified and now.certified]
    for title, found in (("no longer certified", lost), ("certified now", won)):
        print(f"{title}: {len(found)}")
        for was, now in found:
            print(f"  {now.description}: {was.method} {was.status} → {now.method} {now.status}, gap {now.gap:.1e}")
    far = [(was, now) for was, now in both if not 1 / MUCH <= (now.passes + 1) / (was.passes + 1) <= MUCH]
    print(f"certified by both, passes differ by a factor of {MUCH} or more: {len(far)}")
    for was, now in far:
        print(f"  {now.description}: {was.method} {was.passes} → {now.method} {now.passes} passes")
    print(
        f"certified by both: passes {sum(w.passes for w, _ in both)} → {sum(n.passes for _, n in both)}, "
        f"seconds {sum(w.seconds for w, _ in both):.1f} → {sum(n.seconds for _, n in both):.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
