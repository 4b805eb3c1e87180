"""Milliseconds of one pass beside what the machine allows, and beside PyTorch's and scikit-learn's; Markdown on stdout.

python benchmarks/pass.py [--quick] [--threads 2] [--seconds 2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from environments import HERE, commit, is_there, machine, python_of, variables_of

TOOLS = {"crosshead": "", "torch": "torch", "sklearn": "scikit-learn"}  # tool → environment
BYTES_PER_NUMBER = 4


@dataclass(frozen=True)
class Case:
    """X is rows × features, float32."""

    rows: int
    features: int
    classes: int

    @property
    def name(self) -> str:
        return f"{self.rows:,} × {self.features} × {self.classes}"

    def reading_ms(self, gb_per_second: float) -> float:
        """One read of X."""
        return self.rows * self.features * BYTES_PER_NUMBER / gb_per_second / 1e6

    def arithmetic_ms(self, gflops: float) -> float:
        """X Wᵀ and Rᵀ X: 4·N·D·C operations."""
        return 4 * self.rows * self.features * self.classes / gflops / 1e6


def cases(quick: bool) -> list[Case]:
    """C in (2, 10, 100, 1000) for D = 784 and 512, on fewer rows where there are many classes."""
    share = 20 if quick else 1
    return [
        Case((20_000 if classes == 1000 else 60_000) // share, features, classes)
        for features in (784, 512)
        for classes in (2, 10, 100, 1000)
    ]


def probe(tool: str, environment: str, threads: int, seconds: float, those: list[Case]) -> Any:
    """Run one probe in a process of its own; None, with a line on stderr, where it fails."""
    if not is_there(environment):
        print(f"{tool}: no environment (run.py --setup)", file=sys.stderr)
        return None
    request = {"threads": threads, "seconds": seconds, "cases": [asdict(case) for case in those]}
    done = subprocess.run(
        [str(python_of(environment)), str(HERE / "probes.py"), tool],
        input=json.dumps(request),
        env=variables_of(environment, threads),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"{tool} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ms(times: list[float] | None) -> str:
    """Median, and the fastest in brackets."""
    return "–" if times is None else f"{median(times):.3g} ({min(times):.3g})"


def beside_limits(those: list[Case], found: dict[str, Any], bandwidth: float, gflops: float) -> str:
    """The table of tools and limits."""
    head = ["N × D × C", "read X once", "arithmetic", *TOOLS, "crosshead ÷ larger limit"]
    rows = []
    for place, case in enumerate(those):
        times = {tool: found[tool] and found[tool][place] for tool in TOOLS}
        read, compute = case.reading_ms(bandwidth), case.arithmetic_ms(gflops)
        ratio = f"{median(times['crosshead']) / max(read, compute):.2f}" if times["crosshead"] else "–"
        rows.append([case.name, f"{read:.3g}", f"{compute:.3g}", *(ms(times[tool]) for tool in TOOLS), ratio])
    return table(head, rows)


def scaling(those: list[Case], by_threads: dict[int, Any]) -> str:
    """The table of thread counts."""
    counts = sorted(by_threads)
    head = ["N × D × C", *(f"{count} thread{'s' if count > 1 else ''}" for count in counts), "speed-up"]
    rows = []
    for place, case in enumerate(those):
        times = [by_threads[count] and by_threads[count][place] for count in counts]
        known = times[0] and times[-1]
        speedup = f"{median(times[0]) / median(times[-1]):.2f}" if known else "–"
        rows.append([case.name, *(ms(each) for each in times), speedup])
    return table(head, rows)


def gemm_rate(threads: int, seconds: float) -> tuple[float, str]:
    """The fastest BLAS at hand, and whose it is."""
    rates = {name: probe("gemm", environment, threads, seconds, []) for name, environment in
             (("NumPy", ""), ("PyTorch", "torch"))}  # fmt: skip
    known = {name: rate for name, rate in rates.items() if rate is not None}
    best = max(known, key=lambda name: known[name])
    return known[best], best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="most threads (default 2)")
    parser.add_argument("--seconds", type=float, help="for each case and tool (default 2; --quick: 0.2)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows, and 0.2 s each")
    options = parser.parse_args()
    seconds = options.seconds or (0.2 if options.quick else 2.0)
    those, threads = cases(options.quick), options.threads
    bandwidth = probe("bandwidth", "", threads, seconds, [])
    if bandwidth is None:
        raise SystemExit("the read bandwidth could not be measured")
    gflops, whose = gemm_rate(threads, seconds)
    found = {tool: probe(tool, environment, threads, seconds, those) for tool, environment in TOOLS.items()}
    by_threads = {count: probe("crosshead", "", count, seconds, those) for count in range(1, threads)}
    by_threads[threads] = found["crosshead"]
    print(f"# One pass, float32, {threads} threads\n")
    print(f"{machine()['cpu']}, commit {commit()}. Read bandwidth {bandwidth:.1f} GB/s, float32 GEMM {gflops:.0f} GF/s "
          f"({whose}), both measured in this run. Milliseconds: median (fastest).\n")  # fmt: skip
    print(beside_limits(those, found, bandwidth, gflops))
    print("# Threads\n")
    print(scaling(those, by_threads))


if __name__ == "__main__":
    main()
