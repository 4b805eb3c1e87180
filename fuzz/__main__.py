"""`python -m fuzz`: changes honest files at random and has crosshead read them; see README.md."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter, defaultdict
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from fuzz import cases, processes, seeds, shrinking, workers
from fuzz.cases import Case
from fuzz.guard import ACCEPTED, REFUSED, Verdict

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path("build/fuzz")
MOST_SHOWN = 60


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; exit code 1 where anything failed."""
    options = _parser().parse_args(arguments)
    workers.SECONDS = options.limit
    sys.dont_write_bytecode = True
    if options.list:
        print("\n".join(seeds.kinds()))
        return 0
    _import_all()
    if options.replay:
        return _replay([_named(name) for name in options.replay])
    again = _corpus() if options.corpus else 0
    if options.corpus and options.cases is None:
        return again
    kinds = [kind for kind in _available() if not options.kinds or any(kind.startswith(one) for one in options.kinds)]
    if not kinds:
        print(f"no such kinds; known are {', '.join(seeds.kinds())}", file=sys.stderr)
        return 2
    for kind in _available():
        seeds.seed(kind)
    run = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    return max(again, _campaign(kinds, run, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=None, help="how many cases [default: as many as the time allows]")
    parser.add_argument("--seconds", type=float, default=300.0, help="the time [default: 300]")
    parser.add_argument(
        "--limit", type=float, default=workers.SECONDS, help="seconds of computing before a case hangs [default: 10]"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes [default: one a CPU]")
    parser.add_argument(
        "--kinds", nargs="*", help="kinds, or beginnings of their names, such as npz model [default: all]"
    )
    parser.add_argument("--seed", type=int, help="the run's number; the same makes the same cases [default: random]")
    parser.add_argument(
        "--processes", action="store_true", help="run each case as a real process, `python -m crosshead …`"
    )
    parser.add_argument("--replay", nargs="+", metavar="CASE", help="cases by name, such as npz:7:123, or by file")
    parser.add_argument(
        "--corpus",
        action="store_true",
        help="run all past failures of fuzz/corpus, then as many new cases as --cases says",
    )
    parser.add_argument("--no-shrink", action="store_true", help="leave failures as they are found")
    parser.add_argument("--list", action="store_true", help="list the kinds")
    return parser


def _import_all() -> None:
    """Import once, before processes are forked, what cases would import each for itself."""
    import pkgutil

    import crosshead

    for found in pkgutil.walk_packages(crosshead.__path__, "crosshead."):
        if not found.name.startswith(("crosshead.nn", "crosshead.__main__")):
            __import__(found.name)
    for name in (
        "pyarrow.parquet",
        "pyarrow.csv",
        "pyarrow.feather",
        "pyarrow.compute",
        "sklearn.datasets",
        "PIL.Image",
    ):
        __import__(name)
    for name in ("onnx", "onnxruntime", "pandas", "sklearn.linear_model", "sklearn.utils.parallel", "rich.console"):
        if find_spec(name) is not None:
            __import__(name)
    from PIL import Image

    Image.init()
    _cache_the_parser()


def _cache_the_parser() -> None:
    """Typer makes its parser anew for each command line, which takes longer than most cases."""
    import functools

    import typer.main

    typer.main.get_command = functools.lru_cache(maxsize=1)(typer.main.get_command)


def _available() -> list[str]:
    """Kinds whose packages are installed."""
    without = {"onnx": ("onnx", "features", "model-features", "model-embedding"), "torch": tuple(seeds.TORCH_KINDS)}
    missing = tuple(
        prefix for package, prefixes in without.items() if find_spec(package) is None for prefix in prefixes
    )
    return [kind for kind in seeds.kinds() if not (missing and kind.startswith(missing))]


def _named(name: str) -> Case:
    if Path(name).is_file():
        return Case.from_json(Path(name).read_text())
    kind, run, number = name.rsplit(":", 2)
    return cases.draw(kind, int(run), int(number))


def _replay(chosen: list[Case]) -> int:
    failed = 0
    for case in chosen:
        verdict = workers.run_one(case)
        failed += verdict.failed
        print(f"{case.name or case.kind}: {verdict.outcome} {verdict.where} {verdict.message}")
        print(
            f"  {verdict.seconds:.2f} s, {verdict.growth >> 20} MB, {case.target} {case.options}, edits {case.edits}"[
                :1500
            ]
        )
    return int(failed > 0)


def _corpus() -> int:
    """Run every past failure again."""
    began, failed = time.monotonic(), 0
    files = sorted(CORPUS.glob("*.json"))
    known = set(_available())
    chosen = [(file, Case.from_json(file.read_text())) for file in files]
    chosen = [(file, case) for file, case in chosen if case.kind in known]
    for kind in sorted({case.kind for _, case in chosen}):
        seeds.seed(kind)
    for number, verdict in workers.run_all(lambda number: chosen[number][1], range(len(chosen)), 1, began + 3600):
        if verdict.failed:
            failed += 1
            print(f"{chosen[number][0].name}: {verdict.outcome} {verdict.where} {verdict.message}")
    print(f"{len(chosen)} past failures in {time.monotonic() - began:.1f} s, {failed} of them fail again")
    return int(failed > 0)


def _campaign(kinds: list[str], run: int, options: argparse.Namespace) -> int:
    began = time.monotonic()
    deadline = began + options.seconds
    numbers = range(options.cases if options.cases is not None else 1 << 40)
    print(
        f"run {run}: {len(kinds)} kinds, {options.jobs} jobs; a case again: python -m fuzz --replay KIND:{run}:NUMBER"
    )

    def make(number: int) -> Case:
        return cases.draw(kinds[number % len(kinds)], run, number, commands_only=options.processes)

    table = Table()
    source = processes.run_all if options.processes else workers.run_all
    try:
        for number, verdict in source(make, numbers, options.jobs, deadline):
            table.add(kinds[number % len(kinds)], verdict)
            if verdict.failed:
                table.failed(make(number), verdict)
    except KeyboardInterrupt:
        print("interrupted")
    table.show(time.monotonic() - began)
    if table.failures and not options.no_shrink and not options.processes:
        print("\nshrinking the failures")
    for signature, (case, verdict) in sorted(table.failures.items())[:MOST_SHOWN]:
        small = case if options.no_shrink or options.processes else shrinking.shrink(case, verdict)
        FOUND.mkdir(parents=True, exist_ok=True)
        path = FOUND / f"{case.kind}-{sha256(signature.encode()).hexdigest()[:8]}.json"
        path.write_text(small.to_json())
        print(f"\n{table.counts[signature]} × {verdict.outcome} {verdict.where}\n  {verdict.message[:300]}")
        print(f"  {case.name}; {small.target} {small.options}\n  edits {str(small.edits)[:600]}\n  {path}")
    return int(bool(table.failures))


class Table:
    """Counts by kind, and one case, the one with fewest edits, of each defect."""

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.growth: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failures: dict[str, tuple[Case, Verdict]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, verdict: Verdict) -> None:
        """Count one verdict."""
        self.outcomes[kind][verdict.outcome if not verdict.failed else "failed"] += 1
        self.growth[kind] = max(self.growth[kind], verdict.growth)
        self.seconds[kind] += verdict.seconds

    def failed(self, case: Case, verdict: Verdict) -> None:
        """Keep a failure, if it is a new one or a smaller case of a known one."""
        self.counts[verdict.signature] += 1
        known = self.failures.get(verdict.signature)
        if known is None or len(str(case.edits)) < len(str(known[0].edits)):
            self.failures[verdict.signature] = (case, verdict)

    def show(self, seconds: float) -> None:
        """Print the counts."""
        print(f"{'kind':20} {'cases':>7} {'accepted':>9} {'refused':>8} {'failed':>7} {'peak MB':>8} {'ms/case':>8}")
        total: Counter[str] = Counter()
        for kind, counts in self.outcomes.items():
            total += counts
            n_cases = counts.total()
            print(
                f"{kind:20} {n_cases:7} {counts[ACCEPTED]:9} {counts[REFUSED]:8} {counts['failed']:7} "
                f"{self.growth[kind] >> 20:8} {1000 * self.seconds[kind] / n_cases:8.1f}"
            )
        peak = max(self.growth.values(), default=0) >> 20
        print(
            f"{'all':20} {total.total():7} {total[ACCEPTED]:9} {total[REFUSED]:8} {total['failed']:7} {peak:8}"
            f"   {seconds:.0f} s, {total.total() / max(seconds, 1e-9):.0f} cases/s, "
            f"{len(self.failures)} different failures"
        )


if __name__ == "__main__":
    sys.exit(main())
